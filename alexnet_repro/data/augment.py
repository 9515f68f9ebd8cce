"""Crops, horizontal flips, views and colour noise for whole batches; every draw is from an explicit generator."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from types import ModuleType
from typing import get_args

import numpy as np
import torch
from numpy.lib.stride_tricks import sliding_window_view
from torch import Tensor

from alexnet_repro.data.config import ColorVariant
from alexnet_repro.data.moments import Moments
from alexnet_repro.support.environment import send
from alexnet_repro.support.threads import CACHED
from alexnet_repro.support.values import check_choice, check_whole

__all__ = ["Crops", "PCAColor", "centre_crop", "grid_views", "random_crop_flip", "ten_crop"]

Array = Tensor | np.ndarray


@dataclass(frozen=True, eq=False)
class Crops:
    """Where the crop of each of n images begins, and whether it is flipped."""

    size: int  #: side of the crops, pixels
    top: Tensor  #: (n,), first row, pixels
    left: Tensor  #: (n,), first column, pixels
    flipped: Tensor  #: (n,), whether mirrored left to right, bool

    @classmethod
    def draw(
        cls,
        shape: tuple[int, int, int],
        size: int,
        generator: torch.Generator,
        *,
        offsets: int | None = None,
        share: int = 1,
    ) -> Crops:
        """Draws crops of ``size`` pixels for ``shape = (n, height, width)``; see ``random_crop_flip``."""
        n, height, width = shape
        _check_crop(size, height, width)
        check_whole("share", share)
        if offsets is not None:
            check_whole("offsets", offsets)
        places = min(height, width) - size + 1
        if offsets is not None and offsets > places:
            raise ValueError(
                f"a crop of {size} from {height}x{width} pixels has {places} places per axis, fewer than {offsets}: "
                f"set crop_offsets to at most {places}, or to None (in a command, input.crop_offsets=null) for all"
            )
        rows, columns = (length - size + 1 if offsets is None else offsets for length in (height, width))
        draws = -(-n // share), 1
        top, left, flipped = (
            torch.randint(choices, draws, generator=generator, device="cpu").expand(-1, share).flatten()[:n]
            for choices in (rows, columns, 2)
        )
        return cls(size, top, left, flipped.bool())

    def __getitem__(self, rows: slice) -> Crops:
        return Crops(self.size, self.top[rows], self.left[rows], self.flipped[rows])

    def of(self, images: Tensor) -> Tensor:
        """Shape: images (n, C, H, W) -> (n, C, size, size)."""
        n, size = len(images), self.size
        if images.device.type == "cpu" and images.dtype != torch.bfloat16:  # far faster; numpy lacks bfloat16
            windows = sliding_window_view(images.numpy(), (size, size), axis=(2, 3))
            cut, mirrored = windows[np.arange(n), :, self.top.numpy(), self.left.numpy()], self.flipped.numpy()
            cut[mirrored] = cut[mirrored][..., ::-1]
            return torch.from_numpy(cut)
        top, left, flipped = (send(draw, images.device) for draw in (self.top, self.left, self.flipped))
        crops = images.unfold(2, size, 1).unfold(3, size, 1)[torch.arange(n, device=images.device), :, top, left]
        return torch.where(flipped[:, None, None, None], crops.flip(-1), crops)


def random_crop_flip(
    images: Tensor, size: int, generator: torch.Generator, *, offsets: int | None = None, share: int = 1
) -> Tensor:
    """Crops each image to ``size`` x ``size``, every place equally likely, and flips it with probability 1/2.

    Source:  Sec. 4.1; 2012 code, convdata_jpeg.py (33 places per axis for 224 of 256 pixels, shared by 32 images) and
        ``cifar-cropped`` (24 of 32 pixels, 9 per axis, one draw per image).

    Args:
        images: on any device.
        size: side of the crop, pixels.
        generator: on the CPU.
        offsets: number of places per axis, counted from the top left; None: all. 32 gives the paper's factor of 2048.
        share: number of consecutive images that share one draw.

    Shape: images (N, C, H, W), any dtype -> (N, C, size, size).
    """
    if images.ndim != 4:
        raise ValueError(f"images must be (N, C, H, W), not {tuple(images.shape)}; a single image is image[None]")
    n, _, height, width = images.shape
    return Crops.draw((n, height, width), size, generator, offsets=offsets, share=share).of(images)


def grid_views(images: Tensor, size: int) -> Tensor:
    """The nine crops at the corners, the middles of the sides and the centre, unflipped.

    Source:  cuda-convnet up to revision 540, the multiview test of the CIFAR-10 nets.

    Args:
        images: on any device.
        size: side of the crops, pixels.

    Shape: images (N, C, H, W) -> (9, N, C, size, size), row by row.
    """
    _check_crop(size, *images.shape[2:])
    tops, lefts = ((0, (length - size) // 2, length - size) for length in images.shape[2:])
    return torch.stack([images[..., y : y + size, x : x + size] for y in tops for x in lefts])


def ten_crop(images: Tensor, size: int) -> Tensor:
    """The crops at the four corners and the centre, then the same five flipped.

    Source:  Sec. 4.1; 2012 code, the multiview test.

    Args:
        images: on any device.
        size: side of the crops, pixels.

    Shape: images (N, C, H, W) -> (10, N, C, size, size): top left, top right, bottom left, bottom right, centre.
    """
    bottom, right = (length - size for length in images.shape[2:])
    corners = [images[..., y : y + size, x : x + size] for y in (0, bottom) for x in (0, right)]
    five = torch.stack([*corners, centre_crop(images, size)])
    return torch.cat([five, five.flip(-1)])


def centre_crop(images: Tensor, size: int) -> Tensor:
    """The central ``size`` x ``size`` pixels of each image, as a view into ``images``.

    Args:
        images: on any device.
        size: side of the crop, pixels.

    Shape: images (..., H, W), any dtype -> (..., size, size).
    """
    height, width = images.shape[-2:]
    _check_crop(size, height, width)
    top, left = (height - size) // 2, (width - size) // 2
    return images[..., top : top + size, left : left + size]


@dataclass(frozen=True, eq=False)
class PCAColor:
    r"""Shifts the colour of each image by a random amount along the principal axes of the RGB covariance.

    .. math:: \text{shift} = 0.1 \sum_{i=1}^{3} z_i \, \text{deviation}_i \, \text{axis}_i, \qquad z_i \sim N(0, 1)

    with three draws per image, shared by all of its pixels.

    Source:  Sec. 4.1; 2012 code, convdata.py. Three variants of the one paragraph:
        "run145": as it was run: with standard deviations, and with the shifted image divided by 1.1.
        "paper": as printed: with eigenvalues, the squares of the standard deviations, of pixels in 0..255. The shifts
        are larger than the pixel values.
        "lighting": as in most reproductions: the printed formula for pixels in 0..1. The shift along the first axis is
        about half of run 145's, and along the last axis a thirteenth.

    Attributes:
        deviations: (3,) standard deviations along the axes, pixel values, descending.
        axes: (3, 3) orthonormal, the axes in columns; rows are R, G, B.
        variant: one of the three above.

    Example:
        >>> import torch
        >>> from alexnet_repro import PCAColor, load_dataset
        >>> images = load_dataset("photos", split="test").images
        >>> color = PCAColor.fit(images)
        >>> color.axes.shape
        torch.Size([3, 3])
        >>> color(images[:8].float(), torch.Generator().manual_seed(0)).shape
        torch.Size([8, 3, 32, 32])
    """

    deviations: Tensor
    axes: Tensor
    variant: ColorVariant = "run145"

    def __post_init__(self) -> None:
        check_choice("variant", self.variant, get_args(ColorVariant))

    @classmethod
    def fit(cls, images: Tensor | Moments, variant: ColorVariant = "run145") -> PCAColor:
        """The axes of ``images``, (N, 3, H, W) uint8 or their moments; the largest component of each is positive."""
        deviations, axes = Moments.of(images).principal_axes()
        return cls(deviations.float(), axes.float(), variant)

    @classmethod
    def imagenet(cls, variant: ColorVariant = "run145") -> PCAColor:
        """The axes of ImageNet's training set. Source: cuda-convnet2, make-data/input_meta."""
        axes = ((0.56351, 0.71258, -0.41796), (0.57618, 0.02354, 0.81698), (0.59200, -0.70120, -0.39731))
        deviations = 121.7801, 37.0939, 19.7208
        return cls(torch.tensor(deviations, device="cpu"), torch.tensor(axes, device="cpu"), variant)

    def shifts(self, n: int, generator: torch.Generator) -> Tensor:
        """Draws the shifts of ``n`` images, which are added before any division: (n, 3), pixel values."""
        return self.along_axes(torch.randn(n, 3, generator=generator, device="cpu"))

    def along_axes(self, z: Tensor) -> Tensor:
        """The shifts that standard normal draws ``z``, (n, 3), give: (n, 3), pixel values."""
        spread = {
            "run145": self.deviations,
            "paper": self.deviations.square(),
            "lighting": self.deviations.square() / 255,
        }[self.variant]
        return (0.1 * send(z, self.axes.device) * spread) @ self.axes.T

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Shape: images (N, 3, H, W), pixel values, with or without the mean subtracted -> the same in float32."""
        shifts, shifted = self.shifts(len(images), generator), float32_like(images)
        for rows in slices(images):
            operations, (image, shift, out) = arrays(images[rows], shifts[rows], shifted[rows])
            self.apply(operations, image, shift, out)
        return shifted

    def apply(self, operations: ModuleType, images: Array, shifts: Array, out: Array) -> None:
        """Writes the shifted images, divided if the variant says so, into ``out``, which may be ``images`` itself."""
        operations.add(images, shifts[..., None, None], out=out)
        if self.variant == "run145":
            operations.divide(out, 1.1, out=out)

    def to(self, device: torch.device | str) -> PCAColor:
        return PCAColor(self.deviations.to(device), self.axes.to(device), self.variant)


def float32_like(like: Tensor) -> Tensor:
    """Uninitialized float32 of the same shape and device; on a CPU by numpy, which asks the kernel for huge pages."""
    if like.device.type == "cpu":
        return torch.from_numpy(np.empty(like.shape, np.float32))
    return torch.empty(like.shape, device=like.device)


def arrays(*tensors: Tensor) -> tuple[ModuleType, list[Array]]:
    """On a CPU, numpy and the tensors as its arrays; on other devices, torch and the tensors.

    numpy works in the calling thread alone. On a few images, torch's threads cost more than they gain, and in a
    background loader they would compete with the network's threads.
    """
    if tensors[0].device.type != "cpu":
        return torch, list(tensors)
    return np, [tensor.float().numpy() if tensor.dtype == torch.bfloat16 else tensor.numpy() for tensor in tensors]


def slices(images: Tensor) -> Iterator[slice]:
    """Slices of consecutive images: on a CPU of at most ``CACHED`` values or one image, elsewhere a single one."""
    count = len(images)
    step = max(1, CACHED // max(1, images[:1].numel())) if images.device.type == "cpu" else max(1, count)
    return (slice(start, start + step) for start in range(0, count, step))


def _check_crop(size: int, height: int, width: int) -> None:
    if not 0 < size <= min(height, width):
        raise ValueError(
            f"crop size must be between 1 and the image's {height}x{width} pixels, not {size}: crop less (in a "
            "command, --crop), take larger images (--size), or a CIFAR preset"
        )
