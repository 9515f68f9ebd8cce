"""The data sets known by name: what each one is, where it comes from, how it is opened."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from alexnet_repro.data.cifar10 import CLASSES as CIFAR10_CLASSES
from alexnet_repro.data.cifar10 import FILE, FOLDER, OFFICIAL, load_cifar10
from alexnet_repro.data.dataset import Dataset
from alexnet_repro.data.folders import Source
from alexnet_repro.data.imagenet import (
    DEVKIT,
    IMAGENET_TERMS,
    IMAGENETTE,
    IMAGENETTE_CLASSES,
    IMAGENETTE_COUNTS,
    TRAIN,
    VAL,
    imagenet_source,
    imagenette_source,
)
from alexnet_repro.data.photos import CLASSES as PHOTOS_CLASSES
from alexnet_repro.data.photos import load_photos
from alexnet_repro.data.tiny_imagenet import ARCHIVE, WNIDS, tiny_imagenet_source
from alexnet_repro.data.tiny_imagenet import FOLDER as TINY_FOLDER


@dataclass(frozen=True, kw_only=True)
class Known:
    """A data set known by name; it has ``load`` if it is read as it is, ``source`` if it can be prepared."""

    words: str  #: description
    whence: str  #: where it comes from
    traces: tuple[tuple[str, ...], ...]  #: it is present if all files of one of these are
    size: int = 256  #: default height and width of the images, pixels
    classes: tuple[str, ...] = ()  #: their names, if known without reading any file
    load: Callable[[str, int, Path, bool], Dataset] | None = None  #: takes split, size, root, download
    source: Callable[[Path, bool], Source] | None = None  #: takes root, download

    def is_in(self, root: Path) -> bool:
        """Whether its files or archives are in the folder; whether they are complete is not checked."""
        return any(all((root / file).exists() for file in files) for files in self.traces)


def _tiny_imagenet(name: str, words: str, last: str) -> Known:
    """Args: last: the last of its classes by wnid, which a partial copy may lack."""
    trace = f"train/{last}"
    return Known(
        words=f"{words} images of 64 pixels",
        whence=f"{ARCHIVE.mirrors[0]} (for non-commercial research)",
        traces=((ARCHIVE.file,), (f"{TINY_FOLDER}/{trace}",), (WNIDS, trace)),
        size=64,
        source=partial(tiny_imagenet_source, name),
    )


def _imagenette(name: str) -> Known:
    folder, archive = IMAGENETTE[name]
    splits = [f"{split}/{IMAGENETTE_CLASSES[-1]}" for split in IMAGENETTE_COUNTS]
    return Known(
        words=f"10 classes of ImageNet, 9,469 + 3,925 images, shorter side {name.partition('-')[2] or 'as it was'}",
        whence=archive.mirrors[0],
        traces=((archive.file,), tuple(f"{folder}/{split}" for split in splits), tuple(splits)),
        source=partial(imagenette_source, name),
    )


KNOWN = {
    "photos": Known(
        words="10 classes, 1,500 + 500 patches of photographs",
        whence="comes with scikit-image",
        traces=((),),
        size=32,
        classes=PHOTOS_CLASSES,
        load=lambda split, size, root, download: load_photos(split, size),
    ),
    "cifar10": Known(
        words="10 classes, 50,000 + 10,000 images of 32 pixels",
        whence=OFFICIAL,
        traces=((FILE,), (FOLDER,), ("train/airplane",), ("cifar10/train/airplane",)),
        size=32,
        classes=CIFAR10_CLASSES,
        load=load_cifar10,
    ),
    "tiny-imagenet": _tiny_imagenet("tiny-imagenet", "200 classes of ImageNet, 100,000 + 10,000", "n12267677"),
    "tiny-imagenet-100": _tiny_imagenet(
        "tiny-imagenet-100", "the first 100 of these by wnid, 50,000 + 5,000", "n03250847"
    ),
    **{name: _imagenette(name) for name in IMAGENETTE},
    "imagenet": Known(
        words="1000 classes, 1,281,167 + 50,000 images",
        whence=IMAGENET_TERMS,
        traces=((TRAIN[0], VAL[0], DEVKIT[0]), ("train/n15075141", "val")),
        source=lambda root, download: imagenet_source(root),
    ),
}
NAMES = tuple(KNOWN)
