"""One picture file as a square of RGB pixels, whatever it holds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

MAX_PIXELS = 89_478_485  # more are taken for a decompression bomb; Pillow's own limit


class PictureError(ValueError):
    """A file is no picture that can be used; says which and why."""


def decode(path: Path, size: int) -> tuple[np.ndarray, str]:
    """The picture in a file as a square of pixels, (size, size, 3) uint8, and what ``read`` had to do to it."""
    image, repairs = read(path)
    return central_square(image, size), repairs


def read(path: Path) -> tuple[Image.Image, str]:
    """The picture in a file, upright and in RGB of 8 bits.

    Args:
        path: any format that Pillow reads.

    Returns: the picture; and what had to be done to it: "" for an ordinary one, else "greyscale", "CMYK", "palette",
        "16 bits", "transparent" (now on white), "turned" (by its EXIF orientation), or several of them.

    Raises:
        PictureError: no picture, a damaged or an animated one, or one of more than ``MAX_PIXELS``.
    """
    try:
        with Image.open(path) as image:
            if image.width * image.height > MAX_PIXELS:
                raise PictureError(f"{path} has {image.width}x{image.height} pixels, more than {MAX_PIXELS:,}")
            if getattr(image, "n_frames", 1) > 1:
                raise PictureError(f"{path} is animated ({image.n_frames} frames); one picture is needed")
            image.load()
            turned = image.getexif().get(ExifTags.Base.Orientation, 1) != 1
            rgb, repairs = _as_rgb(ImageOps.exif_transpose(image))
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise PictureError(f"{path} has more than {MAX_PIXELS:,} pixels") from error
    except (UnidentifiedImageError, OSError, SyntaxError) as error:  # damaged PNGs raise the last
        raise PictureError(f"{path} is not a readable picture: {error}. Replace or remove the file.") from error
    return rgb, ", ".join(repairs + ["turned"] * turned)


def central_square(image: Image.Image, size: int) -> np.ndarray:
    """The central square of a picture, its side the picture's shorter one, at ``size`` x ``size`` pixels.

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
    return image.convert("RGB"), repairs
