"""Pictures into network inputs, a whole batch at a time, every draw from an explicit generator."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.lib.stride_tricks import sliding_window_view
from torch import Tensor

from alexnet_repro.config import ColorReading, InputConfig


def random_crop_flip(
    images: Tensor, size: int, generator: torch.Generator, *, offsets: int | None = None, share: int = 1
) -> Tensor:
    """A ``size`` x ``size`` crop of every image, every place equally likely, mirrored with probability 1/2.

    Source:  Sec. 4.1; 2012 code, convdata_jpeg.py (33 places per axis for 224 of 256 pixels, shared by 32 images) and
        ``cifar-cropped`` (24 of 32 pixels, 9 per axis, one draw per image).

    Args:
        images: any device.
        size: side of the crop, pixels.
        generator: on the CPU.
        offsets: places per axis, the first ones; None: all there are. The paper's factor of 2048 has 32.
        share: consecutive images that share one draw.

    Shape: images (N, C, H, W), any dtype -> (N, C, size, size).
    """
    n, _, height, width = images.shape
    _check_crop(size, height, width)
    rows, columns = (length - size + 1 if offsets is None else offsets for length in (height, width))
    if max(rows - height, columns - width) + size > 1:
        raise ValueError(f"a crop of {size} from {height}x{width} pixels has fewer than {offsets} places per axis")
    draws = -(-n // share), 1
    top = torch.randint(rows, draws, generator=generator).expand(-1, share).flatten()[:n]
    left = torch.randint(columns, draws, generator=generator).expand(-1, share).flatten()[:n]
    mirrored = torch.randint(2, draws, generator=generator).expand(-1, share).flatten()[:n].bool()
    if images.device.type == "cpu" and images.dtype != torch.bfloat16:  # which numpy, several times as fast, lacks
        windows = sliding_window_view(images.numpy(), (size, size), axis=(2, 3))
        crops = windows[np.arange(n), :, top.numpy(), left.numpy()]
        crops[mirrored.numpy()] = crops[mirrored.numpy()][..., ::-1]
        return torch.from_numpy(crops)
    top, left, mirrored = (draw.to(images.device) for draw in (top, left, mirrored))
    crops = images.unfold(2, size, 1).unfold(3, size, 1)[torch.arange(n, device=images.device), :, top, left]
    return torch.where(mirrored[:, None, None, None], crops.flip(-1), crops)


def grid_views(images: Tensor, size: int) -> Tensor:
    """The nine crops at the corners, the middles of the sides and the centre, unflipped.

    Source:  cuda-convnet up to revision 540, the multiview test of the CIFAR-10 nets.

    Shape: images (N, C, H, W) -> (9, N, C, size, size), row by row.
    """
    _check_crop(size, *images.shape[2:])
    tops, lefts = ((0, (length - size) // 2, length - size) for length in images.shape[2:])
    return torch.stack([images[..., y : y + size, x : x + size] for y in tops for x in lefts])


def ten_crop(images: Tensor, size: int) -> Tensor:
    """The crops at the four corners and the centre, then the same five mirrored.

    Source:  Sec. 4.1; 2012 code, the multiview test.

    Shape: images (N, C, H, W) -> (10, N, C, size, size): top left, top right, bottom left, bottom right, centre.
    """
    bottom, right = (length - size for length in images.shape[2:])
    corners = [images[..., y : y + size, x : x + size] for y in (0, bottom) for x in (0, right)]
    five = torch.stack([*corners, centre_crop(images, size)])
    return torch.cat([five, five.flip(-1)])


def centre_crop(images: Tensor, size: int) -> Tensor:
    """The central ``size`` x ``size`` pixels of (..., H, W); a view."""
    height, width = images.shape[-2:]
    _check_crop(size, height, width)
    top, left = (height - size) // 2, (width - size) // 2
    return images[..., top : top + size, left : left + size]


@dataclass(frozen=True)
class PCAColor:
    """Shifts the colour of every image along the principal axes of the RGB covariance, at random.

    ``shift = axes @ (z * deviations * 0.1)``, z ~ N(0, 1) per image and axis, the same for all pixels of an image.

    Source:  Sec. 4.1; 2012 code, convdata.py. Three readings of the one paragraph:
        "run145": as it was run: standard deviations, and the shifted image divided by 1.1.
        "paper": as printed: eigenvalues, the squares of the deviations, in the units of the pixels, 0..255. The shifts
        are larger than the pixels.
        "lighting": what most reproductions do: the printed formula for pixels in 0..1, so that along the first axis the
        shift is about half of run 145's, and along the last a twentieth.

    Attributes:
        deviations: (3,) standard deviations along the axes, grey levels, descending.
        axes: (3, 3) orthonormal, in columns; rows are R, G, B.
        reading: one of the three.
    """

    deviations: Tensor
    axes: Tensor
    reading: ColorReading = "run145"

    @classmethod
    def fit(cls, images: Tensor, reading: ColorReading = "run145") -> PCAColor:
        """The axes of ``images``, (N, 3, H, W) uint8. Each points to where its largest component is positive."""
        total, products = torch.zeros(3, dtype=torch.float64), torch.zeros(3, 3, dtype=torch.float64)
        for part in images.split(256):
            pixels = part.transpose(0, 1).flatten(1).cpu().double()
            total += pixels.sum(1)
            products += pixels @ pixels.T
        count = images.numel() // 3
        mean = total / count
        variances, axes = torch.linalg.eigh(products / count - mean.outer(mean))
        axes = axes.flip(1) * axes.flip(1).gather(0, axes.flip(1).abs().argmax(0, keepdim=True)).sign()
        return cls(variances.flip(0).clamp(min=0).sqrt().float(), axes.float(), reading)

    @classmethod
    def imagenet(cls, reading: ColorReading = "run145") -> PCAColor:
        """The axes of ImageNet's training set. Source: cuda-convnet2, make-data/input_meta."""
        axes = ((0.56351, 0.71258, -0.41796), (0.57618, 0.02354, 0.81698), (0.59200, -0.70120, -0.39731))
        return cls(torch.tensor((121.7801, 37.0939, 19.7208)), torch.tensor(axes), reading)

    def shifts(self, n: int, generator: torch.Generator) -> Tensor:
        """What is added to each of ``n`` images before any division: (n, 3), grey levels."""
        spread = {
            "run145": self.deviations,
            "paper": self.deviations.square(),
            "lighting": self.deviations.square() / 255,
        }[self.reading]
        z = torch.randn(n, 3, generator=generator).to(self.axes.device)
        return (0.1 * z * spread) @ self.axes.T

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Shape: images (N, 3, H, W), grey levels with or without their mean -> the same in float32."""
        shifted = images + self.shifts(len(images), generator)[..., None, None]
        return shifted.div_(1.1) if self.reading == "run145" else shifted

    def to(self, device: torch.device | str) -> PCAColor:
        return PCAColor(self.deviations.to(device), self.axes.to(device), self.reading)


@dataclass(frozen=True)
class InputTransform:
    """Stored pictures (uint8) into network inputs (float32), as an ``InputConfig`` says.

    Attributes:
        config: the reading.
        mean: subtracted, grey levels; (3, H, W) for a mean picture, (3, 1, 1) for channel means.
        scale: multiplied afterwards, per grey level.
        color: the colour noise of training, or None.
    """

    config: InputConfig
    mean: Tensor
    scale: Tensor
    color: PCAColor | None = None

    @classmethod
    def fit(cls, config: InputConfig, images: Tensor) -> InputTransform:
        """The transform whose mean, deviation and axes are those of the training ``images``, (N, 3, H, W) uint8."""
        color = None if config.color is None else PCAColor.fit(images, config.color)
        # In slices: a float64 copy of the whole set would take eight times its size.
        mean_image = sum(part.double().sum(0) for part in images.split(1000)) / len(images)
        if config.pixels == "minus-mean-image":
            return cls(config, mean_image.float(), torch.ones(()), color)
        mean = mean_image.mean((1, 2), keepdim=True)
        squares = sum((part - mean).square().sum((0, 2, 3), keepdim=True) for part in images.split(1000))
        variance = squares[0] * images.shape[1] / images.numel()
        return cls(config, mean.float(), variance.rsqrt().float(), color)

    def training(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """One training batch: cropped, mirrored and recoloured at random where the configuration says so."""
        size, offsets, share = self.config.crop, self.config.crop_offsets, self.config.crop_share
        if size is None:
            crop = lambda x: x  # noqa: E731
        elif self.config.random_crops:
            crop = lambda x: random_crop_flip(x, size, generator, offsets=offsets, share=share)  # noqa: E731
        else:
            crop = lambda x: centre_crop(x, size)  # noqa: E731
        inputs = self._centred(images, crop)
        if self.color is not None:
            inputs = self.color(inputs, generator)
        return self._scaled(inputs)

    def views(self, images: Tensor) -> Tensor:
        """What a test image is judged by: (views, N, 3, h, w)."""
        size = self.config.crop
        if size is None:
            return self._scaled(self._centred(images, lambda x: x[None]))
        views = {
            "grid": grid_views,
            "ten": ten_crop,
            "centre": lambda x, size: centre_crop(x, size)[None],
        }[self.config.views]
        return self._scaled(self._centred(images, lambda x: views(x, size)))

    def to(self, device: torch.device) -> InputTransform:
        color = None if self.color is None else self.color.to(device)
        return InputTransform(self.config, self.mean.to(device), self.scale.to(device), color)

    def _centred(self, images: Tensor, crop: Callable[[Tensor], Tensor]) -> Tensor:
        """The crops minus their part of the mean."""
        mean = self.mean
        if self.config.crop is not None and mean.shape[-1] > 1:  # a mean picture, larger than the crops
            if self.config.mean_position == "matched":
                return crop(images - mean)
            mean = centre_crop(mean, self.config.crop)
        return crop(images) - mean

    def _scaled(self, inputs: Tensor) -> Tensor:
        return inputs if self.config.pixels == "minus-mean-image" else inputs.mul_(self.scale)


def _check_crop(size: int, height: int, width: int) -> None:
    if not 0 < size <= min(height, width):
        raise ValueError(f"crop size must be between 1 and the picture's {height}x{width} pixels, not {size}")
