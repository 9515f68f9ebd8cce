"""The data pipeline against torchvision's and albumentations': ``make bench``. See ``racing`` for how it is measured.

The images are JPEG files of 500x375 pixels, ImageNet's commonest size, cut from scikit-image's photographs.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from itertools import cycle
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from racing import Work, race
from skimage import data
from torch import Tensor
from torch.utils.data import DataLoader
from torchvision.datasets import ImageFolder
from torchvision.transforms import v2

from alexnet_repro import AlexNet, Dataset, InputConfig, PCAColor
from alexnet_repro.data import Batches, Store, prepare
from alexnet_repro.data.folders import folder_source
from alexnet_repro.data.inputs import InputTransform
from alexnet_repro.training.optim import KrizhevskySGD, parameter_groups

IMAGES = 1024
SMALL_IMAGES = 10_000
STEP_BATCH = 64
GRAIN = 16  # pixel values; the files then have some 95 kB on average, a little less than ImageNet's


def make_images(folder: Path, count: int = IMAGES, size: tuple[int, int] = (500, 375)) -> None:
    """JPEG files of two classes, every one another window of a photograph."""
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


def count(batches: Iterator[tuple[Tensor, Tensor]]) -> int:
    return sum(len(labels) for _, labels in batches)


def stock_batches(folder: Path) -> Work:
    """No colour noise, which torchvision lacks."""
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


def our_batches(store: Path, ahead: int = 2) -> Work:
    batches = stored_batches(store, 128, ahead)
    return lambda: count(batches)


def stored_batches(store: Path, batch_size: int, ahead: int = 2) -> Batches:
    dataset = Store.open(store).dataset()
    config = InputConfig(crop=224, views="ten", color="run145", batch_size=batch_size, reshuffle=True)
    transform = InputTransform.fit(config, dataset.moments)
    return Batches(dataset, transform, torch.Generator().manual_seed(0), ahead=ahead)


class StockImages(torch.utils.data.Dataset):
    """CIFAR-10 as torchvision's class keeps it: an array, and a Pillow image made of a row when it is asked for."""

    def __init__(self, transform: Callable) -> None:
        self.pixels = np.random.default_rng(0).integers(0, 256, (SMALL_IMAGES, 32, 32, 3), np.uint8)
        self.transform = transform

    def __len__(self) -> int:
        return len(self.pixels)

    def __getitem__(self, i: int) -> tuple[torch.Tensor, int]:
        return self.transform(Image.fromarray(self.pixels[i])), i % 10


def stock_small_batches() -> Work:
    crops = v2.Compose([v2.RandomCrop(24), v2.RandomHorizontalFlip(), v2.ToImage(), v2.ToDtype(torch.float32)])
    options = {"batch_size": 128, "shuffle": True, "num_workers": 2, "persistent_workers": True}
    loader = DataLoader(StockImages(crops), **options)
    return lambda: count(loader)


def our_small_batches() -> Work:
    images = torch.randint(0, 256, (SMALL_IMAGES, 3, 32, 32), dtype=torch.uint8)
    dataset = Dataset(
        "made up", "train", images, torch.arange(SMALL_IMAGES) % 10, tuple("0123456789"), "random numbers"
    )
    transform = InputTransform.fit(InputConfig(crop=24), images)
    batches = Batches(dataset, transform, torch.Generator().manual_seed(0))
    return lambda: count(batches)


# --- a step, with the batches and without ---------------------------------------------------------------------------


def step(batches: Callable[[], Iterator[tuple[Tensor, Tensor]]]) -> Work:
    model = AlexNet().to(memory_format=torch.channels_last)
    decay = {name: 5e-4 for name, _ in model.named_children() if name.startswith(("conv", "fc"))}
    optimizer = KrizhevskySGD(parameter_groups(model, 1e-6, 1.0, decay), lr=1e-6)
    stream = batches()

    def one() -> None:
        inputs, labels = next(stream)
        loss = torch.nn.functional.cross_entropy(model(inputs), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return one


def constant_step(store: Path) -> Work:
    batch = next(iter(stored_batches(store, STEP_BATCH)))
    return step(lambda: cycle([batch]))


def loading_step(store: Path) -> Work:
    def endless() -> Iterator[tuple[Tensor, Tensor]]:
        batches = stored_batches(store, STEP_BATCH)
        while True:
            yield from batches

    return step(endless)


# --- preparing ------------------------------------------------------------------------------------------------------


def plain_pass(folder: Path) -> Work:
    images = ImageFolder(folder, v2.Compose([v2.Resize(256), v2.CenterCrop(256)]))
    return lambda: [np.asarray(image) for image, _ in images]


def plain_pass_of_two(folder: Path) -> Work:
    images = ImageFolder(folder, v2.Compose([v2.Resize(256), v2.CenterCrop(256), v2.PILToTensor()]))
    loader = DataLoader(images, batch_size=128, num_workers=2, persistent_workers=True)
    return lambda: count(loader)


def prepared(folder: Path, form: str) -> Work:
    def work() -> None:
        with tempfile.TemporaryDirectory() as out:
            prepare(folder_source(folder), Path(out), form=form)

    return work


def peak_memory(images: int) -> float:
    """Of the largest process of ``prepare`` on so many images, MiB."""
    with tempfile.TemporaryDirectory() as root:
        make_images(Path(root, "one"), 2, (160, 120))
        for name in ("class0", "class1"):
            folder = Path(root, "many", name)
            folder.mkdir(parents=True)
            [image] = Path(root, "one", name).iterdir()
            for i in range(images // 2):
                (folder / f"{i:06d}.jpg").hardlink_to(image)
        prepare(folder_source(Path(root, "many")), Path(root, "store"), size=128, form="raw")
    usage = (resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return max(usage) / 1024


# --- colour noise ---------------------------------------------------------------------------------------------------


def their_colors() -> Work:
    import albumentations

    images = np.random.default_rng(0).integers(0, 256, (128, 224, 224, 3), np.uint8)
    noise = albumentations.FancyPCA(p=1.0)
    return lambda: [noise(image=image) for image in images]


def our_colors() -> Work:
    images = torch.randint(0, 256, (128, 3, 224, 224), dtype=torch.uint8).float()
    color, generator = PCAColor.imagenet(), torch.Generator().manual_seed(0)
    return lambda: color(images, generator)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    options = parser.parse_args()
    run = lambda contestants: race(contestants, options.rounds, options.threads)  # noqa: E731
    print(f"torch {torch.__version__}, {options.threads} threads, medians of {options.rounds} rounds that take turns")

    with tempfile.TemporaryDirectory() as root:
        folder, raw, jpeg = (Path(root, name) for name in ("images", "raw", "jpeg"))
        make_images(folder)
        for form, store in (("raw", raw), ("jpeg", jpeg)):
            prepare(folder_source(folder), store, form=form)
        result = run(
            {"stock": (stock_batches, (folder,)), "raw": (our_batches, (raw,)), "jpeg": (our_batches, (jpeg,))}
        )
        print("\nBatches of 128 random crops of 224 from 256 pixels, flipped; ours with colour noise too")
        for name in ("raw", "jpeg"):
            ratio = result["stock"][0] / result[name][0]
            print(f"  {name} store: {ratio:.1f}x the speed of ImageFolder, v2 and DataLoader(num_workers=2)")

        result = run({"constant": (constant_step, (raw,)), "loading": (loading_step, (raw,))})
        print(f"\nTraining step of AlexNet as printed, {STEP_BATCH} images")
        ratio = result["loading"][0] / result["constant"][0]
        print(f"  with batches from the store: {ratio:.3f} of the time with one constant batch")

        result = run({
            "plain": (plain_pass, (folder,)), "two": (plain_pass_of_two, (folder,)),
            "raw": (prepared, (folder, "raw")), "jpeg": (prepared, (folder, "jpeg")),
        })  # fmt: skip
        print(f"\nAll of {IMAGES:,} files to central squares of 256 pixels, ours with sums, checksums and files")
        for name in ("raw", "jpeg"):
            one, two = (result[other][0] / result[name][0] for other in ("plain", "two"))
            print(
                f"  {name}: {one:.2f}x the speed of a plain pass of ImageFolder, {two:.2f}x that of one by two workers"
            )

    with ProcessPoolExecutor(1, mp_context=get_context("spawn"), max_tasks_per_child=1) as pool:
        few, many = pool.map(peak_memory, (1_000, 10_000))
    print(f"\nPeak memory of prepare on 10,000 images: {many / few:.2f} of that on 1,000")

    result = run({"stock": (stock_small_batches, ()), "ours": (our_small_batches, ())})
    print(f"\nBatches of 128 random crops of 24 from {SMALL_IMAGES:,} images of 32, flipped at random")
    ratio = result["stock"][0] / result["ours"][0]
    print(f"  ours: {ratio:.1f}x the speed of DataLoader(num_workers=2) with torchvision's v2 transforms")

    try:
        import albumentations  # noqa: F401
    except ImportError:
        print("\nColour noise: not compared, albumentations is not installed (pip install albumentations)")
        return
    result = run({"theirs": (their_colors, ()), "ours": (our_colors, ())})
    print("\nPCA colour noise on 128 images of 224 pixels")
    print(f"  ours: {result['theirs'][0] / result['ours'][0]:.1f}x the speed of albumentations' FancyPCA")


if __name__ == "__main__":
    main()
