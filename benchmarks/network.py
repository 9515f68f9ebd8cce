"""Response normalization and a training step against torch's own layers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from itertools import repeat
from typing import Any

import torch
import torch.nn.functional as F
from racing import Work, speeds
from torch import Tensor, nn

from alexnet_repro import AlexNet, LocalResponseNorm, TrainConfig
from alexnet_repro.support.environment import keep_large_blocks
from alexnet_repro.training.optim import KrizhevskySGD, parameter_groups

SHAPES = ((32, 96, 55, 55), (32, 256, 27, 27))  # inputs of AlexNet's two normalizations
BATCH = 64
BESIDE = (0, 1, 4)  # busy processes
DECAY = TrainConfig.preset("paper").weight_decay
Minibatch = tuple[Tensor, Tensor]  # images and labels


def normalization(layer: nn.Module, shape: tuple[int, ...], memory_format: torch.memory_format) -> Work:
    a, grad = (torch.randn(shape).to(memory_format=memory_format) for _ in range(2))
    a.mul_(30).requires_grad_()

    def forward_and_backward() -> None:
        a.grad = None
        layer(a).backward(grad)

    return forward_and_backward


torch_norm = partial(nn.LocalResponseNorm, 5, 5e-4, 0.75, 2.0)
"""torch's layer with the paper's constants; it divides alpha by the size of the window."""


def naive_alexnet() -> nn.Sequential:
    """The same network as one would write it with torch's layers."""
    return nn.Sequential(
        nn.ZeroPad2d((0, 3, 0, 3)), nn.Conv2d(3, 96, 11, 4), nn.ReLU(), torch_norm(), nn.MaxPool2d(3, 2),
        nn.Conv2d(96, 256, 5, padding=2, groups=2), nn.ReLU(), torch_norm(), nn.MaxPool2d(3, 2),
        nn.Conv2d(256, 384, 3, padding=1), nn.ReLU(),
        nn.Conv2d(384, 384, 3, padding=1, groups=2), nn.ReLU(),
        nn.Conv2d(384, 256, 3, padding=1, groups=2), nn.ReLU(), nn.MaxPool2d(3, 2),
        nn.Flatten(), nn.Linear(9216, 4096), nn.ReLU(), nn.Dropout(),
        nn.Linear(4096, 4096), nn.ReLU(), nn.Dropout(), nn.Linear(4096, 1000),
    )  # fmt: skip


def one_batch(memory_format: torch.memory_format, size: int = 224, batch: int = BATCH) -> Iterator[Minibatch]:
    """The same random images again and again."""
    images = torch.randn(batch, 3, size, size).mul_(60).to(memory_format=memory_format)
    return repeat((images, torch.randint(1000, (batch,))))


def training_step(model: nn.Module, optimizer: torch.optim.Optimizer, batches: Iterator[Minibatch]) -> Work:
    """A step of training with the next of the batches."""

    def step() -> None:
        images, labels = next(batches)
        loss = F.cross_entropy(model(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return step


def our_training_step(model: nn.Module, batches: Iterator[Minibatch]) -> Work:
    """The same with the library's update rule and AlexNet's weight decay."""
    return training_step(model, KrizhevskySGD(parameter_groups(model, 1e-6, 1.0, DECAY), lr=1e-6), batches)


def naive_step() -> Work:
    model = naive_alexnet()
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-6, momentum=0.9, weight_decay=5e-4)
    return training_step(model, optimizer, one_batch(torch.contiguous_format))


def our_step() -> Work:
    keep_large_blocks()
    return our_training_step(AlexNet().to(memory_format=torch.channels_last), one_batch(torch.channels_last))


def update(make: Callable[..., torch.optim.Optimizer], **options: float) -> Work:
    parameters = list(AlexNet().parameters())
    for p in parameters:
        p.grad = torch.randn_like(p)
    return make(parameters, lr=1e-6, weight_decay=5e-4, **options).step


def figures() -> list[dict[str, Any]]:
    found = []
    for shape in SHAPES:
        for memory_format in (torch.contiguous_format, torch.channels_last):
            layout = str(memory_format).removeprefix("torch.").removesuffix("_format")
            what = f"normalization of {'x'.join(map(str, shape))}, {layout}, forward and backward"
            layers = {"torch.nn.LocalResponseNorm": torch_norm(), "LocalResponseNorm": LocalResponseNorm()}
            contestants = {name: partial(normalization, layer, shape, memory_format) for name, layer in layers.items()}
            found += speeds(what, contestants, BESIDE)
    updates = {
        "torch.optim.SGD": partial(update, torch.optim.SGD, momentum=0.9),
        "KrizhevskySGD": partial(update, KrizhevskySGD),
    }
    found += speeds("update of AlexNet's parameters, with its weight decay", updates, BESIDE)
    steps = {"torch's layers": naive_step, "AlexNet": our_step}
    return found + speeds(f"training step of {BATCH} images", steps)
