"""An epoch of images of CIFAR-10's size against a plain PyTorch loop, and the trainer against bare steps.

Both sides train the same network, preset ``cifar-13pct``, with the same recipe, on random crops of 24 from 32 pixels,
flipped at random; the images are random numbers.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import cycle
from typing import Any

import torch
import torch.nn.functional as F
from data import small_batches, stock_loader
from network import training_step
from racing import Work, speeds

from alexnet_repro import TrainConfig, build, train
from alexnet_repro.networks.presets import PRESETS
from alexnet_repro.support.environment import keep_large_blocks
from alexnet_repro.training.optim import KrizhevskySGD, parameter_groups

IMAGES = 5_000  # a tenth of an epoch of CIFAR-10
NET = "cifar-13pct"
BATCH = 128
RECIPE = TrainConfig(epochs=1, lr=1e-6)


def network() -> torch.nn.Module:
    return build(replace(PRESETS[NET], image_size=24))


def plain_epoch() -> Work:
    """An epoch as in a tutorial: stock loader and transforms, stock optimizer, ``item()`` after every step."""
    loader, model = stock_loader(IMAGES), network()
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-6, momentum=0.9)

    def epoch() -> float:
        total = 0.0
        for images, labels in loader:
            optimizer.zero_grad()
            loss = F.cross_entropy(model(images), labels)
            loss.backward()
            optimizer.step()
            total += loss.item()
        return total

    return epoch


def our_epoch(images: int = IMAGES) -> Work:
    keep_large_blocks()
    batches, model = small_batches(images), network().to(memory_format=torch.channels_last)
    return lambda: train(model, batches, RECIPE)


def constant() -> list[tuple[torch.Tensor, torch.Tensor]]:
    return [(60 * torch.randn(BATCH, 3, 24, 24), torch.arange(BATCH) % 10)] * 40


def bare_steps() -> Work:
    keep_large_blocks()
    model, data = network().to(memory_format=torch.channels_last), constant()
    step = training_step(model, KrizhevskySGD(parameter_groups(model, 1e-6, 2.0, {}), 1e-6), cycle(data))
    return lambda: [step() for _ in data]


def trainer_steps() -> Work:
    keep_large_blocks()
    model, data = network().to(memory_format=torch.channels_last), constant()
    return lambda: train(model, data, RECIPE)


def figures() -> list[dict[str, Any]]:
    epochs = {"a plain loop with stock parts": plain_epoch, "train": our_epoch}
    steps = {"the bare steps": bare_steps, "train": trainer_steps}
    return speeds(f"an epoch of {IMAGES:,} images, {NET}", epochs) + speeds(f"steps on constant batches, {NET}", steps)
