"""A whole epoch of CIFAR-10's size against a plain PyTorch loop, and the trainer against the bare step: ``make bench``.

See ``racing`` for how it is measured. Both sides train the same network, preset ``cifar-13pct``, with the same recipe,
on random crops of 24 from 32 pixels, flipped at random; the images are random numbers.
"""

from __future__ import annotations

import argparse
from dataclasses import replace

import torch
import torch.nn.functional as F
from data import StockImages
from racing import Work, race
from torch.utils.data import DataLoader
from torchvision.transforms import v2

from alexnet_repro import Dataset, InputConfig, TrainConfig, build, train
from alexnet_repro.data import Batches
from alexnet_repro.data.inputs import InputTransform
from alexnet_repro.networks.presets import PRESETS
from alexnet_repro.support.environment import keep_large_blocks
from alexnet_repro.training.optim import KrizhevskySGD, parameter_groups

IMAGES = 10_000  # a fifth of an epoch of CIFAR-10
NETS = ("cifar-19pct", "cifar-13pct")
RECIPE = TrainConfig(epochs=1, lr=1e-6)


def network(name: str) -> torch.nn.Module:
    return build(replace(PRESETS[name], image_size=24))


def plain_epoch(name: str) -> Work:
    """As a tutorial has it: stock loader and transforms, stock optimizer, ``item()`` after every step."""
    steps = [v2.RandomCrop(24), v2.RandomHorizontalFlip(), v2.ToImage(), v2.ToDtype(torch.float32)]
    options = {"batch_size": 128, "shuffle": True, "num_workers": 2, "persistent_workers": True}
    loader, model = DataLoader(StockImages(v2.Compose(steps)), **options), network(name)
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


def our_epoch(name: str) -> Work:
    keep_large_blocks()
    images = torch.randint(0, 256, (IMAGES, 3, 32, 32), dtype=torch.uint8)
    labels = torch.arange(IMAGES) % 10
    dataset = Dataset("made up", "train", images, labels, tuple("0123456789"), "random numbers")
    transform = InputTransform.fit(InputConfig(crop=24, reshuffle=True), images)
    batches = Batches(dataset, transform, torch.Generator().manual_seed(0))
    model = network(name).to(memory_format=torch.channels_last)
    return lambda: train(model, batches, RECIPE)


def constant(name: str) -> list[tuple[torch.Tensor, torch.Tensor]]:
    return [(60 * torch.randn(128, 3, 24, 24), torch.arange(128) % 10)] * 40


def bare_steps(name: str) -> Work:
    keep_large_blocks()
    model, data = network(name).to(memory_format=torch.channels_last), constant(name)
    optimizer = KrizhevskySGD(parameter_groups(model, 1e-6, 2.0, {}), 1e-6)

    def steps() -> None:
        for inputs, labels in data:
            optimizer.zero_grad()
            F.cross_entropy(model(inputs), labels).backward()
            optimizer.step()

    return steps


def trainer_steps(name: str) -> Work:
    keep_large_blocks()
    model, data = network(name).to(memory_format=torch.channels_last), constant(name)
    return lambda: train(model, data, RECIPE)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    options = parser.parse_args()
    print(f"torch {torch.__version__}, {options.threads} threads, medians of {options.rounds} rounds that take turns")
    for name in NETS:
        arguments = (name,)
        contestants = {"plain": (plain_epoch, arguments), "ours": (our_epoch, arguments)}
        result = race(contestants, options.rounds, options.threads)
        print(f"\nAn epoch of {IMAGES:,} images, {name} on crops of 24 pixels")
        print(f"  ours: {result['plain'][0] / result['ours'][0]:.2f}x the speed of a plain loop with stock parts")
        contestants = {"bare": (bare_steps, arguments), "trainer": (trainer_steps, arguments)}
        result = race(contestants, options.rounds, options.threads)
        ratio = result["trainer"][0] / result["bare"][0]
        print(f"  the trainer on constant batches: {ratio:.3f} of the time of the bare steps")


if __name__ == "__main__":
    main()
