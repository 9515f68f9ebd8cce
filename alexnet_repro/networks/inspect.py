"""What a trained network has learned: its filters, its activations, its gradients, and what it finds similar."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from alexnet_repro.networks.build import Network
from alexnet_repro.networks.spec import Activation

DISTANCES = 2**24  # between images, in memory at a time
HALVINGS = 1000  # random ones, to compare the two towers with


def color_share(weight: Tensor) -> Tensor:
    r"""The share of each filter's energy that is not grey.

    .. math:: \sum (w - g)^2 \Big/ \sum w^2

    with g the mean of w over its three channels, at each position. A filter that weighs red, green and blue equally
    has 0, one whose channels cancel out has 1, and one of independent random numbers 2/3 on average. A filter of zeros
    has no energy to share: NaN.

    Source: OURS. Sec. 6.1 calls the kernels of one GPU color-agnostic and those of the other color-specific, by eye.

    Args:
        weight: of the layer that reads the image; of two towers the first half of the channels is the first tower's.

    Shape: (channels, 3, kernel, kernel) float -> (channels,) float64, 0..1.

    Raises:
        ValueError: the filters do not read three channels.
    """
    w = _rgb_filters(weight)
    color = w - w.mean(1, keepdim=True)
    energy = w.square().sum((1, 2, 3))
    return (color.square().sum((1, 2, 3)) / energy).clamp(max=1)  # roundings may lead beyond 1


def orientation(weight: Tensor) -> Tensor:
    r"""How much each filter's grey part prefers one direction.

    .. math:: (\lambda_1 - \lambda_2) / (\lambda_1 + \lambda_2), \qquad \lambda_1 \ge \lambda_2

    the eigenvalues of the structure tensor, the sum over positions of the outer products of the brightness gradient. 1
    for parallel stripes, 0 for a round blob; near 0 for a large filter of random numbers. A filter without any gradient
    has none: NaN.

    Source: OURS: what Sec. 6.1 calls orientation-selective, by eye.

    Args:
        weight: of the layer that reads the image.

    Shape: (channels, 3, kernel, kernel) float, kernel at least 2 -> (channels,) float64, 0..1.

    Raises:
        ValueError: the filters do not read three channels.
    """
    grey = _rgb_filters(weight).mean(1)
    down, right = grey.diff(dim=1), grey.diff(dim=2)
    down, right = down[:, :, :-1] + down[:, :, 1:], right[:, :-1] + right[:, 1:]  # over squares of four positions
    yy, xx, xy = (product.sum((1, 2)) for product in (down * down, right * right, down * right))
    return ((xx - yy).square() + 4 * xy.square()).sqrt() / (xx + yy)


def as_images(weight: Tensor) -> Tensor:
    """Filters as images: 0 is mid-grey, each filter's largest number of either sign is black or white.

    Args:
        weight: of the layer that reads the image.

    Shape: (channels, 3, kernel, kernel) float -> the same, 0..255.
    """
    w = weight.detach().float()
    largest = w.abs().amax((1, 2, 3), keepdim=True).clamp(min=torch.finfo(w.dtype).tiny)
    return 127.5 + 127.5 * w / largest


def tower_color(weight: Tensor) -> dict[str, float]:
    """How far two towers' filters differ in colour, and how far two random halves of the same filters would.

    ``color_tower1`` and ``color_tower2`` are the towers' mean ``color_share``; ``color_difference`` is their distance,
    ``color_difference_chance`` the mean distance over ``HALVINGS`` random halvings, always the same ones.

    Source: OURS, as ``color_share``.

    Args:
        weight: of the layer that reads the image; the first half of the channels is the first tower's.

    Shape: (channels, 3, kernel, kernel) float, an even number of channels.
    """
    shares = color_share(weight).cpu()
    first, second = shares.chunk(2)
    generator = torch.Generator().manual_seed(0)
    orders = torch.stack([torch.randperm(len(shares), generator=generator) for _ in range(HALVINGS)])
    halves = shares[orders].chunk(2, dim=1)
    return {
        "color_tower1": first.mean().item(),
        "color_tower2": second.mean().item(),
        "color_difference": (first.mean() - second.mean()).abs().item(),
        "color_difference_chance": (halves[0].mean(1) - halves[1].mean(1)).abs().mean().item(),
    }


def _rgb_filters(weight: Tensor) -> Tensor:
    if weight.ndim != 4 or weight.shape[1] != 3:
        raise ValueError(f"filters on RGB have the shape (channels, 3, kernel, kernel), not {tuple(weight.shape)}")
    return weight.detach().double()


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Within it a model is in eval mode; afterwards each of its modules is in training or not, as it was before."""
    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True


def mean_derivatives(model: nn.Sequential, inputs: Tensor) -> dict[str, float]:
    """Layer name -> mean derivative of its units over a batch in eval mode, for every activation layer.

    What a layer passes back of the gradient it gets: ``1 - tanh**2`` on average, or the share of ReLUs that are active.
    Near 0 the layers below it hardly learn.

    Args:
        model: its layers in a row, the activation layers ``nn.ReLU`` or ``nn.Tanh``.
        inputs: a batch, as the model takes it.

    Shape: inputs (N, 3, image_size, image_size) float.
    """
    derivatives, x = {}, inputs
    with evaluating(model):
        for name, layer in model.named_children():
            x = x.detach()
            if isinstance(layer, nn.ReLU | nn.Tanh):
                with torch.enable_grad():
                    before = x.requires_grad_()
                    x = layer(before)
                    derivatives[name] = torch.autograd.grad(x.sum(), before)[0].mean().item()
            else:
                with torch.no_grad():
                    x = layer(x)
    return derivatives


@torch.no_grad()
def activations(network: Network, inputs: Tensor, layer: str) -> Tensor:
    """What a layer gives, with the network in eval mode.

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
    with evaluating(network):
        return network[: names.index(layer) + 1](inputs)


def nearest(features: Tensor, k: int = 1) -> Tensor:
    """For each row the k other rows that are nearest to it by Euclidean distance, the nearest first.

    Source:  Sec. 6.1, Fig. 4, there in the last 4096-dimensional layer.

    Args:
        features: a row an image.
        k: how many.

    Shape: (N, ...) float -> (N, k) int64.

    Raises:
        ValueError: fewer than k other rows.
    """
    if not 1 <= k < len(features):
        raise ValueError(f"k must be at least 1 and at most the {len(features) - 1} other rows that there are, not {k}")
    rows = features.flatten(1).double()
    found, step = [], max(1, DISTANCES // len(rows))
    for start in range(0, len(rows), step):
        distances = torch.cdist(rows[start : start + step], rows)
        distances.diagonal(start).fill_(torch.inf)  # each row's to itself
        found.append(distances.topk(k, largest=False).indices)
    return torch.cat(found)


def agreement(features: Tensor, labels: Tensor) -> float:
    """The fraction of rows whose nearest other row has the same label.

    Args:
        features: a row an image.
        labels: of the rows.

    Shape: (N, ...) float, (N,) int64.
    """
    return (labels[nearest(features)[:, 0]] == labels).double().mean().item()


def last_hidden(network: Network) -> str:
    """The name of the last activation layer: ``relu7`` in AlexNet; ``ValueError`` if there is none."""
    names = [layer.name for layer in network.config.effective_layers() if isinstance(layer, Activation)]
    if not names:
        raise ValueError(f"{network.config.name} has no activation layer, and so no hidden one to look at")
    return names[-1]


def spaces(networks: Mapping[str, Network], inputs: Tensor, batch_size: int = 250) -> dict[str, Tensor]:
    """The same images as points in several spaces: the inputs themselves, and the last hidden layer of networks.

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


def agreements(networks: Mapping[str, Network], inputs: Tensor, labels: Tensor) -> dict[str, float]:
    """In each of ``spaces``, the fraction of images whose nearest other image has the same label.

    Args:
        networks, inputs: as for ``spaces``.
        labels: of the images.

    Shape: (N, 3, image_size, image_size) float, labels (N,) int64.
    """
    return {name: agreement(points, labels) for name, points in spaces(networks, inputs).items()}
