"""How fast a network trains here."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from time import perf_counter

import torch

from alexnet_repro.config import RunConfig
from alexnet_repro.nets import build
from alexnet_repro.train import train
from alexnet_repro.training import Training


def step_speed(config: RunConfig, device: str, steps: int = 5) -> float:
    """Images per second of whole training steps, the median of several after two that are not counted.

    Args:
        config: the run; its pictures are random, its data set is not looked at.
        device: "cpu", "cuda", "cuda:1", ...
        steps: that are timed.
    """
    times: list[float] = []

    def on_step(training: Training) -> None:
        if device.startswith("cuda"):
            torch.cuda.synchronize(device)
        times.append(perf_counter())

    generator = torch.Generator().manual_seed(0)
    shape = (config.input.batch_size, 3, config.net.image_size, config.net.image_size)
    inputs = 60 * torch.randn(shape, generator=generator)
    labels = torch.randint(config.net.num_classes, shape[:1], generator=generator)
    batches = [(inputs.to(device), labels.to(device))] * (steps + 2)
    model = build(config.net).to(device, memory_format=torch.channels_last)
    still = replace(config.train, epochs=1, lr=1e-9, schedule=None, stuck_after=None)
    train(model, batches, still, on_step=on_step)
    lengths = sorted(b - a for a, b in pairwise(times[1:]))
    return config.input.batch_size / lengths[len(lengths) // 2]
