"""Sources of images, and folders of class folders as sources."""

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
MEANT = {"training": "train", "validation": "val", "valid": "val", "testing": "test"}  # name of a folder -> split
CLUTTER = {"thumbs.db", "desktop.ini", "__macosx", "@eadir", "lost+found"}  # left by systems, in lower case
NOT_UTF8 = "has a name that is not UTF-8. Rename it."


class ImageFile(NamedTuple):
    """Where one image is stored; it has not been opened yet."""

    name: str  #: path within the source, e.g. "train/n01440764/n01440764_10026.JPEG"
    label: int  #: number of its class
    file: Path  #: the image itself, or the archive that contains it
    length: int  #: bytes
    offset: int | None = None  #: first byte within an uncompressed archive; None: ``file`` is the image

    def open(self) -> Path | BinaryIO:
        """The image's path or bytes, for ``decode``; raises ``ImageError`` if the archive cannot be read."""
        if self.offset is None:
            return self.file
        try:
            with self.file.open("rb") as archive:
                archive.seek(self.offset)
                return io.BytesIO(archive.read(self.length))
        except OSError as error:
            raise ImageError(self.name, f"can't be read from {self.file.name}: {error.strerror}") from error


class Problem(NamedTuple):
    """A defect of a source, e.g. a file outside the class folders or a wrong number of images."""

    name: str  #: name of the file or folder
    reason: str  #: what is wrong with it, without the name
    fatal: bool = True  #: whether it is an error, unless ``prepare`` is tolerant

    def error(self) -> ValueError:
        return ValueError(f"{self.name} {self.reason}")


Listing = Callable[[], Iterator[ImageFile | Problem]]


@dataclass(frozen=True)
class Source:
    """Labelled image files, which are listed anew on every request instead of being held in a list.

    Attributes:
        name: e.g. "imagenette", or the name of the folder.
        origin: where the files come from, in words.
        classes: names of the classes.
        listings: split -> function that lists its images and problems, by class and then by name.
        archives: file -> md5 that it must have.
        expected: split -> number of images, if known.
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
        """Lists the split's images and problems; a number of images that is not the expected one is the last problem.

        A file whose name is not UTF-8 is a problem, because a manifest could not name it.
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
        """Loads the split as a data set in memory, every image decoded by ``decode``.

        Its ``origin`` counts the images that were not ordinary RGB images.

        Raises:
            DatasetNotFoundError: there is no such split.
            ValueError: the listing has a fatal problem or no images.
            ImageError: a file is not a usable image.
            MemoryError: the images take more memory than there is.
        """
        if split not in self.listings:
            raise DatasetNotFoundError(f"{self.name} has no split {split!r}, only {', '.join(self.listings)}")
        files = list(strictly(self.listed(split)))
        if not files:
            raise ValueError(f"{self.name} has no images for {split}")
        images, labels, repairs = _loaded(files, size, lambda file: decode(file.open(), size, file.name))
        origin = f"{self.origin}, central squares at {size} pixels" + "".join(
            f"; {count} {repair}" for repair, count in sorted(repairs.items()) if repair
        )
        return Dataset(self.name, split, images, labels, self.classes, origin)


def strictly(listed: Iterator[ImageFile | Problem]) -> Iterator[ImageFile]:
    """The images of a listing; raises ``ValueError`` at the first fatal problem."""
    for entry in listed:
        if isinstance(entry, ImageFile):
            yield entry
        elif entry.fatal:
            raise entry.error()


def folder_source(folder: Path) -> Source:
    """The images in ``folder/<split>/<class>/``, or in ``folder/<class>/``, which is then the split "train".

    The classes are those of the training split, sorted by name. Hidden files and everything beside the split folders
    are ignored, but images for validation must be in class folders, too.

    Raises:
        ValueError: there are no class folders, or a folder that looks like a split lacks the name or the class folders.
    """
    splits = [name for name in SPLITS if (folder / name).is_dir() and class_folders(folder / name)]
    _check_names(folder, splits)
    training = folder / "train" if splits else folder
    classes = class_folders(training) if training.is_dir() else ()
    if not classes:
        raise ValueError(f"{training} has no class folders: images belong in {folder}/[train/]<class>/")
    places = {name: name for name in splits} or {"train": ""}
    listings = {split: class_folder_listing(folder, place, classes) for split, place in places.items()}
    return Source(folder.name, f"class folders {folder.name}", classes, listings)


def _check_names(folder: Path, splits: Sequence[str]) -> None:
    """Raises ``ValueError`` if a folder that looks like a split would be passed over, or be taken for a class."""
    found = class_folders(folder)
    for name in found:
        split = _split_meant(name)
        if split in SPLITS and name != split and class_folders(folder / name):
            raise ValueError(f"{folder / name} looks like a split, but its name is none: rename it {split}")
        if split == "val" and "train" in splits and "val" not in splits and _has_images(folder / name):
            raise ValueError(
                f"{folder / name} has no class folders: images for validation belong in {folder}/val/<class>/. Move "
                "them there, or rename or remove the folder to train without validation."
            )
    meant = {_split_meant(name.rstrip("0123456789")) for name in found}  # "val2017", too
    if found and not splits and len(meant.intersection(SPLITS)) == len(found):
        raise ValueError(
            f"{folder} has only the folders {', '.join(found)}, named like splits, and no class folders in them: "
            f"images belong in {folder}/train/<class>/"
        )


def _split_meant(name: str) -> str:
    return MEANT.get(name.lower(), name.lower())


def _has_images(folder: Path) -> bool:
    """Whether images lie in a folder itself and not in class folders."""
    return not class_folders(folder) and any(_named_like_an_image(entry.name) for entry in visible(folder))


def _named_like_an_image(name: str) -> bool:
    return Path(name).suffix.lower() in Image.registered_extensions()


def class_folders(folder: Path) -> tuple[str, ...]:
    """Names of the visible folders in a folder, sorted."""
    return tuple(entry.name for entry in visible(folder) if Path(entry).is_dir())


def class_folder_listing(root: Path, place: str, classes: Sequence[str]) -> Listing:
    """The listing of ``root/place/<class>/``; label i is ``classes[i]``."""
    labels = {name: label for label, name in enumerate(classes)}

    def listing() -> Iterator[ImageFile | Problem]:
        for entry in visible(root / place):
            name = f"{place}/{entry.name}".lstrip("/")
            if not Path(entry).is_dir():
                fatal = _named_like_an_image(entry.name) or not Path(entry).exists()  # the latter: a broken link
                yield Problem(name, "lies outside the class folders", fatal)
            elif entry.name not in labels:
                yield Problem(name, f"is a class that train lacks; it has {len(labels)}. Remove it, or add it there.")
        elsewhere = "" if place in ("", "train") else " from train too"
        for name, label in labels.items():
            yield from _image_files(root, f"{place}/{name}".lstrip("/"), label, f"remove the class{elsewhere}")

    return listing


def read_class_folders(folder: Path, classes: Sequence[str], size: int) -> tuple[Tensor, Tensor]:
    """Reads every image in ``folder/<class>/``, by class and then by file name, without resampling.

    Args:
        folder: holds one folder per class.
        classes: their names; label i is ``classes[i]``.
        size: height and width that every image must have, pixels.

    Returns: images (N, 3, size, size) uint8 and labels (N,) int64.

    Raises:
        ValueError: the listing has a fatal problem.
        ImageError: a file is not a usable image, or has another size; names the file.
    """
    files = list(strictly(class_folder_listing(folder, "", classes)()))
    images, labels, _ = _loaded(files, size, lambda file: _of_size(file, size))
    return images, labels


def _image_files(root: Path, place: str, label: int, remedy: str) -> Iterator[ImageFile | Problem]:
    """Every visible entry of one class folder; an empty folder is a problem with this remedy."""
    try:
        entries = visible(root / place) if (root / place).is_dir() else []
    except OSError as error:
        yield Problem(place, f"can't be listed: {error.strerror}")
        return
    for entry in entries:
        yield image_file(f"{place}/{entry.name}", label, Path(entry))
    if not entries:
        yield Problem(place, f"has no images: add some, or {remedy}")


def image_file(name: str, label: int, path: Path) -> ImageFile:
    """An image that is a file of its own; if its length can't be found out, 0: opening it will show the reason."""
    try:
        length = path.stat().st_size
    except OSError:
        length = 0
    return ImageFile(name, label, path, length)


def visible(folder: Path) -> list[os.DirEntry[str]]:
    """The entries of a folder, sorted by name, without hidden files and what systems leave, e.g. ``Thumbs.db``."""
    with os.scandir(folder) as entries:
        shown = [entry for entry in entries if not (entry.name.startswith(".") or entry.name.lower() in CLUTTER)]
    return sorted(shown, key=lambda entry: entry.name)


def _loaded(
    files: Sequence[ImageFile], size: int, pixels: Callable[[ImageFile], tuple[np.ndarray, str]]
) -> tuple[Tensor, Tensor, Counter[str]]:
    """The images, (N, 3, size, size) uint8, their labels, and how often ``pixels`` made each repair.

    Every image that ``pixels`` returns, (size, size, 3), goes to its place at once: none is held twice.
    """
    try:
        images = torch.empty(len(files), 3, size, size, dtype=torch.uint8, device="cpu")
    except RuntimeError as error:  # torch's word for a lack of memory
        needed = f"{len(files) * 3 * size * size / 2**30:,.1f} GiB of memory, more than there is"
        raise MemoryError(f"{len(files):,} images of {size} pixels take {needed}") from error

    def load(row: np.ndarray, file: ImageFile) -> str:
        image, repairs = pixels(file)
        row[:] = image.transpose(2, 0, 1)
        return repairs

    with ThreadPoolExecutor() as pool:
        repairs = Counter(pool.map(load, images.numpy(), files))
    return images, torch.tensor([file.label for file in files], dtype=torch.int64, device="cpu"), repairs


def _of_size(file: ImageFile, size: int) -> tuple[np.ndarray, str]:
    image, repairs = read(file.file)
    if image.size != (size, size):
        raise ImageError(str(file.file), f"has {image.width}x{image.height} pixels; here {size}x{size} are needed")
    return np.array(image), repairs
