"""Whether what lies close together in a network is alike, measured and kept beside the network's checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from alexnet_repro.checkpoint import CheckpointError
from alexnet_repro.config import Neuron, RunConfig
from alexnet_repro.data import load_dataset
from alexnet_repro.data.store import file_sha256
from alexnet_repro.environment import environment
from alexnet_repro.features import activations, agreement
from alexnet_repro.inputs import InputTransform
from alexnet_repro.nets import Network, build
from alexnet_repro.runs import generator, load_run
from alexnet_repro.values import as_json, read_sealed, write_sealed


def last_hidden(network: Network) -> str:
    """The name of the last layer of neurons: ``relu7`` in AlexNet."""
    return [layer.name for layer in network.config.effective_layers() if isinstance(layer, Neuron)][-1]


def spaces(networks: Mapping[str, Network], inputs: Tensor, batch_size: int = 250) -> dict[str, Tensor]:
    """The same pictures as points in several spaces: the inputs themselves, and the last hidden layer of networks.

    Source:  Sec. 6.1, which compares the trained network with pixels; a network before training is OURS.

    Args:
        networks: name -> network.
        inputs: as all of them take them.

    Shape: (N, 3, image_size, image_size) float -> "pixels" and each name: (N, ...) on the CPU.
    """
    found = {"pixels": inputs.cpu()}
    for name, network in networks.items():
        layer = last_hidden(network)
        found[name] = torch.cat([activations(network, part, layer).cpu() for part in inputs.split(batch_size)])
    return found


def agreements(
    networks: Mapping[str, Network], images: Tensor, labels: Tensor, transform: InputTransform
) -> dict[str, float]:
    """In each of ``spaces``, the fraction of pictures whose nearest other picture has the same label.

    Args:
        transform: what makes pictures the networks' inputs; its central view is taken.

    Shape: images (N, 3, H, W) uint8, labels (N,) int64.
    """
    device = next(next(iter(networks.values())).parameters()).device
    central = transform.viewed("centre")
    inputs = torch.cat([central.views(part.to(device))[0] for part in images.split(250)])
    return {name: agreement(points, labels) for name, points in spaces(networks, inputs).items()}


def untrained(config: RunConfig) -> Network:
    """The network of a run as it was before the first step."""
    return build(config.net, generator(config.seed, "weights"))


def record(checkpoint: Path, data_root: str | Path | None = None, device: str = "cpu") -> dict[str, Any]:
    """Measures ``agreements`` on the validation pictures of the checkpoint's own data set, and writes them beside it.

    They are those of the trained network and of what it was before its first step. The file has the checkpoint's name
    with the ending ``.json``, and holds its sha256, its configuration and what else the numbers depend on.

    Raises:
        CheckpointError: there is no checkpoint, or it is damaged.
        ValueError, OSError: the data set is at fault.
    """
    config, network, transform = load_run(checkpoint, device)
    networks = {"untrained": untrained(config).to(device), "trained": network}
    pictures = load_dataset(config.dataset, data_root, "val", size=config.size)
    found = {
        "checkpoint": file_sha256(checkpoint),
        "config": as_json(config),
        "data": pictures.fingerprint,
        "environment": environment(device),
        "layer": last_hidden(network),
        "agreement": agreements(networks, pictures.images, pictures.labels, transform),
    }
    write_sealed(_beside(checkpoint), found)
    return found


def load_record(checkpoint: Path) -> dict[str, Any]:
    """What ``record`` wrote.

    Raises:
        CheckpointError: there is none, it was changed by hand, or it is of another checkpoint.
    """
    path = _beside(checkpoint)
    try:
        found = read_sealed(path)
    except FileNotFoundError as error:
        raise CheckpointError(f"{path} is missing. Restore it, or record it again.") from error
    except ValueError as error:
        raise CheckpointError(f"{error}. Restore it, or record it again.") from error
    if not checkpoint.is_file() or found["checkpoint"] != file_sha256(checkpoint):
        raise CheckpointError(f"{path} is of another checkpoint than {checkpoint.name} is now. Record it again.")
    return found


def _beside(checkpoint: Path) -> Path:
    return checkpoint.with_suffix(".json")
