"""One image file as a square of RGB pixels, whatever it holds."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

MAX_PIXELS = 89_478_485  # more are taken for a decompression bomb; Pillow's own limit


class ImageError(ValueError):
    """A file is no image that can be used.

    Attributes:
        name: of the file.
        reason: what is wrong with it, without the name.
    """

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(f"{name} {reason}")
        self.name, self.reason = name, reason

    def __reduce__(self) -> tuple:  # from a worker to the process that waits for it
        return type(self), (self.name, self.reason)


def decode(file: Path | BinaryIO, size: int, name: str | None = None) -> tuple[np.ndarray, str]:
    """The image in a file as a square of pixels, (size, size, 3) uint8, and what ``read`` had to do to it."""
    image, repairs = read(file, name)
    return central_square(image, size), repairs


def read(file: Path | BinaryIO, name: str | None = None) -> tuple[Image.Image, str]:
    """The image in a file, upright and in RGB of 8 bits.

    Args:
        file: any format that Pillow reads.
        name: what errors call it; None: its path.

    Returns: the image; and what had to be done to it: "" for an ordinary one, else "greyscale", "CMYK", "palette",
        "16 bits", "transparent" (now on white), "turned" (by its EXIF orientation), or several of them.

    Raises:
        ImageError: no image, a damaged or an animated one, or one of more than ``MAX_PIXELS``.
    """
    name = str(file) if name is None else name
    if isinstance(file, Path) and not file.is_file():  # a folder, a link to itself, a pipe that would never end
        raise ImageError(name, "is not a readable image: no regular file. Replace or remove it.")
    try:
        with Image.open(file) as image:
            if image.width * image.height > MAX_PIXELS:
                raise ImageError(name, f"has {image.width}x{image.height} pixels, more than {MAX_PIXELS:,}")
            if getattr(image, "n_frames", 1) > 1:
                raise ImageError(name, f"is animated ({image.n_frames} frames); one image is needed")
            image.load()
            turned = image.getexif().get(ExifTags.Base.Orientation, 1) != 1
            rgb, repairs = _as_rgb(ImageOps.exif_transpose(image) if turned else image)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ImageError(name, f"has more than {MAX_PIXELS:,} pixels") from error
    except (UnidentifiedImageError, OSError, SyntaxError, struct.error) as error:  # damaged PNGs raise the last two
        what = "of no known format" if isinstance(error, UnidentifiedImageError) else _without_path(error)
        raise ImageError(name, f"is not a readable image: {what}. Replace or remove it.") from error
    return rgb, ", ".join(repairs + ["turned"] * turned)


def central_square(image: Image.Image, size: int) -> np.ndarray:
    """The central square of an image, its side the image's shorter one, at ``size`` x ``size`` pixels.

    Source:  Sec. 2 (shorter side to 256, then the central 256x256); cuda-convnet2, make-data (area filter when
        shrinking, cubic when enlarging).
    Differs: from both, which scale first and cut then: the square is cut at its exact centre, without a rounding.

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


def _without_path(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)


def _as_rgb(image: Image.Image) -> tuple[Image.Image, list[str]]:
    repairs = []
    if image.mode.startswith("I"):  # I;16 and the like: sixteen bits of grey
        image = Image.fromarray((np.asarray(image).clip(0, 65535) / 257).round().astype(np.uint8))
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
