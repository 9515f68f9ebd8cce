"""What a first layer's filters look for."""

from __future__ import annotations

import torch
from torch import Tensor

HALVINGS = 1000  # random ones, to compare the two towers with


def color_share(weight: Tensor) -> Tensor:
    r"""The share of each filter's energy that is not grey.

    .. math:: \sum (w - g)^2 \Big/ \sum w^2

    with g the mean of w over its three channels, at each position. A filter that weighs red, green and blue alike has
    0, one whose channels cancel out has 1, and one of independent random numbers 2/3 on average. A filter of zeros has
    no energy to share: NaN.

    Source: OURS. Sec. 6.1 calls the kernels of one GPU color-agnostic and those of the other color-specific, by eye.

    Args:
        weight: of the layer that reads the picture; of two towers the first half of the maps is the first tower's.

    Shape: (maps, 3, kernel, kernel) float -> (maps,) float64, 0..1.

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
        weight: of the layer that reads the picture.

    Shape: (maps, 3, kernel, kernel) float, kernel at least 2 -> (maps,) float64, 0..1.

    Raises:
        ValueError: the filters do not read three channels.
    """
    grey = _rgb_filters(weight).mean(1)
    down, right = grey.diff(dim=1), grey.diff(dim=2)
    down, right = down[:, :, :-1] + down[:, :, 1:], right[:, :-1] + right[:, 1:]  # over squares of four positions
    yy, xx, xy = (product.sum((1, 2)) for product in (down * down, right * right, down * right))
    return ((xx - yy).square() + 4 * xy.square()).sqrt() / (xx + yy)


def as_pictures(weight: Tensor) -> Tensor:
    """Filters as pictures: 0 is mid-grey, each filter's largest number of either sign is black or white.

    Args:
        weight: of the layer that reads the picture.

    Shape: (maps, 3, kernel, kernel) float -> the same, 0..255.
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
        weight: of the layer that reads the picture; the first half of the maps is the first tower's.

    Shape: (maps, 3, kernel, kernel) float, an even number of maps.
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
        raise ValueError(f"filters on RGB have the shape (maps, 3, kernel, kernel), not {tuple(weight.shape)}")
    return weight.detach().double()
