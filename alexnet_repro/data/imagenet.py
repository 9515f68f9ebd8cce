"""ImageNet (ILSVRC-2012) and its ten-class subset Imagenette, as sources."""

from __future__ import annotations

import re
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from shlex import quote
from typing import BinaryIO

import numpy as np

from alexnet_repro.data.archives import Archive, check, unpacked
from alexnet_repro.data.dataset import DatasetNotFoundError
from alexnet_repro.data.folders import (
    ImageFile,
    Listing,
    Problem,
    Source,
    class_folder_listing,
    class_folders,
    folder_source,
    image_file,
    visible,
)

IMAGENETTE = {  # name -> folder, archive; the number is the shorter side, pixels
    name: (folder, Archive(f"{folder}.tgz", md5, (f"https://s3.amazonaws.com/fast-ai-imageclas/{folder}.tgz",)))
    for name, folder, md5 in (
        ("imagenette", "imagenette2", "fe2fc210e6bb7c5664d602c3cd71e612"),
        ("imagenette-320", "imagenette2-320", "3df6f0d01a2c9592104656642f5e78a3"),
        ("imagenette-160", "imagenette2-160", "e793b78cc4c9e9a4ccc0c1155377a412"),
    )
}
IMAGENETTE_CLASSES = (
    "n01440764", "n02102040", "n02979186", "n03000684", "n03028079", "n03394916", "n03417042", "n03425413",
    "n03445777", "n03888257",
)  # fmt: skip
IMAGENETTE_COUNTS = {"train": 9_469, "val": 3_925}

TRAIN = ("ILSVRC2012_img_train.tar", "1d675b47d978889d74fa0da5fadfb00e")
VAL = ("ILSVRC2012_img_val.tar", "29b22e2961454d5413ddabcf34fc5622")
DEVKIT = ("ILSVRC2012_devkit_t12.tar.gz", "fa75699e90414af021442c21a62c3abf")
VAL_IMAGE = re.compile(r"ILSVRC2012_val_(\d{8})\.\w+")
IMAGENET_CLASSES = 1000
IMAGENET_COUNTS = {"train": 1_281_167, "val": 50_000}
IMAGENET_TERMS = "https://image-net.org/download (an account; for non-commercial research and education)"


def imagenette_source(name: str, root: Path, download: bool) -> Source:
    """Imagenette (Howard 2019): 9,469 training and 3,925 validation images of ten classes of ImageNet.

    It is looked for as the unpacked folder in ``root``, as ``root`` itself, and then as the archive in ``root``, which
    is checked by md5 and unpacked.

    Raises:
        DatasetNotFoundError: nothing was found, or only a part of it; says how to get it.
        ValueError: the archive's md5 is wrong.
    """
    folder, archive = IMAGENETTE[name]
    for place in (root / folder, root):
        splits = [place / split for split in IMAGENETTE_COUNTS]
        if all(split.is_dir() and class_folders(split) == IMAGENETTE_CLASSES for split in splits):
            return _imagenette(name, place)
    missing = (
        f"{name} was not found in {root}: neither {folder}/train/<class>/, nor train/<class>/, nor {archive.file}."
        f"\nTo get it: alexnet-repro data get {name} --root {quote(str(root))}; or put {archive.mirrors[0]} there."
    )
    return _imagenette(name, unpacked(archive, folder, root, download, missing))


def imagenet_source(root: Path) -> Source:
    """ILSVRC-2012: 1,281,167 images for training, 50,000 for validation; 1000 classes in the order of their ids.

    ``root`` must hold the three archives of the challenge, which are read without being unpacked; or the folders
    ``train/<id>/`` and ``val/<id>/``; or ``train/<id>/``, a ``val/`` without class folders, and the devkit.

    Raises:
        DatasetNotFoundError: files are missing; says which, and where to get them.
        ValueError: the devkit cannot be read; or the folders do not have 1000 classes, or not those of the devkit.
    """
    archives = {root / name: md5 for name, md5 in (TRAIN, VAL, DEVKIT) if (root / name).is_file()}
    devkit = root / DEVKIT[0]
    if len(archives) == 3:
        classes, truth = _devkit(devkit)
        listings = {"train": _train_tar(root / TRAIN[0], classes), "val": _val_tar(root / VAL[0], truth)}
        return Source("imagenet", "ILSVRC-2012, official archives", classes, listings, archives, IMAGENET_COUNTS)
    if (root / "train").is_dir() and (root / "val").is_dir():
        classes = class_folders(root / "train")
        if len(classes) != IMAGENET_CLASSES:
            raise ValueError(f"{root}/train must have {IMAGENET_CLASSES:,} class folders, not {len(classes):,}")
        listings = {"train": class_folder_listing(root, "train", classes)}
        if class_folders(root / "val"):
            listings["val"] = class_folder_listing(root, "val", classes)
        elif devkit in archives:
            known, truth = _devkit(devkit)
            if other := sorted(set(known) ^ set(classes)):
                raise ValueError(
                    f"{root}/train and {devkit.name} must have the same classes: one of them lacks {other[0]}"
                )
            listings["val"] = _val_folder(root / "val", truth)
        else:
            raise DatasetNotFoundError(f"{root}/val has no class folders; then {DEVKIT[0]} is needed beside it")
        used = {devkit: DEVKIT[1]} if devkit in archives else {}
        return Source("imagenet", "ILSVRC-2012, folders", classes, listings, used, IMAGENET_COUNTS)
    missing = ", ".join(name for name, _ in (TRAIN, VAL, DEVKIT) if root / name not in archives)
    raise DatasetNotFoundError(
        f"ImageNet was not found in {root}: there are no folders train/<class>/ and val/, and of the archives these\n"
        f"are missing: {missing}. They can't be fetched for you: {IMAGENET_TERMS}."
    )


def _imagenette(name: str, folder: Path) -> Source:
    return replace(folder_source(folder), name=name, expected=IMAGENETTE_COUNTS)


def _devkit(path: Path) -> tuple[tuple[str, ...], np.ndarray]:
    """The sorted class ids, and the labels of the validation images in the order of their numbers."""
    from scipy.io import loadmat

    try:
        with tarfile.open(path) as tar:
            files = {Path(member.name).name: member for member in tar.getmembers()}
            synsets = loadmat(tar.extractfile(files["meta.mat"]), squeeze_me=True)["synsets"]
            lines = tar.extractfile(files["ILSVRC2012_validation_ground_truth.txt"])
            truth = np.loadtxt(lines, dtype=int, ndmin=1)  # type: ignore[call-overload]  # None only for a folder
        ids = {int(s["ILSVRC2012_ID"]): str(s["WNID"]) for s in synsets if s["num_children"] == 0}
        classes = tuple(sorted(ids.values()))
        return classes, np.array([classes.index(ids[number]) for number in truth])
    except MemoryError:
        raise
    except Exception as error:  # the devkit is read before its md5 is checked
        check(path, DEVKIT[1])
        raise ValueError(f"{path} can't be read, though its md5 is right: {type(error).__name__} {error}") from error


def _train_tar(path: Path, classes: Sequence[str]) -> Listing:
    """The listing of the training archive, which holds one archive per class."""

    def listing() -> Iterator[ImageFile | Problem]:
        with path.open("rb") as file:
            inner = {Path(member.name).stem: member.offset_data for member in _files(file)}
            for label, name in enumerate(classes):
                if name not in inner:
                    yield Problem(f"train/{name}", f"is missing: {path.name} has no {name}.tar. Fetch it again.")
                    continue
                file.seek(inner[name])
                for member in _files(file):
                    yield ImageFile(f"train/{name}/{member.name}", label, path, member.size, member.offset_data)

    return listing


def _val_tar(path: Path, truth: np.ndarray) -> Listing:
    def listing() -> Iterator[ImageFile | Problem]:
        with path.open("rb") as file:
            files = [ImageFile(Path(m.name).name, 0, path, m.size, m.offset_data) for m in _files(file)]
        yield from _by_number(files, truth)

    return listing


def _val_folder(folder: Path, truth: np.ndarray) -> Listing:
    def listing() -> Iterator[ImageFile | Problem]:
        yield from _by_number([image_file(entry.name, 0, Path(entry)) for entry in visible(folder)], truth)

    return listing


def _by_number(files: Sequence[ImageFile], truth: np.ndarray) -> Iterator[ImageFile | Problem]:
    """Lists validation images in ``val`` with the labels that their numbers give; by class, then by name."""
    images = []
    for file in files:
        name = f"val/{file.name}"
        match = VAL_IMAGE.fullmatch(file.name)
        if match is None or not 1 <= int(match[1]) <= len(truth):
            allowed = f"ILSVRC2012_val_{1:08d}.JPEG to ILSVRC2012_val_{len(truth):08d}.JPEG"
            yield Problem(name, f"is none of {allowed}: its name must say its number. Rename or remove it.")
        else:
            images.append(file._replace(name=name, label=int(truth[int(match[1]) - 1])))
    yield from sorted(images, key=lambda image: image.label)


def _files(file: BinaryIO) -> list[tarfile.TarInfo]:
    """The files in the uncompressed archive that begins at the current position, sorted by name."""
    with tarfile.open(fileobj=file, mode="r:") as tar:
        return sorted((member for member in tar if member.isfile()), key=lambda member: member.name)
