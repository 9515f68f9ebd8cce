"""A store in the making: parts, each decoded and written by one process."""

from __future__ import annotations

import io
import json
import os
import shutil
import tarfile
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import torch
from PIL import Image

from alexnet_repro.data.decode import PictureError, central_square, read
from alexnet_repro.data.folders import Picture
from alexnet_repro.files import write_atomically
from alexnet_repro.moments import PixelSums

Form = Literal["raw", "jpeg"]
FORMS = get_args(Form)

PART = {"raw": 256, "jpeg": 1024}  # pictures
JPEG_QUALITY = 95  # as in cuda-convnet2's make-data


class RawPart:
    """Pixels, (n, 3, size, size), one picture after the other."""

    suffix = ".pixels"

    def __init__(self) -> None:
        self.buffer = io.BytesIO()

    def add(self, key: str, pixels: np.ndarray, label: int) -> None:
        self.buffer.write(pixels.transpose(2, 0, 1).tobytes())

    def content(self) -> bytes:
        return self.buffer.getvalue()


class JpegPart:
    """A tar file in WebDataset's format: for every picture ``<key>.jpg`` and its label, ``<key>.cls``."""

    suffix = ".tar"

    def __init__(self) -> None:
        self.buffer = io.BytesIO()
        self.tar = tarfile.TarFile(fileobj=self.buffer, mode="w", format=tarfile.USTAR_FORMAT)

    def add(self, key: str, pixels: np.ndarray, label: int) -> tuple[int, int]:
        """First byte and bytes of the picture."""
        encoded = io.BytesIO()
        Image.fromarray(pixels).save(encoded, "JPEG", quality=JPEG_QUALITY)
        start = self.buffer.tell() + tarfile.BLOCKSIZE  # after its header
        for suffix, content in (("jpg", encoded.getvalue()), ("cls", str(label).encode())):
            member = tarfile.TarInfo(f"{key}.{suffix}")
            member.size = len(content)
            self.tar.addfile(member, io.BytesIO(content))
        return start, len(encoded.getvalue())

    def content(self) -> bytes:
        self.tar.close()
        return self.buffer.getvalue()


PARTS = {"raw": RawPart, "jpeg": JpegPart}


def write_part(pictures: Sequence[Picture], stem: Path, size: int, form: Form, tolerant: bool) -> int:
    """Writes three files: the pictures, their sums (.npy), and last ``<stem>.json``, which says that all is there.

    Returns: the number of pictures that were listed.

    Raises:
        PictureError: unless tolerant; names the file.
    """
    report: dict[str, Any] = {"listed": len(pictures), "labels": [], "places": [], "shorter_sides": []}
    report |= {"repaired": [], "skipped": []}
    sums, part = PixelSums.of_none(size, size), PARTS[form]()
    for number, picture in enumerate(pictures):
        try:
            with warnings.catch_warnings(action="ignore"):  # Pillow's, of what is an error here or no matter
                image, repair = read(picture.open(), picture.name)
        except PictureError as error:
            if not tolerant:
                where = picture.file if picture.offset is None else f"{picture.name} in {picture.file}"
                raise PictureError(str(where), error.reason) from error
            report["skipped"].append([picture.name, error.reason])
            continue
        if repair:
            report["repaired"].append([picture.name, repair])
        pixels = central_square(image, size)
        sums.add(torch.from_numpy(pixels).permute(2, 0, 1)[None])
        report["places"].append(part.add(f"{stem.name}-{number:04d}", pixels, picture.label))
        report["labels"].append(picture.label)
        report["shorter_sides"].append(min(image.size))
    write_atomically(stem.with_suffix(part.suffix), part.content())
    write_atomically(stem.with_suffix(".npy"), npy(torch.cat([sums.products.flatten(), sums.image.flatten()]).numpy()))
    write_atomically(stem.with_suffix(".json"), json.dumps(report))
    return len(pictures)


def join_pixels(parts: Sequence[Path], shape: tuple[int, ...], path: Path) -> None:
    """The parts one after the other as one .npy file."""
    with path.open("wb") as file:
        header = {"descr": "|u1", "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(file, header)
        for part in parts:
            with part.open("rb") as content:
                shutil.copyfileobj(content, file, 2**20)
        file.flush()
        os.fsync(file.fileno())


def npy(array: np.ndarray) -> bytes:
    """An array as the content of a .npy file."""
    content = io.BytesIO()
    np.save(content, array)
    return content.getvalue()
