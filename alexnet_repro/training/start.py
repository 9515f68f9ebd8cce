"""What a run starts from."""

from __future__ import annotations

from typing import Protocol

import torch

from alexnet_repro.data import Batches, Dataset
from alexnet_repro.data.config import InputConfig
from alexnet_repro.data.inputs import InputTransform
from alexnet_repro.networks.build import Network, build
from alexnet_repro.networks.spec import NetConfig
from alexnet_repro.support.chance import stream
from alexnet_repro.training.config import RunConfig, TrainConfig


class Recipe(Protocol):
    """What a run is made from: a ``RunConfig``, or an arm of a claim."""

    net: NetConfig
    input: InputConfig
    train: TrainConfig


def fresh(
    recipe: Recipe, training: Dataset, seed: int, device: str, shard: int = 0, shards: int = 1
) -> tuple[Network, InputTransform, Batches]:
    """What a run starts from: the network, the transform of its images, and its batches.

    Runs of one seed share what their recipes have in common: the first weights of layers of one shape, the order of
    the images, their crops and flips, the draws of the colour noise, dropout's masks.

    Args:
        recipe: anything with the fields ``net``, ``input`` and ``train``, e.g. an ``Arm``.
        training: the training set.
        seed: of weights, order, crops and masks.
        device: where the network and the batches go.
        shard, shards: which part of every batch is this process's, of how many.

    Raises:
        ValueError: the network takes images of another size than the input makes.
    """
    side = recipe.input.crop or training.images.shape[-1]
    if recipe.net.image_size != side:
        raise ValueError(f"net.image_size is {recipe.net.image_size}, but the input makes images of {side} pixels")
    model = build(recipe.net, stream(seed, "network")).to(device, memory_format=torch.channels_last)
    transform = InputTransform.fit(recipe.input, training.moments).to(torch.device(device))
    batches = Batches(training, transform, stream(seed, "batches"), device, rank=shard, ranks=shards)
    return model, transform, batches


def untrained(config: RunConfig) -> Network:
    """The network of a run as it was before the first step.

    Args:
        config: the run.
    """
    return build(config.net, stream(config.seed, "network"))
