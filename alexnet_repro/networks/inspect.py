"""What a trained network has learned: its filters, activations and gradients, and which images it finds similar."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from alexnet_repro.networks.build import Network, evaluating
from alexnet_repro.networks.spec import Activation
from alexnet_repro.support.values import check_choice

DISTANCES = 2**24  # between images, held in memory at a time
HALVINGS = 1000  # random splits of the filters into halves, which the two towers are compared with


def color_share(weight: Tensor) -> Tensor:
    r"""The share of each filter's energy that is not grey.

    .. math:: \sum (w - g)^2 \Big/ \sum w^2

    with g the mean of w over its three channels, at each position. The share is 0 for a filter that weights red, green
    and blue equally, 1 for one whose channels cancel out, and 2/3 on average for one of independent random numbers with
    mean 0. It is NaN for a filter of zeros.

    Source: OURS. Sec. 6.1 calls the kernels of one GPU color-agnostic and those of the other color-specific, by eye.

    Args:
        weight: of the layer that reads the image; with two towers, the first half of the channels is the first tower's.

    Shape: (channels, 3, kernel, kernel) float -> (channels,) float64, 0..1.

    Raises:
        ValueError: the filters do not read three channels.
    """
    w = _rgb_filters(weight)
    color = w - w.mean(1, keepdim=True)
    energy = w.square().sum((1, 2, 3))
    return (color.square().sum((1, 2, 3)) / energy).clamp(max=1)  # rounding errors may exceed 1


def orientation(weight: Tensor) -> Tensor:
    r"""How strongly each filter's grey part prefers one orientation.

    .. math:: (\lambda_1 - \lambda_2) / (\lambda_1 + \lambda_2), \qquad \lambda_1 \ge \lambda_2

    where the lambdas are the eigenvalues of the structure tensor: the sum, over positions, of the outer product of the
    brightness gradient with itself. The result is 1 for parallel stripes, 0 for a round blob, near 0 for a large filter
    of random numbers, and NaN for a filter without any gradient.

    Source: OURS. Sec. 6.1 calls kernels orientation-selective, by eye.

    Args:
        weight: of the layer that reads the image.

    Shape: (channels, 3, kernel, kernel) float, kernel at least 2 -> (channels,) float64, 0..1.

    Raises:
        ValueError: the filters do not read three channels.
    """
    grey = _rgb_filters(weight).mean(1)
    down, right = grey.diff(dim=1), grey.diff(dim=2)
    down, right = down[:, :, :-1] + down[:, :, 1:], right[:, :-1] + right[:, 1:]  # over squares of 2 x 2 positions
    yy, xx, xy = (product.sum((1, 2)) for product in (down * down, right * right, down * right))
    return ((xx - yy).square() + 4 * xy.square()).sqrt() / (xx + yy)


def as_images(weight: Tensor) -> Tensor:
    """Filters as images: 0 is mid-grey, and each filter's largest absolute weight is black or white, by its sign.

    Args:
        weight: of the layer that reads the image.

    Shape: (channels, 3, kernel, kernel) float -> the same, 0..255.
    """
    w = weight.detach().float()
    largest = w.abs().amax((1, 2, 3), keepdim=True).clamp(min=torch.finfo(w.dtype).tiny)
    return 127.5 + 127.5 * w / largest


def tower_color(weight: Tensor) -> dict[str, float]:
    """How much two towers' filters differ in colour, and how much two random halves of the same filters would.

    ``color_tower1`` and ``color_tower2`` are the towers' mean ``color_share``; ``color_difference`` is the absolute
    difference of the two, ``color_difference_chance`` its mean over ``HALVINGS`` random splits, always the same ones.

    Source: OURS, as ``color_share``.

    Args:
        weight: of the layer that reads the image; the first half of the channels is the first tower's.

    Shape: (channels, 3, kernel, kernel) float, an even number of channels.
    """
    shares = color_share(weight).cpu()
    first, second = shares.chunk(2)
    generator = torch.Generator().manual_seed(0)
    orders = torch.stack([torch.randperm(len(shares), generator=generator, device="cpu") for _ in range(HALVINGS)])
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


def mean_derivatives(model: nn.Sequential, inputs: Tensor) -> dict[str, float]:
    """The mean derivative of every activation layer over a batch in eval mode, by layer name.

    This is the average fraction of the gradient that a layer passes back: the mean of ``1 - tanh**2``, or the share of
    active ReLUs. If it is near 0, the layers below hardly learn.

    Args:
        model: a sequence of layers, whose activation layers are ``nn.ReLU`` or ``nn.Tanh``.
        inputs: a batch of the model's inputs.

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
    """The output of one layer, with the network in eval mode.

    Args:
        network: may be in training mode, which is restored afterwards.
        inputs: a batch of the network's inputs.
        layer: its name, as in ``network.named_children()``.

    Shape: (N, 3, image_size, image_size) float -> (N, ...), the shape of the layer's output.

    Raises:
        ValueError: no layer has that name.
    """
    names = tuple(name for name, _ in network.named_children())
    check_choice("layer", layer, names)
    with evaluating(network):
        return network[: names.index(layer) + 1](inputs)


def nearest(features: Tensor, k: int = 1) -> Tensor:
    """For each row, the indices of the k other rows nearest to it by Euclidean distance, nearest first.

    Source:  Sec. 6.1, Fig. 4, where the features are those of the last, 4096-dimensional hidden layer.

    Args:
        features: one row per image.
        k: number of neighbours.

    Shape: (N, ...) float -> (N, k) int64.

    Raises:
        ValueError: k is less than 1, or there are fewer than k other rows.
    """
    if not 1 <= k < len(features):
        raise ValueError(f"k must be between 1 and the number of other rows, {len(features) - 1}, not {k}")
    rows = features.flatten(1).double()
    found, step = [], max(1, DISTANCES // len(rows))
    for start in range(0, len(rows), step):
        distances = torch.cdist(rows[start : start + step], rows)
        distances.diagonal(start).fill_(torch.inf)  # from each row to itself
        found.append(distances.topk(k, largest=False).indices)
    return torch.cat(found)


def agreement(features: Tensor, labels: Tensor) -> float:
    """The fraction of rows whose nearest other row has the same label.

    Args:
        features: one row per image.
        labels: one per row.

    Shape: (N, ...) float, (N,) int64.
    """
    return (labels[nearest(features)[:, 0]] == labels).double().mean().item()


def last_hidden(network: Network) -> str:
    """The name of the last activation layer: ``relu7`` in AlexNet; ``ValueError`` if there is none."""
    names = [layer.name for layer in network.config.effective_layers() if isinstance(layer, Activation)]
    if not names:
        raise ValueError(f"{network.config.name} has no activation layer, and hence no hidden layer")
    return names[-1]


def spaces(networks: Mapping[str, Network], inputs: Tensor, batch_size: int = 250) -> dict[str, Tensor]:
    """The same images as points in several spaces: the inputs themselves, and each network's last hidden layer.

    Source:  Sec. 6.1, which compares the trained network with pixels; a network before training is OURS.

    Args:
        networks: name -> network.
        inputs: a batch that all of the networks accept.

    Shape: (N, 3, image_size, image_size) float -> (N, ...) on the CPU, for "pixels" and for each name.
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
        labels: one per image.

    Shape: (N, 3, image_size, image_size) float, labels (N,) int64.
    """
    return {name: agreement(points, labels) for name, points in spaces(networks, inputs).items()}
