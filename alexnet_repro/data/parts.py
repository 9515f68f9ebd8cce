"""The parts of a store that is being prepared, each decoded and written by one thread."""

from __future__ import annotations

import io
import json
import os
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO, Literal

import numpy as np
import torch
from PIL import Image

from alexnet_repro.data.decode import ImageError, central_square, read
from alexnet_repro.data.folders import ImageFile
from alexnet_repro.data.moments import Moments, PixelSums
from alexnet_repro.support.files import write_atomically

Form = Literal["raw", "jpeg"]

IMAGES_A_PART = {"raw": 128, "jpeg": 1024}
JPEG_QUALITY = 95  # as in cuda-convnet2's make-data


class RawPart:
    """Pixels, (n, 3, size, size), written to their place in the array of all images from ``make_array``."""

    def __init__(self, stem: Path, first: int) -> None:
        self.path = stem.with_name(f"{stem.name.rpartition('-')[0]}-images.npy")  # one file for all parts of the split
        self.first = first
        self.buffer = io.BytesIO()

    def add(self, pixels: np.ndarray, label: int) -> None:
        self.buffer.write(pixels.transpose(2, 0, 1).tobytes())

    def save(self) -> None:
        images = np.load(self.path, mmap_mode="r")
        with self.path.open("r+b") as file:
            file.seek(images.offset + self.first * images[0].nbytes)
            file.write(self.buffer.getbuffer())
            file.flush()
            os.fsync(file.fileno())


class JpegPart:
    """A tar file in WebDataset's format, with ``<key>.jpg`` and its label ``<key>.cls`` for every image."""

    def __init__(self, stem: Path, first: int) -> None:
        self.path, self.key = stem.with_suffix(".tar"), first
        self.buffer = io.BytesIO()
        self.tar = tarfile.TarFile(fileobj=self.buffer, mode="w", format=tarfile.USTAR_FORMAT)

    def add(self, pixels: np.ndarray, label: int) -> tuple[int, int]:
        """Adds an image; returns its first byte in the tar file and its length in bytes."""
        encoded = io.BytesIO()
        Image.fromarray(pixels).save(encoded, "JPEG", quality=JPEG_QUALITY)
        start = self.buffer.tell() + tarfile.BLOCKSIZE  # after its header
        for suffix, content in (("jpg", encoded.getvalue()), ("cls", str(label).encode())):
            member = tarfile.TarInfo(f"{self.key:08d}.{suffix}")
            member.size = len(content)
            self.tar.addfile(member, io.BytesIO(content))
        self.key += 1
        return start, len(encoded.getvalue())

    def save(self) -> None:
        self.tar.close()
        write_atomically(self.path, self.buffer.getvalue())


PARTS: dict[Form, type[RawPart | JpegPart]] = {"raw": RawPart, "jpeg": JpegPart}


def write_part(files: Sequence[ImageFile], stem: Path, first: int, size: int, form: Form, tolerant: bool) -> int:
    """Writes the images, their sums (.npy) and, last of all, ``<stem>.json``, which marks the part as complete.

    Args:
        files: consecutive images.
        stem: path of the part's files, without a suffix.
        first: number of the first image within the split.
        size, form, tolerant: as for ``prepare``.

    Returns: the number of images in the list, skipped ones included.

    Raises:
        ImageError: a file is not a usable image, unless ``tolerant``; names the file.
    """
    report: dict[str, Any] = {"listed": len(files), "labels": [], "places": [], "shorter_sides": []}
    report |= {"repaired": [], "skipped": []}
    sums, part = PixelSums.of_none(size, size), PARTS[form](stem, first)
    for file in files:
        try:
            image, repair = read(file.open(), file.name)
        except ImageError as error:
            if not tolerant:
                where = file.file if file.offset is None else f"{file.name} in {file.file}"
                raise ImageError(str(where), error.reason) from error
            report["skipped"].append([file.name, error.reason])
            continue
        if repair:
            report["repaired"].append([file.name, repair])
        pixels = central_square(image, size)
        sums.add(torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1)))[None])
        report["places"].append(part.add(pixels, file.label))
        report["labels"].append(file.label)
        report["shorter_sides"].append(min(image.size))
    part.save()
    write_atomically(stem.with_suffix(".npy"), npy(torch.cat([sums.products.flatten(), sums.image.flatten()]).numpy()))
    write_atomically(stem.with_suffix(".json"), json.dumps(report))
    return len(files)


def moments_of_parts(stems: Sequence[Path], count: int, size: int) -> Moments:
    """The moments of ``count`` images in total, from the sums that ``write_part`` wrote."""
    flat = torch.from_numpy(sum(np.load(stem.with_suffix(".npy")) for stem in stems))
    return PixelSums(count, flat[9:].view(3, size, size), flat[:9].view(3, 3)).moments()


def make_array(path: Path, images: int, size: int) -> None:
    """Creates the file of an array of images, all zeros, which takes up no disk space yet."""
    temporary = path.with_suffix(".new")
    with temporary.open("wb") as file:
        _write_header(file, (images, 3, size, size))
        file.truncate(file.tell() + images * 3 * size * size)
    temporary.replace(path)


def close_gaps(path: Path, places: Sequence[tuple[int, int]], target: Path) -> None:
    """Moves the array to ``target``, keeping only the images at ``places``: (first, number) pairs."""
    pixels = np.load(path, mmap_mode="r")
    temporary = path.with_suffix(".new")
    with temporary.open("wb") as file:
        _write_header(file, (sum(number for _, number in places), *pixels.shape[1:]))
        for first, number in places:
            file.write(pixels[first : first + number].data)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(target)
    path.unlink()


def _write_header(file: BinaryIO, shape: tuple[int, ...]) -> None:
    np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": shape})


def npy(array: np.ndarray) -> bytes:
    """An array as the content of a .npy file; ``np.save`` to a file on a full disk raises an error without a number."""
    content = io.BytesIO()
    np.save(content, array)
    return content.getvalue()
