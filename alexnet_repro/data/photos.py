"""The embedded data set: patches of photographs that come with scikit-image, so that nothing needs a download."""

from __future__ import annotations

import numpy as np
import torch

from alexnet_repro.data.dataset import Dataset

CLASSES = (
    "astronaut", "chelsea", "coffee", "grass", "gravel", "hubble_deep_field", "immunohistochemistry", "retina",
    "rocket", "stereo_motorcycle",
)  # fmt: skip
PATCHES_PER_CLASS = {"train": 150, "test": 50}
WINDOW = (26.0, 36.0)  # smallest and largest side of a patch's window, pixels of the photograph at half size
TURN = np.pi / 6  # largest rotation either way, radians
BANDS = 4  # vertical bands that each photograph is cut into; the third gives the test split, the others train
TEST_BAND = 2
SEED = 0


def load_photos(split: str, size: int = 32) -> Dataset:
    """Patches of ten photographs; the class of a patch is the photograph that it is taken from.

    A patch is a square window of the photograph (taken at half size) at a random place, of random size and turned by a
    random angle, resampled to ``size`` x ``size``. Its hues are rotated by a random angle, three patches in ten are
    made grey, and every patch is tinted and dimmed, so that colour alone does not give the photograph away. Training
    and test windows lie in separate vertical bands. The arithmetic is plain float64, the same on every machine.

    Source: OURS; scikit-image's images are public domain, CC0 or CC-BY (see scikit-image's data README).
    """
    from skimage import data

    count = PATCHES_PER_CLASS[split]
    rng = np.random.default_rng([SEED, list(PATCHES_PER_CLASS).index(split)])
    patches = []
    for name in CLASSES:
        photograph = getattr(data, name)()
        photograph = photograph[0] if isinstance(photograph, tuple) else photograph
        patches.append(_recolour(_cut(photograph, split, count, size, rng), rng))
    pixels = np.concatenate(patches)
    order = rng.permutation(len(pixels))
    labels = np.repeat(np.arange(len(CLASSES)), count)[order]
    return Dataset(
        name="photos",
        split=split,
        images=torch.from_numpy(pixels[order]).permute(0, 3, 1, 2).contiguous(),
        labels=torch.from_numpy(labels.astype(np.int64)),
        classes=CLASSES,
        origin=f"patches of photographs shipped with scikit-image, {size} pixels, seed {SEED}",
    )


def _cut(photograph: np.ndarray, split: str, count: int, size: int, rng: np.random.Generator) -> np.ndarray:
    """Windows of the photograph, bilinearly resampled: (count, size, size, 3), 0..255."""
    pixels = _half_size(np.atleast_3d(photograph).astype(np.float64))
    pixels = np.broadcast_to(pixels, (*pixels.shape[:2], 3))
    height, width = pixels.shape[:2]
    side = rng.uniform(*WINDOW, count)
    angle = rng.uniform(-TURN, TURN, count)
    reach = np.sqrt(0.5) * side + 1  # from the centre of a window to its farthest corner, plus a margin for resampling
    bands = [b for b in range(BANDS) if (b == TEST_BAND) == (split == "test")]
    band = rng.choice(bands, count)
    x = rng.uniform(band * width / BANDS + reach, (band + 1) * width / BANDS - reach)
    y = rng.uniform(reach, height - reach)
    u = (np.arange(size) + 0.5) / size - 0.5
    u, v = (side[:, None, None] * grid for grid in np.meshgrid(u, u))
    cos, sin = np.cos(angle)[:, None, None], np.sin(angle)[:, None, None]
    y, x = y[:, None, None] + sin * u + cos * v, x[:, None, None] + cos * u - sin * v
    return np.stack([_bilinear(pixels, *place) for place in zip(y, x, strict=True)])  # one at a time fits the cache


def _half_size(pixels: np.ndarray) -> np.ndarray:
    """The mean of every block of 2x2 pixels; an odd last row or column is left out."""
    height, width = (length // 2 * 2 for length in pixels.shape[:2])
    return pixels[:height, :width].reshape(height // 2, 2, width // 2, 2, -1).mean((1, 3))


def _bilinear(pixels: np.ndarray, y: np.ndarray, x: np.ndarray) -> np.ndarray:
    y, x = y - 0.5, x - 0.5  # pixel centres lie at half-integers
    top, left = np.floor(y).astype(int), np.floor(x).astype(int)
    down, right = (y - top)[..., None], (x - left)[..., None]
    width = pixels.shape[1]
    flat, corner = pixels.reshape(-1, pixels.shape[2]), top * width + left
    at, beside, below, across = (flat.take(corner + step, axis=0) for step in (0, 1, width, width + 1))
    upper = at * (1 - right) + beside * right
    lower = below * (1 - right) + across * right
    return upper * (1 - down) + lower * down


def _recolour(patches: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Hue rotation, grey for three patches in ten on average, tint and brightness; uint8."""
    count = len(patches)
    angle = rng.uniform(0, 2 * np.pi, count)
    # A rotation about the grey axis is circulant: each output channel mixes itself, the next and the one after.
    own = (1 + 2 * np.cos(angle)) / 3
    following = (1 - np.cos(angle)) / 3 - np.sin(angle) / np.sqrt(3)
    after = (1 - np.cos(angle)) / 3 + np.sin(angle) / np.sqrt(3)
    grey = rng.random(count) < 0.3
    tint, light = rng.uniform(0.85, 1.05, (count, 3)), rng.uniform(0.85, 1.05, count)
    recoloured = np.empty(patches.shape, np.uint8)
    for i, patch in enumerate(patches):
        turned = own[i] * patch + following[i] * np.roll(patch, -1, axis=-1) + after[i] * np.roll(patch, -2, axis=-1)
        if grey[i]:
            turned = (turned[..., :1] + turned[..., 1:2] + turned[..., 2:]) / 3
        recoloured[i] = np.clip(np.rint(turned * tint[i] * light[i]), 0, 255)
    return recoloured
