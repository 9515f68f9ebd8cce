"""The data set that every source of images yields."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor

from alexnet_repro.data.moments import Moments, check_images

IMAGES_AT_A_TIME = 256  # images read at a time, from memory or disk


class DatasetNotFoundError(FileNotFoundError):
    """A data set, or a split of it, was not found."""


@dataclass(frozen=True, eq=False)
class Dataset:
    """Labelled images of one size.

    Attributes:
        name: "photos", "cifar10", ...
        split: "train", "val" or "test".
        images: (N, 3, H, W) uint8, RGB; for a large data set, an object that is indexed like such a tensor.
        labels: (N,) int64, indices into ``classes``.
        classes: names of the classes.
        origin: where the pixels come from, in words.

    Example:
        >>> import torch
        >>> from alexnet_repro import Dataset
        >>> images, labels = torch.zeros(2, 3, 8, 8, dtype=torch.uint8), torch.tensor([0, 1])
        >>> pets = Dataset("pets", "train", images, labels, ("cat", "dog"), "drawn by hand")
        >>> len(pets), pets.classes[pets.labels[1]]
        (2, 'dog')
    """

    name: str
    split: str
    images: Tensor = field(repr=False)
    labels: Tensor = field(repr=False)
    classes: tuple[str, ...]
    origin: str

    def __post_init__(self) -> None:
        check_images(self.images)
        labels = self.labels
        if not isinstance(labels, Tensor):
            raise ValueError(f"labels must be a torch tensor, as torch.tensor gives, not {type(labels).__name__}")
        if labels.shape != self.images.shape[:1] or labels.dtype != torch.int64:
            raise ValueError(f"labels must be ({len(self.images)},) int64, not {tuple(labels.shape)} {labels.dtype}")
        if wrong := labels[(labels < 0) | (labels >= len(self.classes))].tolist():
            raise ValueError(
                f"labels must be from 0 to {len(self.classes) - 1}, numbers of the classes, not {wrong[0]}"
            )

    def __len__(self) -> int:
        return len(self.images)

    @cached_property
    def sha256(self) -> str:
        """The sha256 of the pixels and labels, wherever and in whatever form they are stored."""
        return pixels_sha256(self.images, self.labels)

    @cached_property
    def moments(self) -> Moments:
        """Mean image and RGB covariance."""
        return Moments.of(self.images)

    @property
    def fingerprint(self) -> dict[str, str | int]:
        """The description of the data in a record: name, split, number of images, origin and sha256."""
        return {
            "name": self.name,
            "split": self.split,
            "images": len(self),
            "origin": self.origin,
            "sha256": self.sha256,
        }


def pixels_sha256(images: Tensor, labels: Tensor) -> str:
    """The sha256 over the shape, the pixels and the labels (as little-endian int64), in that order.

    Args:
        images: (N, 3, H, W) uint8, or an object that is indexed like such a tensor.
        labels: (N,) int64.
    """
    digest = hashlib.sha256(repr(tuple(images.shape)).encode())
    for part in images.split(IMAGES_AT_A_TIME):
        digest.update(part.contiguous().numpy().data)
    digest.update(labels.numpy().astype("<i8").data)
    return digest.hexdigest()
