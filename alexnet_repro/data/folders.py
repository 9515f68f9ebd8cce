"""Folders of class folders of pictures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from alexnet_repro.data.dataset import Dataset, DatasetNotFoundError
from alexnet_repro.data.decode import PictureError, decode, read

SPLITS = ("train", "val", "test")


def load_folder(folder: Path, split: str, size: int) -> Dataset:
    """Every picture of ``folder/<split>/<class>/``, or of ``folder/<class>/``, which then is the split "train".

    The classes are those of the training split, by name; pictures come by class and then by file name. Each is brought
    to ``size`` x ``size`` pixels as ``decode`` says, and ``origin`` counts those that were no ordinary RGB pictures.

    Raises:
        DatasetNotFoundError: the folder has no such split.
        ValueError: no classes, an empty class, or one that the training split lacks.
        PictureError: a file is no picture that can be used.
    """
    splits = [name for name in SPLITS if (folder / name).is_dir() and _class_folders(folder / name)]
    if split not in (splits or ["train"]):
        raise DatasetNotFoundError(f"{folder} has no split {split!r}, only {', '.join(splits) or 'train'}")
    training = folder / "train" if "train" in splits else folder
    classes = _class_folders(training)
    if not classes or (splits and "train" not in splits):
        raise ValueError(f"{training} has no class folders: pictures belong into {folder}/[train/]<class>/")
    place = folder / split if splits else folder
    if foreign := sorted(set(_class_folders(place)) - set(classes)):
        raise ValueError(f"{place} has classes that {training} lacks: {', '.join(foreign)}")
    files = _files(place, classes)
    with ThreadPoolExecutor() as pool:
        decoded = list(pool.map(lambda file: decode(file[0], size), files))
    images, labels = _stacked([pixels for pixels, _ in decoded], files)
    repaired = Counter(repair for _, repair in decoded if repair)
    origin = f"class folders {folder.name}, central squares at {size} pixels" + "".join(
        f"; {count} {repair}" for repair, count in sorted(repaired.items())
    )
    return Dataset(folder.name, split, images, labels, classes, origin)


def read_class_folders(folder: Path, classes: Sequence[str], size: int) -> tuple[Tensor, Tensor]:
    """Every picture of ``folder/<class>/``, by class and then by file name, none of them resampled.

    Args:
        folder: holds one folder per class.
        classes: their names; label i is ``classes[i]``.
        size: height and width that every picture must have, pixels.

    Returns: images (N, 3, size, size) uint8 and labels (N,) int64.

    Raises:
        ValueError: a class has no pictures.
        PictureError: a file is no picture that can be used, or has another size; names the file.
    """
    files = _files(folder, classes)
    with ThreadPoolExecutor() as pool:
        return _stacked(list(pool.map(lambda file: _of_size(file[0], size), files)), files)


def _class_folders(folder: Path) -> tuple[str, ...]:
    return tuple(sorted(path.name for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")))


def _files(folder: Path, classes: Sequence[str]) -> list[tuple[Path, int]]:
    """Path and label of everything in the class folders but hidden files."""
    files = []
    for label, name in enumerate(classes):
        present = (folder / name).is_dir()
        paths = sorted(path for path in (folder / name).iterdir() if path.name[0] != ".") if present else []
        if not paths:
            raise ValueError(f"{folder}: no pictures of {name}. Add some, or remove the class.")
        files += [(path, label) for path in paths]
    return files


def _stacked(pixels: list[np.ndarray], files: Sequence[tuple[Path, int]]) -> tuple[Tensor, Tensor]:
    labels = torch.tensor([label for _, label in files], dtype=torch.int64)
    return torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2).contiguous(), labels


def _of_size(path: Path, size: int) -> np.ndarray:
    image, _ = read(path)
    if image.size != (size, size):
        raise PictureError(f"{path} has {image.width}x{image.height} pixels; here {size}x{size} are needed")
    return np.array(image)
