"""Response normalization and a training step against torch's own layers: ``make bench``.

See ``racing`` for how it is measured.
"""

from __future__ import annotations

import argparse

import torch
import torch.nn.functional as F
from racing import Work, race
from torch import nn

from alexnet_repro import AlexNet, LocalResponseNorm
from alexnet_repro.support.environment import keep_large_blocks
from alexnet_repro.training.optim import KrizhevskySGD, parameter_groups

SHAPES = ((64, 96, 55, 55), (64, 256, 27, 27))  # what AlexNet's two normalizations see
BATCH = 64
MATRIX = 2048


def sgemm() -> Work:
    a, b = torch.randn(2, MATRIX, MATRIX)
    return lambda: a @ b


def copy() -> Work:
    a, b = torch.randn(2, 2**25)
    return lambda: b.copy_(a)


def normalization(layer: nn.Module, shape: tuple[int, ...], memory_format: torch.memory_format) -> Work:
    a, grad = (torch.randn(shape).to(memory_format=memory_format) for _ in range(2))
    a.mul_(30).requires_grad_()

    def forward_and_backward() -> None:
        a.grad = None
        layer(a).backward(grad)

    return forward_and_backward


def torch_norm(shape: tuple[int, ...], memory_format: torch.memory_format) -> Work:
    return normalization(nn.LocalResponseNorm(5, 5e-4, 0.75, 2.0), shape, memory_format)


def our_norm(shape: tuple[int, ...], memory_format: torch.memory_format) -> Work:
    return normalization(LocalResponseNorm(), shape, memory_format)


def compiled_norm(shape: tuple[int, ...], memory_format: torch.memory_format) -> Work:
    return normalization(torch.compile(LocalResponseNorm()), shape, memory_format)


def naive_alexnet() -> nn.Sequential:
    """The same network as one would write it with torch's layers."""
    lrn = lambda: nn.LocalResponseNorm(5, 5e-4, 0.75, 2.0)  # noqa: E731
    return nn.Sequential(
        nn.ZeroPad2d((0, 3, 0, 3)), nn.Conv2d(3, 96, 11, 4), nn.ReLU(), lrn(), nn.MaxPool2d(3, 2),
        nn.Conv2d(96, 256, 5, padding=2, groups=2), nn.ReLU(), lrn(), nn.MaxPool2d(3, 2),
        nn.Conv2d(256, 384, 3, padding=1), nn.ReLU(),
        nn.Conv2d(384, 384, 3, padding=1, groups=2), nn.ReLU(),
        nn.Conv2d(384, 256, 3, padding=1, groups=2), nn.ReLU(), nn.MaxPool2d(3, 2),
        nn.Flatten(), nn.Linear(9216, 4096), nn.ReLU(), nn.Dropout(),
        nn.Linear(4096, 4096), nn.ReLU(), nn.Dropout(), nn.Linear(4096, 1000),
    )  # fmt: skip


def training_step(model: nn.Module, optimizer: torch.optim.Optimizer, memory_format: torch.memory_format) -> Work:
    images = torch.randn(BATCH, 3, 224, 224).mul_(60).to(memory_format=memory_format)
    labels = torch.randint(1000, (BATCH,))

    def step() -> None:
        loss = F.cross_entropy(model(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return step


def naive_step() -> Work:
    model = naive_alexnet()
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-6, momentum=0.9, weight_decay=5e-4)
    return training_step(model, optimizer, torch.contiguous_format)


def our_step(large_blocks: bool) -> Work:
    if large_blocks:
        keep_large_blocks()
    model = AlexNet().to(memory_format=torch.channels_last)
    decay = {name: 5e-4 for name, _ in model.named_children() if name.startswith(("conv", "fc"))}
    optimizer = KrizhevskySGD(parameter_groups(model, 1e-6, 1.0, decay), lr=1e-6)
    return training_step(model, optimizer, torch.channels_last)


def multiply_adds() -> int:
    return sum(cost.multiply_adds for cost in AlexNet().costs())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    options = parser.parse_args()
    print(f"torch {torch.__version__}, {options.threads} threads, medians of {options.rounds} rounds that take turns")
    for shape in SHAPES:
        for memory_format in (torch.contiguous_format, torch.channels_last):
            arguments = (shape, memory_format)
            contestants = {
                "torch": (torch_norm, arguments), "ours": (our_norm, arguments), "compiled": (compiled_norm, arguments),
            }  # fmt: skip
            result = race(contestants, options.rounds, options.threads)
            baseline, baseline_memory = result["torch"]
            print(
                f"\nLRN forward and backward, {'x'.join(map(str, shape))}, {str(memory_format).removeprefix('torch.')}"
            )
            for name in ("ours", "compiled"):
                seconds, memory = result[name]
                print(
                    f"  {name}: {baseline / seconds:.1f}x torch's speed, {memory / baseline_memory:.2f} of its memory"
                )
    contestants = {
        "sgemm": (sgemm, ()), "copy": (copy, ()), "naive": (naive_step, ()),
        "ours, allocator off": (our_step, (False,)), "ours": (our_step, (True,)),
    }  # fmt: skip
    result = race(contestants, options.rounds, options.threads)
    rate = 2 * MATRIX**3 / result["sgemm"][0]
    print(f"\nTraining step of AlexNet as printed, {BATCH} images")
    print(f"  machine: torch.mm {rate / 1e9:.0f} GFLOP/s, copy {2 * 4 * 2**25 / result['copy'][0] / 1e9:.1f} GB/s")
    work = 3 * 2 * BATCH * multiply_adds()  # forward, and twice that backward
    for name in ("naive", "ours, allocator off", "ours"):
        seconds, memory = result[name]
        print(
            f"  {name}: {BATCH / seconds:.1f} images/s, {result['naive'][0] / seconds:.2f}x naive, "
            f"{work / seconds / rate:.0%} of torch.mm's rate, {memory / result['naive'][1]:.2f} of naive's memory"
        )


if __name__ == "__main__":
    main()
