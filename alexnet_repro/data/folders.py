"""Folders of class folders of pictures."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor


def read_class_folders(folder: Path, classes: tuple[str, ...], size: int) -> tuple[Tensor, Tensor]:
    """Every picture of ``folder/<class>/``, by class and then by file name.

    Args:
        folder: holds one folder per class.
        classes: their names; label i is ``classes[i]``.
        size: height and width that every picture must have, pixels.

    Returns: images (N, 3, size, size) uint8 and labels (N,) int64.

    Raises:
        ValueError: a file is no readable picture, or has another size, or a class has none; names the file.
    """
    files = [
        (path, label)
        for label, name in enumerate(classes)
        for path in sorted((folder / name).iterdir())
        if not path.name.startswith(".")
    ]
    labels = torch.tensor([label for _, label in files], dtype=torch.int64)
    if empty := [name for label, name in enumerate(classes) if not (labels == label).any()]:
        raise ValueError(f"{folder}: no pictures of {', '.join(empty)}")
    with ThreadPoolExecutor() as pool:
        pixels = np.stack(list(pool.map(lambda file: _read(file[0], size), files)))
    return torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous(), labels


def _read(path: Path, size: int) -> np.ndarray:
    try:
        with Image.open(path) as image:
            pixels = np.asarray(image.convert("RGB"))
    except (UnidentifiedImageError, OSError) as error:
        raise ValueError(f"{path} is not a readable picture: {error}. Replace or remove the file.") from error
    if pixels.shape != (size, size, 3):
        raise ValueError(f"{path} has {pixels.shape[1]}x{pixels.shape[0]} pixels; here {size}x{size} are needed")
    return pixels
