"""The data pipeline against torchvision's.

The images are JPEG files of 500x375 pixels, ImageNet's most common size, cut from scikit-image's photographs.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable
from functools import partial
from itertools import chain, repeat
from pathlib import Path
from typing import Any

import numpy as np
import torch
from network import Minibatch, our_training_step
from PIL import Image
from racing import Work, speeds
from skimage import data
from torch.utils.data import DataLoader
from torchvision.datasets import ImageFolder
from torchvision.transforms import v2

from alexnet_repro import AlexNet, Dataset, InputConfig
from alexnet_repro.data import Batches, Store, prepare
from alexnet_repro.data.folders import folder_source
from alexnet_repro.data.inputs import InputTransform

IMAGES = 512
SMALL_IMAGES = 10_000
STEP_BATCH = 16
STEPS = 4  # batches of an epoch
GRAIN = 16  # pixel values; the files then average some 95 kB, a little less than ImageNet's


def make_images(folder: Path, count: int = IMAGES, size: tuple[int, int] = (500, 375)) -> None:
    """Writes JPEG files of two classes, each a different window of a photograph."""
    rng = np.random.default_rng(0)
    photographs = [Image.fromarray(getattr(data, name)()) for name in ("astronaut", "coffee", "chelsea", "rocket")]
    for i in range(count):
        photograph = photographs[i % len(photographs)]
        width = photograph.width * rng.uniform(0.5, 0.9)
        height = min(width * size[1] / size[0], photograph.height)
        left, top = rng.uniform(0, photograph.width - width), rng.uniform(0, photograph.height - height)
        path = folder / f"class{i % 2}" / f"{i:05d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        window = photograph.resize(size, box=(left, top, left + width, top + height))
        grain = rng.normal(0, GRAIN, (size[1], size[0], 1))
        pixels = (np.asarray(window) + grain).clip(0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(path, quality=90)


# --- batches --------------------------------------------------------------------------------------------------------


def count(batches: Iterable[Minibatch]) -> int:
    return sum(len(labels) for _, labels in batches)


def stock_batches(folder: Path) -> Work:
    """torchvision's batches, without colour noise, which it lacks."""
    transforms = [
        v2.Resize(256),
        v2.RandomCrop(224),
        v2.RandomHorizontalFlip(),
        v2.ToImage(),
        v2.ToDtype(torch.float32),
    ]
    images = ImageFolder(folder, v2.Compose(transforms))
    loader = DataLoader(images, batch_size=128, shuffle=True, num_workers=2, persistent_workers=True)
    return lambda: count(loader)


def our_batches(store: Path) -> Work:
    batches = stored_batches(store, 128)
    return lambda: count(batches)


def stored_batches(store: Path, batch_size: int) -> Batches:
    dataset = Store.open(store).dataset()
    config = InputConfig(crop=224, views="ten", color="run145", batch_size=batch_size, reshuffle=True)
    transform = InputTransform.fit(config, dataset.moments)
    return Batches(dataset, transform, torch.Generator().manual_seed(0))


class StockImages(torch.utils.data.Dataset):
    """Random images stored like torchvision's CIFAR10: an array, each row of which becomes a Pillow image on access."""

    def __init__(self, count: int, transform: Callable) -> None:
        self.pixels = np.random.default_rng(0).integers(0, 256, (count, 32, 32, 3), np.uint8)
        self.transform = transform

    def __len__(self) -> int:
        return len(self.pixels)

    def __getitem__(self, i: int) -> tuple[torch.Tensor, int]:
        return self.transform(Image.fromarray(self.pixels[i])), i % 10


def stock_loader(count: int) -> DataLoader:
    """Batches of ``count`` random images of 32 pixels: random crops of 24 pixels, flipped at random."""
    crops = v2.Compose([v2.RandomCrop(24), v2.RandomHorizontalFlip(), v2.ToImage(), v2.ToDtype(torch.float32)])
    images = StockImages(count, crops)
    return DataLoader(images, batch_size=128, shuffle=True, num_workers=2, persistent_workers=True)


def random_dataset(count: int, side: int = 32, classes: int = 10) -> Dataset:
    """``count`` random images as a data set of this library."""
    images = torch.randint(0, 256, (count, 3, side, side), dtype=torch.uint8)
    names = tuple(map(str, range(classes)))
    return Dataset("made up", "train", images, torch.arange(count) % classes, names, "random numbers")


def small_batches(count: int) -> Batches:
    """The library's batches of ``count`` such images, cropped and flipped like those of ``stock_loader``."""
    dataset = random_dataset(count)
    transform = InputTransform.fit(InputConfig(crop=24, batch_size=128, reshuffle=True), dataset.images)
    return Batches(dataset, transform, torch.Generator().manual_seed(0))


def stock_small_batches() -> Work:
    loader = stock_loader(SMALL_IMAGES)
    return lambda: count(loader)


def our_small_batches() -> Work:
    batches = small_batches(SMALL_IMAGES)
    return lambda: count(batches)


# --- an epoch of training, with the batches and without -------------------------------------------------------------


def epoch(batches: Iterable[Minibatch]) -> Work:
    """Trains on ``STEPS`` batches: a whole epoch, so that no batch is prepared outside the time that is measured."""
    step = our_training_step(AlexNet().to(memory_format=torch.channels_last), chain.from_iterable(repeat(batches)))

    def work() -> None:
        for _ in range(STEPS):
            step()

    return work


def constant_epoch(store: Path) -> Work:
    return epoch([next(iter(stored_batches(store, STEP_BATCH)))])


def loading_epoch(store: Path) -> Work:
    batches = stored_batches(store, STEP_BATCH)
    batches.enter(color=True, part=STEPS * STEP_BATCH / IMAGES)
    assert len(batches) == STEPS
    return epoch(batches)


# --- preparing ------------------------------------------------------------------------------------------------------


def plain_pass(folder: Path) -> Work:
    images = ImageFolder(folder, v2.Compose([v2.Resize(256), v2.CenterCrop(256)]))
    return lambda: [np.asarray(image) for image, _ in images]


def prepared(folder: Path, form: str) -> Work:
    def work() -> None:
        with tempfile.TemporaryDirectory() as out:
            prepare(folder_source(folder), Path(out), form=form)

    return work


def figures() -> list[dict[str, Any]]:
    with tempfile.TemporaryDirectory() as root:
        folder, raw, jpeg = (Path(root, name) for name in ("images", "raw", "jpeg"))
        make_images(folder)
        for form, store in (("raw", raw), ("jpeg", jpeg)):
            prepare(folder_source(folder), store, form=form)
        batches = {
            "ImageFolder, DataLoader(num_workers=2)": partial(stock_batches, folder),
            "raw store": partial(our_batches, raw), "JPEG store": partial(our_batches, jpeg),
        }  # fmt: skip
        epochs = {
            "one constant batch": partial(constant_epoch, raw),
            "raw store": partial(loading_epoch, raw), "JPEG store": partial(loading_epoch, jpeg),
        }  # fmt: skip
        passes = {
            "a pass of ImageFolder": partial(plain_pass, folder),
            "raw store": partial(prepared, folder, "raw"), "JPEG store": partial(prepared, folder, "jpeg"),
        }  # fmt: skip
        found = speeds("batches of 128 crops of 224 pixels", batches)
        found += speeds(f"training, {STEPS} batches of {STEP_BATCH} images", epochs)
        found += speeds(f"prepare, {IMAGES:,} files", passes)
    small = {"DataLoader(num_workers=2)": stock_small_batches, "Batches": our_small_batches}
    return found + speeds("batches of 128 crops of 24 pixels", small)
