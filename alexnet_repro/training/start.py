"""The initial state of a run."""

from __future__ import annotations

import torch

from alexnet_repro.data import Batches, Dataset
from alexnet_repro.data.inputs import InputTransform
from alexnet_repro.networks.build import Network, build
from alexnet_repro.support.chance import stream
from alexnet_repro.training.config import RunConfig


def fresh(
    config: RunConfig, training: Dataset, device: str, shard: int = 0, shards: int = 1
) -> tuple[Network, InputTransform, Batches]:
    """The initial state of a run: the network, its input transform, and its batches.

    Runs with the same seed share what their configurations have in common: the initial weights of layers of the same
    shape, the order of the images, crops and flips, the draws of the colour noise, dropout masks.

    Args:
        config: the run.
        training: the training set.
        device: where the network and the batches go.
        shard, shards: this process gets part ``shard`` of ``shards`` of every batch.

    Raises:
        ValueError: the network takes images of a different size from those that the input makes.
    """
    side = config.input.crop or training.images.shape[-1]
    if config.net.image_size != side:
        raise ValueError(f"net.image_size is {config.net.image_size}, but the input makes images of {side} pixels")
    model = untrained(config).to(device).to(memory_format=torch.channels_last)
    transform = InputTransform.fit(config.input, training.moments).to(device)
    batches = Batches(training, transform, stream(config.seed, "batches"), device, shard=shard, shards=shards)
    return model, transform, batches


def untrained(config: RunConfig) -> Network:
    """The network of a run as it is before the first step.

    Args:
        config: the run.
    """
    return build(config.net, stream(config.seed, "network"))
