"""Data: sources, stores, crops and colour noise, batches."""

from __future__ import annotations

import os
from pathlib import Path
from shlex import quote

import torch
from torch import Tensor

from alexnet_repro.data.batches import Batches
from alexnet_repro.data.dataset import Dataset, DatasetNotFoundError
from alexnet_repro.data.decode import ImageError
from alexnet_repro.data.decode import decode as decode_file  # under its own name it would hide its module
from alexnet_repro.data.folders import Source, folder_source
from alexnet_repro.data.known import KNOWN, NAMES
from alexnet_repro.data.prepare import prepare
from alexnet_repro.data.store import Store, StoreError, is_store
from alexnet_repro.support.values import check_whole

__all__ = [
    "Batches",
    "Dataset",
    "DatasetNotFoundError",
    "ImageError",
    "Store",
    "StoreError",
    "load_dataset",
    "load_image",
    "load_source",
    "peek",
    "prepare",
]


def evaluation_split(name: str) -> str:
    """The split on which a data set's errors are measured: "test" for photos and cifar10, else "val"."""
    return "test" if name in KNOWN and KNOWN[name].source is None else "val"


def load_dataset(
    name: str,
    root: str | os.PathLike[str] | None = None,
    split: str = "train",
    *,
    size: int | None = None,
    download: bool = False,
) -> Dataset:
    """Loads one split of a data set, given by name or path, together with its origin and sha256.

    The images are held in memory, unless the data set was prepared beforehand (``alexnet-repro data prepare``); then
    they stay on disk. ``imagenet`` has to be prepared.

    Args:
        name: "photos" (embedded, needs no files), "cifar10", "tiny-imagenet", "tiny-imagenet-100" (its first hundred
            classes), "imagenette", "imagenette-320", "imagenette-160", "imagenet", or the path of a prepared data set
            or of a folder of class folders of images, with or without split folders.
        root: the folder that holds the files; None: the environment variable ALEXNET_REPRO_DATA, else ``data``.
        split: "train", "val" or "test"; photos and cifar10 have no "val", the other named data sets no "test".
        size: height and width of the images, pixels; None: 32 for photos and cifar10, 64 for Tiny ImageNet, the store's
            own size for the path of a prepared data set, else 256. cifar10 has only 32.
        download: whether to download missing files into ``root``; not possible for imagenet.

    Raises:
        DatasetNotFoundError: the files or the split are missing; no other data set is ever substituted.
        ImageError: a file in a folder is not a usable image.
        StoreError: the prepared data set is damaged, is a different one, or has another size.
        MemoryError: the images take more memory than there is; says how to prepare them.
        ValueError: an unknown name, split or size.

    Example:
        >>> from alexnet_repro import load_dataset
        >>> photos = load_dataset("photos", split="test")
        >>> photos.images.shape, photos.images.dtype
        (torch.Size([500, 3, 32, 32]), torch.uint8)
        >>> photos.classes[:3]
        ('astronaut', 'chelsea', 'coffee')
    """
    if (known := KNOWN.get(name)) is not None and known.load is not None:
        if split not in ("train", "test"):
            raise ValueError(f"split must be train or test, not {split!r}")
        return known.load(split, size_of(name, size), data_root(root), download)
    store = store_folder(name, root, size)
    if is_store(store):
        return _stored(name, store, split, size)
    if name == "imagenet":
        raise DatasetNotFoundError(
            f"imagenet must be prepared first, and {store} is not there: {_preparing(name, root, size)}"
        )
    try:
        return load_source(name, root, download=download).in_memory(split, size_of(name, size))
    except MemoryError as error:
        raise MemoryError(
            f"{str(error) or f'the images of {name} take more memory than there is'}: prepare them with: "
            f"{_preparing(name, root, size)}" + ", and load the folder that it writes" * (name not in KNOWN)
        ) from error


def load_image(file: str | os.PathLike[str], size: int) -> Tensor:
    """One image as a data set of images would have it: upright, in RGB, its central square.

    Args:
        file: path of the image, of any common format.
        size: height and width, pixels.

    Shape: (3, size, size) uint8.

    Raises:
        ImageError: the file is not a usable image.

    Example:
        >>> from pathlib import Path
        >>> import skimage
        >>> from alexnet_repro import load_image
        >>> image = load_image(Path(skimage.__file__).parent / "data" / "astronaut.png", 64)
        >>> image.shape, image.dtype
        (torch.Size([3, 64, 64]), torch.uint8)
    """
    pixels, _ = decode_file(Path(file).expanduser(), size)
    return torch.from_numpy(pixels).permute(2, 0, 1)


def peek(name: str, root: str | os.PathLike[str] | None = None, size: int | None = None) -> tuple[tuple[str, ...], int]:
    """The classes of a data set and the side of its images, pixels.

    No image is decoded, but an archive is unpacked if it is present.

    Args:
        name, root, size: as for ``load_dataset``.

    Raises: as ``load_dataset``, except that the files of photos and cifar10 are not looked for.
    """
    if name in KNOWN and KNOWN[name].classes:
        return KNOWN[name].classes, size_of(name, size)
    if name != "imagenet" and not is_store(store_folder(name, root, size)):
        return load_source(name, root).classes, size_of(name, size)
    training = load_dataset(name, root, "train", size=size)
    return training.classes, training.images.shape[-1]


def load_source(name: str, root: str | os.PathLike[str] | None = None, *, download: bool = False) -> Source:
    """The image files of a data set, for ``prepare``.

    Args:
        name, root, download: as for ``load_dataset``, but not photos, cifar10 or the path of a prepared data set.

    Raises:
        DatasetNotFoundError: the files are missing; says how to get them.
        ValueError: the name is unknown or that of photos or cifar10, or the folder has no class folders.
    """
    known = KNOWN.get(name)
    if known is None:
        return folder_source(_folder(name, root))
    if known.source is None:
        raise ValueError(f"{name} need not be prepared: load_dataset reads it as it is")
    return known.source(data_root(root), download)


def data_root(root: str | os.PathLike[str] | None) -> Path:
    """The folder of the data sets: the given one, else the environment variable ALEXNET_REPRO_DATA, else ``data``."""
    return Path(root or os.environ.get("ALEXNET_REPRO_DATA") or "data").expanduser()


def size_of(name: str, size: int | None = None) -> int:
    """Height and width of a data set's images, pixels: the given size, else the data set's default."""
    if size is None:
        return KNOWN[name].size if name in KNOWN else 256
    check_whole("size", size)
    return size


def store_name(name: str, size: int) -> str:
    """The name of the folder that a data set is prepared into."""
    return f"{name}-{size}"


def store_folder(name: str, root: str | os.PathLike[str] | None, size: int | None) -> Path:
    """The folder of a data set's store, if it was prepared."""
    return data_root(root) / store_name(name, size_of(name, size)) if name in KNOWN else _folder(name, root)


def _preparing(name: str, root: str | os.PathLike[str] | None, size: int | None) -> str:
    """The command that prepares a data set."""
    place = f" --root {quote(str(data_root(root)))}" if name in KNOWN else ""
    return f"alexnet-repro data prepare {quote(name)}{place}" + (f" --size {size}" if size is not None else "")


def _folder(name: str, root: str | os.PathLike[str] | None) -> Path:
    folder = Path(name).expanduser().resolve()
    if not name or not folder.is_dir():
        unused = "" if root is None else f": root, {os.fspath(root)!r}, is not looked in for the path of a folder"
        raise ValueError(f"data set must be one of {', '.join(NAMES)} or the path of a folder, not {name!r}{unused}")
    return folder


def _stored(name: str, folder: Path, split: str, size: int | None) -> Dataset:
    store = Store.open(folder)
    if name in KNOWN and (found := store.manifest["source"]["name"]) != name:
        raise StoreError(
            f"{folder} has images of {found}, not of {name}. Give it another name, or load it by its path."
        )
    if size not in (None, store.manifest["size"]):
        raise StoreError(f"{folder} has images of {store.manifest['size']} pixels, not {size}")
    return store.dataset(split)
