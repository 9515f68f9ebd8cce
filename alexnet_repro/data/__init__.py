"""Data sets."""

from __future__ import annotations

import os
from pathlib import Path

from alexnet_repro.data.batches import Batches
from alexnet_repro.data.cifar10 import load_cifar10
from alexnet_repro.data.dataset import Dataset, DatasetNotFoundError
from alexnet_repro.data.photos import load_photos

__all__ = ["Batches", "Dataset", "DatasetNotFoundError", "load_dataset"]

NAMES = ("photos", "cifar10")
SPLITS = ("train", "test")


def load_dataset(
    name: str,
    root: str | os.PathLike[str] | None = None,
    split: str = "train",
    *,
    size: int = 32,
    download: bool = False,
) -> Dataset:
    """A data set by its name, whole and in memory, its sha256 and origin with it.

    Args:
        name: "photos" (embedded, needs no files) or "cifar10".
        root: the folder that holds the files; None: the environment's ALEXNET_REPRO_DATA, else ``data``.
        split: "train" or "test".
        size: height and width of the pictures, pixels; cifar10 has only 32.
        download: fetch missing files into ``root`` (photos has none).

    Raises:
        DatasetNotFoundError: the files are missing; no other data set is ever given instead.
        ValueError: an unknown name, split or size.
    """
    if name not in NAMES:
        raise ValueError(f"data set must be one of {', '.join(NAMES)}, not {name!r}")
    if split not in SPLITS:
        raise ValueError(f"split must be one of {', '.join(SPLITS)}, not {split!r}")
    if name == "photos":
        return load_photos(split, size)
    if size != 32:
        raise ValueError(f"cifar10 has pictures of 32 pixels, not {size}")
    folder = Path(root or os.environ.get("ALEXNET_REPRO_DATA") or "data").expanduser()
    return load_cifar10(split, folder, download)
