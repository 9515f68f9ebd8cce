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
from alexnet_repro.support.files import printable

SPLITS = ("train", "val", "test")
NOT_UTF8 = "has a name that is not UTF-8. Rename it."


class ImageFile(NamedTuple):
    """Where one image lies; nothing has looked into it."""

    name: str  #: within the source, e.g. "train/n01440764/n01440764_10026.JPEG"
    label: int  #: number of its class
    file: Path  #: that it is, or that it lies in
    length: int  #: bytes
    offset: int | None = None  #: bytes, where it begins in an archive that is not compressed; None: it is the file

    def open(self) -> Path | BinaryIO:
        """What ``decode`` takes; ``ImageError`` where the archive can't be read."""
        if self.offset is None:
            return self.file
        try:
            with self.file.open("rb") as archive:
                archive.seek(self.offset)
                return io.BytesIO(archive.read(self.length))
        except OSError as error:
            raise ImageError(self.name, f"can't be read from {self.file.name}: {error.strerror}") from error


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

    def __post_init__(self) -> None:
        for what, name in [("folder", self.name), *(("class", name) for name in self.classes)]:
            if (shown := printable(name)) != name:
                raise ValueError(f"the {what} {shown} {NOT_UTF8}")

    def listed(self, split: str) -> Iterator[ImageFile | Problem]:
        """The split's images and problems, the last of which may be that their number is not the expected one.

        A file whose name is not UTF-8 is a problem: no manifest could name it.
        """
        count = 0
        for entry in self.listings[split]():
            shown = printable(entry.name)
            if isinstance(entry, Problem):
                yield entry._replace(name=shown)
            elif shown != entry.name:
                yield Problem(shown, NOT_UTF8)
            else:
                count += 1
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
        if not files:
            raise ValueError(f"{self.name} has no images for {split}")
        repaired: Counter[str] = Counter()

        def pixels(decoded: Iterator[tuple[np.ndarray, str]]) -> Iterator[np.ndarray]:
            for image, repair in decoded:
                repaired.update([repair] if repair else [])
                yield image

        with ThreadPoolExecutor() as pool:
            decoded = pool.map(lambda file: decode(file.open(), size, file.name), files)
            images = _stacked(pixels(decoded), len(files), size)
        origin = f"{self.origin}, central squares at {size} pixels" + "".join(
            f"; {count} {repair}" for repair, count in sorted(repaired.items())
        )
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
        for entry in visible(root / place):
            name = f"{place}/{entry.name}".lstrip("/")
            if not Path(entry).is_dir():
                looks_like_an_image = Path(entry.name).suffix.lower() in Image.registered_extensions()
                fatal = looks_like_an_image or not Path(entry).exists()  # the last: a link that leads nowhere
                yield Problem(name, "lies outside the class folders", fatal)
            elif entry.name not in labels:
                yield Problem(name, f"is a class that train lacks; it has {len(labels)}. Remove it, or add it there.")
        elsewhere = "" if place in ("", "train") else " from train too"
        for name, label in labels.items():
            yield from _image_files(root, f"{place}/{name}".lstrip("/"), label, f"remove the class{elsewhere}")

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
        images = _stacked(pool.map(lambda file: _of_size(file, size), files), len(files), size)
    return images, torch.tensor([file.label for file in files], dtype=torch.int64)


def _image_files(root: Path, place: str, label: int, remedy: str) -> Iterator[ImageFile | Problem]:
    """Everything in one class folder but hidden files; the remedy is for one without any."""
    try:
        entries = visible(root / place) if (root / place).is_dir() else []
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
        yield Problem(place, f"has no images: add some, or {remedy}")


def visible(folder: Path) -> list[os.DirEntry]:
    """What is in a folder, by name, but for hidden files."""
    with os.scandir(folder) as entries:
        return sorted((entry for entry in entries if not entry.name.startswith(".")), key=lambda entry: entry.name)


def _stacked(pixels: Iterator[np.ndarray], count: int, size: int) -> Tensor:
    """Images, (size, size, 3) each, as (count, 3, size, size): none is held twice."""
    images = torch.empty(count, 3, size, size, dtype=torch.uint8)
    for row, image in zip(images.numpy(), pixels, strict=True):
        row[:] = image.transpose(2, 0, 1)
    return images


def _of_size(file: ImageFile, size: int) -> np.ndarray:
    image, _ = read(file.file)
    if image.size != (size, size):
        raise ImageError(str(file.file), f"has {image.width}x{image.height} pixels; here {size}x{size} are needed")
    return np.array(image)
