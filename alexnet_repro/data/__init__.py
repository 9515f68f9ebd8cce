"""Data sets."""

from __future__ import annotations

import os
from pathlib import Path

from alexnet_repro.data.batches import Batches
from alexnet_repro.data.cifar10 import load_cifar10
from alexnet_repro.data.dataset import Dataset, DatasetNotFoundError
from alexnet_repro.data.decode import PictureError
from alexnet_repro.data.folders import load_folder
from alexnet_repro.data.photos import load_photos

__all__ = ["Batches", "Dataset", "DatasetNotFoundError", "PictureError", "load_dataset"]

NAMES = ("photos", "cifar10")


def load_dataset(
    name: str,
    root: str | os.PathLike[str] | None = None,
    split: str = "train",
    *,
    size: int | None = None,
    download: bool = False,
) -> Dataset:
    """A data set by its name, whole and in memory, its sha256 and origin with it.

    Args:
        name: "photos" (embedded, needs no files), "cifar10", or the path of a folder of class folders of pictures, with
            or without split folders.
        root: the folder that holds the files; None: the environment's ALEXNET_REPRO_DATA, else ``data``.
        split: "train" or "test"; of a folder "train", "val" or "test", as far as it has them.
        size: height and width of the pictures, pixels; None: 32, and 256 for a folder. cifar10 has only 32.
        download: fetch missing files into ``root`` (of cifar10).

    Raises:
        DatasetNotFoundError: the files or the split are missing; no other data set is ever given instead.
        PictureError: a file of a folder is no picture that can be used.
        ValueError: an unknown name, split or size.
    """
    if name not in NAMES and Path(name).expanduser().is_dir():
        return load_folder(Path(name).expanduser().resolve(), split, 256 if size is None else size)
    if name not in NAMES:
        raise ValueError(f"data set must be one of {', '.join(NAMES)} or the path of a folder, not {name!r}")
    if split not in ("train", "test"):
        raise ValueError(f"split must be train or test, not {split!r}")
    size = 32 if size is None else size
    if name == "photos":
        return load_photos(split, size)
    if size != 32:
        raise ValueError(f"cifar10 has pictures of 32 pixels, not {size}")
    folder = Path(root or os.environ.get("ALEXNET_REPRO_DATA") or "data").expanduser()
    return load_cifar10(split, folder, download)
