"""Pictures into network inputs, a whole batch at a time, every draw from an explicit generator."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from alexnet_repro.config import InputConfig


def random_crop_flip(images: Tensor, size: int, generator: torch.Generator) -> Tensor:
    """Per image a ``size`` x ``size`` crop, every offset equally likely, mirrored left to right with probability 1/2.

    Source:  Sec. 4.1; cuda-convnet's provider ``cifar-cropped`` (24 of 32 pixels: 81 offsets).

    Shape: images (N, C, H, W), any dtype -> (N, C, size, size).
    """
    n, channels, height, width = images.shape
    _check_crop(size, height, width)
    top = torch.randint(height - size + 1, (n, 1), generator=generator)
    left = torch.randint(width - size + 1, (n, 1), generator=generator)
    mirrored = torch.randint(2, (n, 1), generator=generator).bool()
    steps = torch.arange(size)
    rows = (top + steps).to(images.device)  # (N, size)
    columns = (left + torch.where(mirrored, size - 1 - steps, steps)).to(images.device)
    index = torch.arange(n, device=images.device)[:, None, None, None]
    channel = torch.arange(channels, device=images.device)[None, :, None, None]
    return images[index, channel, rows[:, None, :, None], columns[:, None, None, :]]


def grid_views(images: Tensor, size: int) -> Tensor:
    """The nine crops at the corners, the middles of the sides and the centre, unflipped.

    Source:  cuda-convnet up to revision 540, the multiview test of the CIFAR-10 nets.

    Shape: images (N, C, H, W) -> (9, N, C, size, size), row by row.
    """
    _check_crop(size, *images.shape[2:])
    tops, lefts = ((0, (length - size) // 2, length - size) for length in images.shape[2:])
    return torch.stack([images[..., y : y + size, x : x + size] for y in tops for x in lefts])


@dataclass(frozen=True)
class InputTransform:
    """Stored pictures (uint8) into network inputs (float32), as an ``InputConfig`` says.

    Attributes:
        config: the reading.
        mean: subtracted, grey levels; (3, H, W) for a mean picture, (3, 1, 1) for channel means.
        scale: multiplied afterwards, per grey level.
    """

    config: InputConfig
    mean: Tensor
    scale: Tensor

    @classmethod
    def fit(cls, config: InputConfig, images: Tensor) -> InputTransform:
        """The transform whose mean (and deviation) are those of the training ``images``, (N, 3, H, W) uint8."""
        # In slices: a float64 copy of the whole set would take eight times its size.
        mean_image = sum(part.double().sum(0) for part in images.split(1000)) / len(images)
        if config.pixels == "minus-mean-image":
            return cls(config, mean_image.float(), torch.ones(()))
        mean = mean_image.mean((1, 2), keepdim=True)
        squares = sum((part - mean).square().sum((0, 2, 3), keepdim=True) for part in images.split(1000))
        variance = squares[0] * images.shape[1] / images.numel()
        return cls(config, mean.float(), variance.rsqrt().float())

    def training(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """One training batch: randomly cropped and flipped where the configuration says so."""
        if self.config.crop is not None:
            images = random_crop_flip(images, self.config.crop, generator)
        return self._inputs(images)

    def views(self, images: Tensor) -> Tensor:
        """What a test image is judged by: (views, N, 3, h, w), nine crops or the whole picture once."""
        views = images[None] if self.config.crop is None else grid_views(images, self.config.crop)
        return self._inputs(views)

    def to(self, device: torch.device) -> InputTransform:
        return InputTransform(self.config, self.mean.to(device), self.scale.to(device))

    def _inputs(self, images: Tensor) -> Tensor:
        mean = self.mean
        if mean.shape[-1] > 1:  # the central part of the mean picture, wherever the crop was taken
            top, left = ((a - b) // 2 for a, b in zip(mean.shape[-2:], images.shape[-2:], strict=True))
            mean = mean[:, top : top + images.shape[-2], left : left + images.shape[-1]]
        return (images.float() - mean) * self.scale


def _check_crop(size: int, height: int, width: int) -> None:
    if not 0 < size <= min(height, width):
        raise ValueError(f"crop size must be between 1 and the picture's {height}x{width} pixels, not {size}")
