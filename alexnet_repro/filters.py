"""What a first layer's filters look for."""

from __future__ import annotations

from torch import Tensor


def color_share(weight: Tensor) -> Tensor:
    """The share of each filter's energy that is not grey.

    ``sum((w - grey)**2) / sum(w**2)``, with ``grey`` the mean of ``w`` over its three channels, at each position. A
    filter that weighs red, green and blue alike has 0, one whose channels cancel out has 1, and one of independent
    random numbers 2/3 on average. A filter of zeros has no energy to share: NaN.

    Source: OURS. Sec. 6.1 calls the kernels of one GPU color-agnostic and those of the other color-specific, by eye.

    Args:
        weight: of the layer that reads the picture; of two towers the first half of the maps is the first tower's.

    Shape: (maps, 3, kernel, kernel) float -> (maps,) float64, 0..1.

    Raises:
        ValueError: the filters do not read three channels.
    """
    if weight.ndim != 4 or weight.shape[1] != 3:
        raise ValueError(f"filters on RGB have the shape (maps, 3, kernel, kernel), not {tuple(weight.shape)}")
    w = weight.detach().double()
    color = w - w.mean(1, keepdim=True)
    energy = w.square().sum((1, 2, 3))
    return (color.square().sum((1, 2, 3)) / energy).clamp(max=1)  # roundings may lead beyond 1
