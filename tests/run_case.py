"""A run that takes seconds, on images made up in a folder; here, or as a process of its own."""

import os
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from alexnet_repro import InputConfig, NetConfig, TrainConfig
from alexnet_repro.networks.spec import Activation, Conv, Dropout, Linear, Norm, Pool
from alexnet_repro.training.checkpoint import LAST, load_checkpoint
from alexnet_repro.training.config import RunConfig
from alexnet_repro.training.schedules import Stage, Stages

NET = NetConfig(
    name="two towers",
    image_size=12,
    num_classes=3,
    towers=2,
    layers=(
        Conv("conv1", channels=8, kernel=3, std=0.05),
        Activation("relu1"),
        Norm("norm1", size=3, alpha=1e-4, k=2.0),
        Pool("pool1", "max"),
        Conv("conv2", channels=8, kernel=3, std=0.05, reads="own"),
        Activation("relu2"),
        Linear("fc6", outputs=16, std=0.05),
        Activation("relu6"),
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
        weight_decay={"fc6": 5e-4, "fc8": 5e-4},
        schedule=Stages((Stage(epochs=2), Stage(lr_factor=0.1, color=False))),
    ),
)


def make_images(folder: Path) -> RunConfig:
    """35 + 11 images in which the brightest channel is the class; the last batch can't be halved."""
    rng = np.random.default_rng(0)
    for split, count in (("train", 35), ("val", 11)):
        for i in range(count):
            pixels = rng.integers(0, 100, (16, 16, 3), np.uint8)
            pixels[..., i % 3] += 100
            path = folder / split / f"class{i % 3}" / f"{i:03d}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(path)
    return replace(CONFIG, dataset=str(folder))


QUIET = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "default"}


def worker(config: RunConfig, out: Path, *options: str, processes: int = 1) -> list[str]:
    """The command that runs it, in several processes by torchrun."""
    script = str(Path(__file__).with_name("run_worker.py"))
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--max-restarts", "2", "--nproc-per-node"]
    start = [*torchrun, str(processes)] if processes > 1 else []
    return [sys.executable, *start, script, config.dataset, str(out), *options]


def weights(out: Path, name: str = LAST) -> dict[str, torch.Tensor]:
    """Of a run's checkpoint."""
    return load_checkpoint(out / name)["state"]["training"]["model"]
