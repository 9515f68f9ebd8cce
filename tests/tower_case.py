"""A small network in two towers, in float64, and images for it: the same in every process that asks."""

from dataclasses import replace

import torch
from torch import Tensor, nn

from alexnet_repro import NetConfig

BATCH, STEPS = 8, 3


def case(preset: str = "run145") -> tuple[NetConfig, Tensor, Tensor, torch.Generator]:
    config = replace(NetConfig.preset(preset), width=1 / 16, image_size=67, num_classes=5)
    generator = torch.Generator().manual_seed(3)
    images = 100 * torch.randn(BATCH, 3, 67, 67, dtype=torch.float64, generator=generator)
    return config, images, torch.arange(BATCH) % 5, generator


def optimizer(model: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.SGD(model.parameters(), lr=1e-3, momentum=0.9, weight_decay=5e-4)
