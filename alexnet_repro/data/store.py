"""A data set on disk, as ``prepare`` writes it."""

from __future__ import annotations

import hashlib
import io
import json
import mmap
import os
import sys
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path
from shlex import quote
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from alexnet_repro.data.dataset import Dataset, DatasetNotFoundError, pixels_sha256
from alexnet_repro.data.moments import Moments
from alexnet_repro.support.values import digest, read_sealed

MANIFEST, SEAL = "manifest.json", "sha256"  # the file, and the field with its checksum
FORMAT = 1
FIELDS = {"format", "splits", SEAL}  # that every manifest has, whichever version wrote it
MAP_NORESERVE = getattr(mmap, "MAP_NORESERVE", 0x4000 if sys.platform == "linux" else 0)  # Python 3.13 and newer
OPEN = 64  # tar files of a split that are open at a time; ImageNet has more than a process may open


class StoreError(ValueError):
    """A store is damaged, or is not the one that was asked for."""


@dataclass(frozen=True)
class Store:
    """A prepared data set on disk: images of one size, decoded once.

    Either ``<split>-images.npy`` holds the images as (N, 3, size, size) uint8, memory-mapped when read; or tar files,
    ``<split>-00000.tar``, ..., hold them as JPEG files in WebDataset's format, and ``<split>-index.npy``, (N, 3) int64,
    locates each: number of the tar file, first byte, length in bytes. Both forms have ``<split>-labels.npy``, (N,)
    int64, and ``<split>-mean.npy``, the mean image, (3, size, size) float64. The manifest has the rest.

    Attributes:
        folder: the folder of the store.
        manifest: source, size, classes; for every split counts, checksums, skipped and repaired images, RGB covariance.
    """

    folder: Path
    manifest: dict[str, Any]

    @classmethod
    def open(cls, folder: str | os.PathLike[str]) -> Store:
        """Opens a store; ``DatasetNotFoundError`` if there is none, ``StoreError`` if its manifest cannot be used."""
        folder = Path(folder)
        path = folder / MANIFEST
        if not is_store(folder):
            what = "its {} is of something else" if path.is_file() else "there is no {}"
            raise DatasetNotFoundError(f"{folder} holds no prepared data set: {what.format(MANIFEST)}")
        try:
            manifest = read_sealed(path, SEAL)
        except ValueError as error:
            raise StoreError(f"{path} is damaged: its checksum is wrong. {_again(folder)}") from error
        if manifest["format"] != FORMAT:
            raise StoreError(f"{path} has format {manifest['format']}, this version reads {FORMAT}. {_again(folder)}")
        return cls(folder.absolute(), manifest)

    @property
    def splits(self) -> tuple[str, ...]:
        return tuple(self.manifest["splits"])

    def dataset(self, split: str = "train") -> Dataset:
        """The split as a data set whose images stay on disk.

        Raises:
            DatasetNotFoundError: there is no such split.
            StoreError: a file is missing or has the wrong size; ``verify`` checks the contents too.
        """
        if split not in self.splits:
            raise DatasetNotFoundError(f"{self.folder} has no split {split!r}, only {', '.join(self.splits)}")
        self.check_sizes(split)
        entry = self.manifest["splits"][split]
        source = self.manifest["source"]
        dataset = StoredDataset(
            name=source["name"],
            split=split,
            images=stored_images(self.folder, split, entry["files"], self.manifest["size"]),
            labels=torch.from_numpy(np.load(self.folder / f"{split}-labels.npy")),
            classes=tuple(self.manifest["classes"]),
            origin=f"{source['origin']}, central squares at {self.manifest['size']} pixels"
            + ", JPEG" * (self.manifest["form"] == "jpeg"),
        )
        object.__setattr__(dataset, "store", self)
        return dataset

    def check_sizes(self, split: str) -> None:
        """Raises ``StoreError`` if a file of the split is missing or has the wrong size."""
        for name, expected in self.manifest["splits"][split]["files"].items():
            path = self.folder / name
            size = path.stat().st_size if path.is_file() else 0
            if size != expected["bytes"]:
                raise StoreError(f"{path} has {size:,} bytes, not {expected['bytes']:,}. {_again(self.folder)}")

    def verify(self) -> Iterator[str]:
        """Reads every file in full and yields a message for each one that is missing or changed."""
        for split in self.splits:
            for name, expected in self.manifest["splits"][split]["files"].items():
                path = self.folder / name
                if not path.is_file():
                    yield f"{name} is missing"
                elif file_sha256(path) != expected["sha256"]:
                    yield f"{name} is not what was written: its sha256 is another"


@dataclass(frozen=True, eq=False)
class StoredDataset(Dataset):
    """A data set whose sha256 and moments were computed when it was prepared.

    A pickle holds only the path of the store, which is reopened: ``StoreError`` if it has been replaced since then.
    What ``dataclasses.replace`` makes of it, such as a part of its images, has no store, and its sums are its own.
    """

    store: Store | None = field(default=None, init=False, repr=False)

    def __reduce__(self) -> tuple[Any, ...]:
        if self.store is None:
            return Dataset, (self.name, self.split, self.images, self.labels, self.classes, self.origin)
        return _reopened, (self.store.folder.resolve(), digest(self.store.manifest), self.split)

    @cached_property
    def sha256(self) -> str:
        """As for ``Dataset``."""
        if self.store is None:
            return super().sha256
        known = self.store.manifest["splits"][self.split].get("pixels")  # missing from an earlier version's stores
        return known or pixels_sha256(self.images, self.labels)

    @cached_property
    def moments(self) -> Moments:
        if self.store is None:
            return super().moments
        mean_image = torch.from_numpy(np.load(self.store.folder / f"{self.split}-mean.npy"))
        covariance = self.store.manifest["splits"][self.split]["covariance"]
        return Moments(len(self), mean_image, torch.tensor(covariance, dtype=torch.float64, device="cpu"))


def is_store(folder: Path) -> bool:
    """Whether ``prepare`` finished a store in this folder, which may be damaged now.

    A file ``manifest.json`` is not enough: other programs write one, too.
    """
    if not (folder / MANIFEST).is_file():
        return False
    if all(any(folder.glob(f"*-{what}.npy")) for what in ("labels", "mean")):
        return True
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except (ValueError, RecursionError):
        return False
    return isinstance(manifest, dict) and manifest.keys() >= FIELDS


def _again(folder: Path) -> str:
    return f"Remove {folder}, and prepare the data set again."


def _reopened(folder: Path, expected: str, split: str) -> Dataset:
    store = Store.open(folder)
    if digest(store.manifest) != expected:
        raise StoreError(f"{folder} was prepared again since the data set was pickled. Load it again.")
    return store.dataset(split)


class _Tar:
    """A file that stays open while anything refers to it, so that no thread closes a file that another one reads."""

    def __init__(self, path: Path) -> None:
        self.descriptor = os.open(path, os.O_RDONLY)

    def __del__(self) -> None:
        if hasattr(self, "descriptor"):  # opening succeeded
            os.close(self.descriptor)


class JpegImages:
    """JPEG images in tar files, indexed like a tensor of their pixels, (N, 3, size, size) uint8.

    At most ``OPEN`` of the tar files are open at a time. A pickle holds only the paths of the files and the size.

    Args:
        tars: the tar files.
        index: the file with (N, 3) int64: number of the tar file, first byte, length in bytes.
        size: height and width, pixels.
    """

    dtype, ndim = torch.uint8, 4

    def __init__(self, tars: list[Path], index: Path, size: int) -> None:
        self.tars, self.index = tars, np.load(index)
        self.shape = torch.Size((len(self.index), 3, size, size))
        self._index = index
        self._tar = lru_cache(OPEN)(lambda number: _Tar(tars[number]))

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), ([tar.resolve() for tar in self.tars], self._index.resolve(), self.shape[-1])

    def __len__(self) -> int:
        return len(self.index)

    def index_select(self, dim: int, rows: Tensor) -> Tensor:
        """The images in these rows; ``dim`` must be 0."""
        if dim:
            raise ValueError(f"only whole images can be selected, along dim 0, not {dim}")
        images = np.empty((len(rows), *self.shape[2:], 3), np.uint8)
        for image, row in zip(images, rows.tolist(), strict=True):
            image[:] = self._decoded(row)
        return torch.from_numpy(images.transpose(0, 3, 1, 2).copy())

    def __getitem__(self, rows: int | slice | Tensor) -> Tensor:
        chosen = torch.arange(len(self), device="cpu")[rows]
        return self.index_select(0, chosen) if chosen.ndim else self.index_select(0, chosen[None])[0]

    def split(self, size: int) -> Iterator[Tensor]:
        """Consecutive images, ``size`` at a time."""
        with ThreadPoolExecutor() as pool:
            for rows in torch.arange(len(self), device="cpu").split(size):
                images = np.stack(list(pool.map(self._decoded, rows.tolist())))
                yield torch.from_numpy(images).permute(0, 3, 1, 2).contiguous()

    def _decoded(self, row: int) -> np.ndarray:
        number, start, length = (int(value) for value in self.index[row])
        tar = self._tar(number)
        try:
            content = io.BytesIO(os.pread(tar.descriptor, length, start))
            return np.asarray(Image.open(content, formats=("JPEG",)))
        except MemoryError:
            raise
        except Exception as error:  # on damaged files, Pillow raises nearly anything
            where, verify = f"{self.tars[number]}, byte {start}", f"data verify {quote(str(self.tars[number].parent))}"
            raise StoreError(f"{where}: image {row} can't be read: alexnet-repro {verify} says more") from error


def stored_images(folder: Path, split: str, files: Iterable[str], size: int) -> Tensor:
    """The images of a split, (N, 3, size, size) uint8, read from these files of its store."""
    if f"{split}-images.npy" in files:
        return torch.from_numpy(_mapped(folder / f"{split}-images.npy"))
    tars = [folder / name for name in files if name.endswith(".tar")]
    return JpegImages(tars, folder / f"{split}-index.npy", size)  # type: ignore[return-value]  # used like a tensor


def _mapped(path: Path) -> np.ndarray:
    """The array in a file, which may be larger than the memory; changes stay in memory, and the file as it is.

    numpy's ``mmap_mode="c"`` reserves memory for changes of the whole array, which Linux refuses if it has less.
    """
    if not hasattr(mmap, "MAP_PRIVATE"):  # on Windows
        return np.load(path, mmap_mode="c")
    with path.open("rb") as file:
        np.lib.format.read_magic(file)
        shape, _, dtype = np.lib.format.read_array_header_1_0(file)
        private = mmap.MAP_PRIVATE | MAP_NORESERVE
        mapped = mmap.mmap(file.fileno(), 0, flags=private, prot=mmap.PROT_READ | mmap.PROT_WRITE)
        return np.frombuffer(mapped, dtype, offset=file.tell()).reshape(shape)


def file_sha256(path: Path) -> str:
    """The sha256 of a file, hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
