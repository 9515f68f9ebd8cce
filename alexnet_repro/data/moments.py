"""Mean image and RGB covariance of a set of images, from one pass."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

VALUES_AT_A_TIME = 2**22  # values converted to float32 at a time


@dataclass(frozen=True, eq=False)
class Moments:
    """The mean image that centres a network's input, and the RGB covariance that gives its colour axes.

    Attributes:
        count: number of images.
        mean_image: (3, H, W) float64, pixel values.
        covariance: (3, 3) float64, of the RGB values of all pixels, squared pixel values.
    """

    count: int
    mean_image: Tensor
    covariance: Tensor

    @classmethod
    def of(cls, images: Tensor | Moments) -> Moments:
        """The moments of one or more images, (N, 3, H, W) uint8; moments are returned as they are."""
        if isinstance(images, Moments):
            return images
        check_images(images)
        sums = PixelSums.of_none(*images.shape[2:])
        if len(images):
            for part in images.split(max(1, VALUES_AT_A_TIME // images[:1].numel())):
                sums.add(part.cpu())
        return sums.moments()

    @property
    def mean(self) -> Tensor:
        """The RGB mean over all pixels, (3,)."""
        return self.mean_image.mean((1, 2))

    def principal_axes(self) -> tuple[Tensor, Tensor]:
        """Standard deviations along the axes, (3,), descending, and the axes, (3, 3), in columns.

        The sign of an axis is arbitrary; here each axis's component of largest magnitude is positive.
        """
        variances, axes = (x.flip(-1) for x in torch.linalg.eigh(self.covariance))
        axes = axes * axes.gather(0, axes.abs().argmax(0, keepdim=True)).sign()
        return variances.clamp(min=0).sqrt(), axes


def check_images(images: Tensor) -> None:
    """Raises ``ValueError`` unless the images are a tensor, (N, 3, H, W) uint8."""
    if not hasattr(images, "index_select"):  # stored images have it, but are no tensors
        raise ValueError(f"images must be a torch tensor, as torch.from_numpy gives, not {type(images).__name__}")
    if images.dtype != torch.uint8 or images.ndim != 4 or images.shape[1] != 3:
        single = ": a single image is image[None]" if images.ndim == 3 else ""
        raise ValueError(f"images must be (N, 3, H, W) uint8, not {tuple(images.shape)} {images.dtype}{single}")


@dataclass(eq=False)
class PixelSums:
    """Exact sums over images, independent of the order and the parts in which the images are added.

    Attributes:
        count: number of images.
        image: (3, H, W) int64, the sum of the images.
        products: (3, 3) int64, the sum over all pixels of the products of two channels.
    """

    count: int
    image: Tensor
    products: Tensor

    @classmethod
    def of_none(cls, height: int, width: int) -> PixelSums:
        zeros = (torch.zeros(shape, dtype=torch.int64, device="cpu") for shape in ((3, height, width), (3, 3)))
        return cls(0, *zeros)

    def add(self, images: Tensor) -> None:
        """Adds images, (N, 3, H, W) uint8, on the CPU; uses numpy, which stays in the calling thread."""
        self.count += len(images)
        for image in images.numpy():
            np.add(self.image.numpy(), image, out=self.image.numpy())
        # The sum of 256 products of two bytes is below 2**24, so float32, several times as fast, is still exact.
        values = images.transpose(0, 1).flatten(1).numpy()
        values = np.pad(values, ((0, 0), (0, -values.shape[1] % 256))).reshape(3, -1, 256).astype(np.float32, order="C")
        products = np.einsum("ibk,jbk->ijb", values, values).sum(-1, dtype=np.float64)
        self.products += torch.from_numpy(products).long()

    def moments(self) -> Moments:
        if not self.count:
            raise ValueError("there are no images to take a mean of")
        mean_image = self.image.double() / self.count
        mean = mean_image.mean((1, 2))
        pixels = self.count * self.image[0].numel()
        return Moments(self.count, mean_image, self.products.double() / pixels - mean.outer(mean))
