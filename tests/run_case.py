"""A run that takes seconds, on pictures made up in a folder."""

from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from alexnet_repro import InputConfig, NetConfig, TrainConfig
from alexnet_repro.config import Conv, Dropout, Linear, Neuron, Norm, Pool, RunConfig
from alexnet_repro.schedules import Stage, Stages

NET = NetConfig(
    name="two towers",
    image_size=12,
    num_classes=3,
    towers=2,
    layers=(
        Conv("conv1", maps=8, kernel=3, std=0.05),
        Neuron("relu1"),
        Norm("norm1", size=3, alpha=1e-4, k=2.0),
        Pool("pool1", "max"),
        Conv("conv2", maps=8, kernel=3, std=0.05, reads="own"),
        Neuron("relu2"),
        Linear("fc6", outputs=16, std=0.05),
        Neuron("relu6"),
        Dropout("drop6"),
        Linear("fc8", std=0.05),
    ),
)
CONFIG = RunConfig(
    dataset="",
    size=16,
    net=NET,
    input=InputConfig(crop=12, color="run145", views="ten", batch_size=8, reshuffle=True),
    train=TrainConfig(
        epochs=3,
        lr=1e-3,
        weight_decay={"fc6": 5e-4},
        schedule=Stages((Stage(epochs=2), Stage(rate=0.1, color=False))),
    ),
)


def make_pictures(folder: Path) -> RunConfig:
    """35 + 11 pictures in which the brightest channel is the class; the last batch can't be halved."""
    rng = np.random.default_rng(0)
    for split, count in (("train", 35), ("val", 11)):
        for i in range(count):
            pixels = rng.integers(0, 100, (16, 16, 3), np.uint8)
            pixels[..., i % 3] += 100
            path = folder / split / f"class{i % 3}" / f"{i:03d}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(path)
    return replace(CONFIG, dataset=str(folder))
