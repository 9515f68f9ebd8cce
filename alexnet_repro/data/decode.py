"""Decodes an image file, of whatever kind, into a square of RGB pixels."""

from __future__ import annotations

import struct
from functools import cache
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from PIL import ExifTags, Image, UnidentifiedImageError

MAX_PIXELS = 89_478_485  # a larger image is taken for a decompression bomb; Pillow's own limit
#: The formats that are opened, in Pillow's names and order (MPO belongs to JPEG): only those that Pillow itself reads.
FORMATS = (
    "BMP", "DIB", "GIF", "JPEG", "PPM", "PNG", "AVIF", "BLP", "CUR", "DDS", "FTEX", "GBR", "ICNS", "ICO", "IMT",
    "JPEG2000", "MCIDAS", "MSP", "PCD", "PCX", "PIXAR", "PSD", "QOI", "SGI", "SPIDER", "SUN", "TGA", "TIFF", "WEBP",
    "XBM", "XPM", "XVTHUMB",
)  # fmt: skip
ANIMATIONS = ("AVIF", "GIF", "PNG", "WEBP")  # further images in a file are frames; elsewhere previews, pages or layers
SIXTEEN_BITS = ("PNG", "PPM")  # their grey values in Pillow's mode "I" range from 0 to 65535
REFUSED = {  # first bytes of a file -> its format
    b"%!PS": "EPS or PostScript",
    b"\xc5\xd0\xd3\xc6": "EPS",
    b"%PDF": "PDF",
    b"\xd7\xcd\xc6\x9a": "WMF",
    b"\x89HDF": "HDF5",
    b"GRIB": "GRIB",
    b"BUFR": "BUFR",
    b"ZCZC": "BUFR",
    b"SIMPLE": "FITS",
    b"\x00\x00\x01\xb3": "MPEG",
    b"\xb1\x68\xde\x3a": "DCX",
}
TURNS: dict[int | None, Image.Transpose] = {  # EXIF orientation -> the operation that turns the image upright
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class ImageError(ValueError):
    """A file is not a usable image.

    Attributes:
        name: name of the file.
        reason: what is wrong with the file, without its name.
    """

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(f"{name} {reason}")
        self.name, self.reason = name, reason

    def __reduce__(self) -> tuple[Any, ...]:  # pickled when a worker process sends it
        return type(self), (self.name, self.reason)


def decode(file: Path | BinaryIO, size: int, name: str | None = None) -> tuple[np.ndarray, str]:
    """The central square of the image in a file, and the repairs that ``read`` made, in words.

    Args:
        file, name: as for ``read``.
        size: height and width, pixels.

    Shape: (size, size, 3) uint8, RGB.

    Raises:
        ImageError: the file is not a usable image.
    """
    image, repairs = read(file, name)
    return central_square(image, size), repairs


def read(file: Path | BinaryIO, name: str | None = None) -> tuple[Image.Image, str]:
    """Reads the image in a file, upright and in 8-bit RGB.

    Args:
        file: in one of ``FORMATS``; if it holds several images, the first one is read.
        name: name of the file in errors; None: its path.

    Returns: the image, and what had to be done to it: "" for an ordinary one, else "greyscale", "CMYK", "palette",
        "16 bits" (grey only; of 16-bit colours Pillow drops the lower eight bits), "transparent" (now on white),
        "turned" (by its EXIF orientation, if that can be read), or several of these.

    Raises:
        ImageError: the file is not an image, or the image is damaged, animated, larger than ``MAX_PIXELS`` or of more
            than 16 bits per channel, or reading it fails for any other reason than lack of memory.
    """
    name = str(file) if name is None else name
    _read_long_texts()
    try:
        if isinstance(file, Path) and not file.is_file():  # a folder, a link to itself, a pipe that would never end
            raise ImageError(name, "is not a readable image: no regular file. Replace or remove it.")
        with Image.open(file, formats=FORMATS) as image:
            if image.width * image.height > MAX_PIXELS:
                raise ImageError(name, f"has {image.width}x{image.height} pixels, more than {MAX_PIXELS:,}")
            if image.format in ANIMATIONS and (frames := getattr(image, "n_frames", 1)) > 1:
                raise ImageError(name, f"is animated ({frames} frames); one image is needed")
            if image.mode == "F" or (image.mode == "I" and image.format not in SIXTEEN_BITS):
                raise ImageError(
                    name, "has grey values of 32 bits, of which none is known as white. Save it with 8 or 16"
                )
            if image.format != "TIFF":  # which is turned when it is loaded
                image.load()
            before = _orientation(image)
            image.load()
            turn = TURNS.get(_orientation(image))
            rgb, repairs = _as_rgb(image if turn is None else image.transpose(turn))
    except (ImageError, MemoryError):
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ImageError(name, f"has more than {MAX_PIXELS:,} pixels") from error
    except UnidentifiedImageError as error:
        raise ImageError(name, f"is not a readable image: {_unknown(file)}. Replace or remove it.") from error
    except Exception as error:  # on damaged files, Pillow's readers raise nearly anything
        raise ImageError(name, f"is not a readable image: {_reason(error)}. Replace or remove it.") from error
    return rgb, ", ".join(repairs + ["turned"] * (before in TURNS))


def _orientation(image: Image.Image) -> int | None:
    """The EXIF orientation; None if there is none, or if it can't be read: the pixels are sound without it."""
    try:
        return image.getexif().get(ExifTags.Base.Orientation)
    except MemoryError:
        raise
    except Exception:  # Pillow raises nearly anything
        return None


def central_square(image: Image.Image, size: int) -> np.ndarray:
    """Cuts the largest central square out of an image and resamples it to ``size`` x ``size`` pixels.

    Source:  Sec. 2 (shorter side to 256, then the central 256x256); cuda-convnet2, make-data (area filter when
        shrinking, cubic when enlarging).
    Differs: from both, which first scale and then cut: the square is cut at the exact centre, without rounding.

    Shape: (size, size, 3) uint8.
    """
    if size < 1:
        raise ValueError(f"size must be at least 1 pixel, not {size}")
    if image.size != (size, size):
        side = min(image.size)
        left, top = ((length - side) / 2 for length in image.size)
        method = Image.Resampling.BOX if side >= size else Image.Resampling.BICUBIC
        image = image.resize((size, size), method, box=(left, top, left + side, top + side))
    return np.array(image)


@cache
def _read_long_texts() -> None:
    """Lifts Pillow's limit on one text in a PNG (1 MiB) to that on all texts; beyond it, a PNG is refused whole."""
    from PIL import PngImagePlugin  # not needed to import this package

    PngImagePlugin.MAX_TEXT_CHUNK = max(PngImagePlugin.MAX_TEXT_CHUNK, PngImagePlugin.MAX_TEXT_MEMORY)


def _unknown(file: Path | BinaryIO) -> str:
    """Says, for an error, what a file in none of ``FORMATS`` is."""
    try:
        if isinstance(file, Path):
            with file.open("rb") as opened:
                return _unknown(opened)
        file.seek(0)
        start = file.read(max(map(len, REFUSED)))
    except OSError:  # it was there a moment ago
        start = b""
    found = next((what for beginning, what in REFUSED.items() if start.startswith(beginning)), None)
    return "of no known format" if found is None else f"{found}, a format that is not opened"


def _reason(error: Exception) -> str:
    """An error's message without the path; with its type unless it is one that files commonly raise."""
    said = getattr(error, "strerror", None) or str(error)
    if said and isinstance(error, OSError | SyntaxError | struct.error):
        return said
    return f"{type(error).__name__} {said}".rstrip()


def _as_rgb(image: Image.Image) -> tuple[Image.Image, list[str]]:
    repairs = []
    if image.mode.startswith("I"):  # I;16 and the like
        values, clear = np.asarray(image).clip(0, 65535), image.info.get("transparency")
        image = Image.fromarray((values / 257).round().astype(np.uint8))
        if clear is not None:  # the grey value that stands for a transparent pixel
            image.putalpha(Image.fromarray(np.where(values == clear, 0, 255).astype(np.uint8)))
        repairs.append("16 bits")
    if image.mode in ("L", "LA", "1"):
        repairs.append("greyscale")
    elif image.mode == "P":
        repairs.append("palette")
    elif image.mode == "CMYK":
        repairs.append("CMYK")
    if image.has_transparency_data:
        repairs.append("transparent")
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image if image.mode == "RGB" else image.convert("RGB"), repairs
