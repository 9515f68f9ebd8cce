"""What a network makes of pictures, layer by layer, and which of them it finds alike."""

from __future__ import annotations

import torch
from torch import Tensor

from alexnet_repro.nets import Network


@torch.no_grad()
def activations(network: Network, inputs: Tensor, layer: str) -> Tensor:
    """What a layer gives, with the network as in testing.

    Args:
        network: in training or not, and so it stays.
        inputs: as the network takes them.
        layer: its name, as in ``network.named_children()``.

    Shape: (N, 3, image_size, image_size) float -> (N, ...) as the layer has it.

    Raises:
        ValueError: there is no layer of that name.
    """
    names = [name for name, _ in network.named_children()]
    if layer not in names:
        raise ValueError(f"layer must be one of {', '.join(names)}, not {layer!r}")
    was_training = network.training
    network.eval()
    x = inputs
    for name, module in network.named_children():
        x = module(x)
        if name == layer:
            break
    network.train(was_training)
    return x


def nearest(features: Tensor, k: int = 1) -> Tensor:
    """For each row the k other rows that are nearest to it by Euclidean distance, the nearest first.

    Source:  Sec. 6.1, Fig. 4, there in the last 4096-dimensional layer.

    Args:
        features: a row a picture.
        k: how many.

    Shape: (N, ...) float -> (N, k) int64.

    Raises:
        ValueError: fewer than k other rows.
    """
    if not 1 <= k < len(features):
        raise ValueError(f"k must be between 1 and {len(features) - 1}, the number of other rows, not {k}")
    rows = features.flatten(1).double()
    distances = torch.cdist(rows, rows)
    distances.fill_diagonal_(torch.inf)
    return distances.topk(k, largest=False).indices


def agreement(features: Tensor, labels: Tensor) -> float:
    """The fraction of rows whose nearest other row has the same label.

    Args:
        features: a row a picture.
        labels: of the rows.

    Shape: (N, ...) float, (N,) int64.
    """
    return (labels[nearest(features)[:, 0]] == labels).double().mean().item()
