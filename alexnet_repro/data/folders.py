"""Sources of images, and folders of class folders as such."""

from __future__ import annotations

import io
import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from alexnet_repro.data.dataset import Dataset, DatasetNotFoundError
from alexnet_repro.data.decode import ImageError, decode, read

SPLITS = ("train", "val", "test")


class ImageFile(NamedTuple):
    """Where one image lies; nothing has looked into it."""

    name: str  #: within the source, e.g. "train/n01440764/n01440764_10026.JPEG"
    label: int  #: number of its class
    file: Path  #: that it is, or that it lies in
    length: int  #: bytes
    offset: int | None = None  #: bytes, where it begins in an archive that is not compressed; None: it is the file

    def open(self) -> Path | BinaryIO:
        if self.offset is None:
            return self.file
        with self.file.open("rb") as archive:
            archive.seek(self.offset)
            return io.BytesIO(archive.read(self.length))


class Problem(NamedTuple):
    """Something in a source that gives no image."""

    name: str  #: of the file or folder
    reason: str  #: what is wrong with it, without the name
    fatal: bool = True  #: whether a careful reader would stop

    def error(self) -> ValueError:
        return ValueError(f"{self.name} {self.reason}")


Listing = Callable[[], Iterator[ImageFile | Problem]]


@dataclass(frozen=True)
class Source:
    """Labelled image files, listed anew whenever asked, so that no list of all of them is ever held.

    Attributes:
        name: "imagenette", or the name of the folder.
        origin: where the files come from, in words.
        classes: names of the classes.
        listings: split -> its images and problems, by class and then by name.
        archives: files that must have these md5 sums.
        expected: split -> number of images, where it is known.
    """

    name: str
    origin: str
    classes: tuple[str, ...]
    listings: Mapping[str, Listing]
    archives: Mapping[Path, str] = field(default_factory=dict)
    expected: Mapping[str, int] = field(default_factory=dict)

    def listed(self, split: str) -> Iterator[ImageFile | Problem]:
        """The split's images and problems, the last of which may be that their number is not the expected one."""
        count = 0
        for entry in self.listings[split]():
            count += isinstance(entry, ImageFile)
            yield entry
        if (expected := self.expected.get(split, count)) != count:
            yield Problem(split, f"has {count:,} images, but {self.name} has {expected:,}")

    def in_memory(self, split: str, size: int) -> Dataset:
        """The split as a data set in memory, every image decoded as ``decode`` says.

        ``origin`` counts the images that were no ordinary RGB ones.

        Raises:
            DatasetNotFoundError: there is no such split.
            ValueError: a problem of the listing.
            ImageError: a file is no image that can be used.
        """
        if split not in self.listings:
            raise DatasetNotFoundError(f"{self.name} has no split {split!r}, only {', '.join(self.listings)}")
        files = list(strictly(self.listed(split)))
        with ThreadPoolExecutor() as pool:
            decoded = list(pool.map(lambda f: decode(f.open(), size, f.name), files))
        repaired = Counter(repair for _, repair in decoded if repair)
        origin = f"{self.origin}, central squares at {size} pixels" + "".join(
            f"; {count} {repair}" for repair, count in sorted(repaired.items())
        )
        images = _stacked([pixels for pixels, _ in decoded])
        labels = torch.tensor([file.label for file in files], dtype=torch.int64)
        return Dataset(self.name, split, images, labels, self.classes, origin)


def strictly(listed: Iterator[ImageFile | Problem]) -> Iterator[ImageFile]:
    """The images; ``ValueError`` at the first fatal problem."""
    for entry in listed:
        if isinstance(entry, ImageFile):
            yield entry
        elif entry.fatal:
            raise entry.error()


def folder_source(folder: Path) -> Source:
    """``folder/<split>/<class>/``, or ``folder/<class>/``, which then is the split "train".

    The classes are those of the training split, by name. Hidden files are no images; what lies beside the split
    folders is not looked at.

    Raises:
        ValueError: there are no class folders.
    """
    splits = [name for name in SPLITS if (folder / name).is_dir() and class_folders(folder / name)]
    training = folder / "train" if splits else folder
    classes = class_folders(training) if training.is_dir() else ()
    if not classes:
        raise ValueError(f"{training} has no class folders: images belong into {folder}/[train/]<class>/")
    places = {name: name for name in splits} or {"train": ""}
    listings = {split: class_folder_listing(folder, place, classes) for split, place in places.items()}
    return Source(folder.name, f"class folders {folder.name}", classes, listings)


def class_folders(folder: Path) -> tuple[str, ...]:
    """Names of the folders in a folder, sorted; hidden ones left out."""
    return tuple(sorted(path.name for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")))


def class_folder_listing(root: Path, place: str, classes: Sequence[str]) -> Listing:
    """Of ``root/place/<class>/``; label i is ``classes[i]``."""
    labels = {name: label for label, name in enumerate(classes)}

    def listing() -> Iterator[ImageFile | Problem]:
        for entry in _visible(root / place):
            name = f"{place}/{entry.name}".lstrip("/")
            if not Path(entry).is_dir():
                looks_like_an_image = Path(entry.name).suffix.lower() in Image.registered_extensions()
                fatal = looks_like_an_image or not Path(entry).exists()  # the last: a link that leads nowhere
                yield Problem(name, "lies outside the class folders", fatal)
            elif entry.name not in labels:
                yield Problem(name, f"is a class that train lacks; it has {len(labels)}")
        for name, label in labels.items():
            yield from _image_files(root, f"{place}/{name}".lstrip("/"), label)

    return listing


def read_class_folders(folder: Path, classes: Sequence[str], size: int) -> tuple[Tensor, Tensor]:
    """Every image of ``folder/<class>/``, by class and then by file name, none of them resampled.

    Args:
        folder: holds one folder per class.
        classes: their names; label i is ``classes[i]``.
        size: height and width that every image must have, pixels.

    Returns: images (N, 3, size, size) uint8 and labels (N,) int64.

    Raises:
        ValueError: a problem of the listing.
        ImageError: a file is no image that can be used, or has another size; names the file.
    """
    files = list(strictly(class_folder_listing(folder, "", classes)()))
    with ThreadPoolExecutor() as pool:
        images = _stacked(list(pool.map(lambda file: _of_size(file, size), files)))
    return images, torch.tensor([file.label for file in files], dtype=torch.int64)


def _image_files(root: Path, place: str, label: int) -> Iterator[ImageFile | Problem]:
    """Everything in one class folder but hidden files."""
    try:
        entries = _visible(root / place) if (root / place).is_dir() else []
    except OSError as error:
        yield Problem(place, f"can't be listed: {error.strerror}")
        return
    for entry in entries:
        try:
            length = entry.stat().st_size
        except OSError:
            length = 0  # the reason will be found when it is opened
        yield ImageFile(f"{place}/{entry.name}", label, Path(entry), length)
    if not entries:
        yield Problem(place, "has no images: add some, or remove the class")


def _visible(folder: Path) -> list[os.DirEntry]:
    with os.scandir(folder) as entries:
        return sorted((entry for entry in entries if not entry.name.startswith(".")), key=lambda entry: entry.name)


def _stacked(pixels: list[np.ndarray]) -> Tensor:
    return torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2).contiguous()


def _of_size(file: ImageFile, size: int) -> np.ndarray:
    image, _ = read(file.file)
    if image.size != (size, size):
        raise ImageError(str(file.file), f"has {image.width}x{image.height} pixels; here {size}x{size} are needed")
    return np.array(image)
