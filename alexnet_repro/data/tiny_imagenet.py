"""Tiny ImageNet and its first hundred classes, as sources."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from shlex import quote

from alexnet_repro.data.archives import Archive, unpacked
from alexnet_repro.data.dataset import DatasetNotFoundError
from alexnet_repro.data.folders import ImageFile, Listing, Problem, Source, image_file, visible

FOLDER = "tiny-imagenet-200"
ARCHIVE = Archive(
    f"{FOLDER}.zip", "90528d7ca1a48142e341f4ef8d21d0de", (f"http://cs231n.stanford.edu/{FOLDER}.zip",)
)  # from the course for which it was made; other libraries have the same md5
TINY_IMAGENET = {"tiny-imagenet": 200, "tiny-imagenet-100": 100}  # name -> classes
IMAGES_A_CLASS = {"train": 500, "val": 50}

WNIDS, VAL, ANNOTATIONS = "wnids.txt", "val/images", "val/val_annotations.txt"
ANNOTATION = re.compile(r"([^\t]+)\t([^\t]+)(?:\t\d+){4}")  # file, wnid, x0, y0, x1, y1


def tiny_imagenet_source(name: str, root: Path, download: bool) -> Source:
    """Tiny ImageNet (Stanford's CS231n, 2015): 200 ImageNet classes, each 500 training and 50 validation images, 64x64.

    "tiny-imagenet" has its classes in the order of ``wnids.txt``, which is not sorted; "tiny-imagenet-100" has the
    first hundred by wnid, so a folder with no other classes is enough. The test images have no labels and are left out.
    The data set is looked for as the unpacked folder in ``root``, as ``root`` itself, and then as the archive in
    ``root``, which is checked by md5 and unpacked. Terms: ImageNet's, for non-commercial research.

    Raises:
        DatasetNotFoundError: nothing was found, or only a part of it; says what is missing and how to get it.
        ValueError: the archive's md5 is wrong, or ``wnids.txt`` does not list 200 classes.
    """
    folder = root / FOLDER
    if not folder.is_dir() and any((root / file).is_file() for file in (WNIDS, ANNOTATIONS)):
        folder = root
    if not folder.is_dir():
        missing = (
            f"{name} was not found in {root}: neither {FOLDER}/, nor {WNIDS} beside train/ and val/, nor "
            f"{ARCHIVE.file}.\nTo get it (236 MiB, for non-commercial research): alexnet-repro data get {name} --root "
            f"{quote(str(root))}; or put {ARCHIVE.mirrors[0]} there."
        )
        unpacked(ARCHIVE, FOLDER, root, download, missing)
    return _from_folder(name, folder)


def _from_folder(name: str, folder: Path) -> Source:
    _need(name, folder, (WNIDS, ANNOTATIONS, VAL))
    wnids = (folder / WNIDS).read_text(encoding="utf-8", errors="replace").split()
    total, count = TINY_IMAGENET["tiny-imagenet"], TINY_IMAGENET[name]
    if not len(wnids) == len(set(wnids)) == total:
        raise ValueError(
            f"{folder / WNIDS} has {len(wnids)} words, {len(set(wnids))} of them different, but it must list the "
            f"{total} classes of Tiny ImageNet. Take it again from the official archive, {ARCHIVE.file}."
        )
    classes = tuple(wnids if count == total else sorted(wnids)[:count])
    _need(name, folder, [f"train/{wnid}/images" for wnid in classes])
    return Source(
        name,
        f"Tiny ImageNet, {f'all {total}' if count == total else f'the first {count} by wnid of its {total}'} classes",
        classes,
        {"train": _train(folder, wnids, classes), "val": _val(folder, wnids, classes)},
        expected={split: images * count for split, images in IMAGES_A_CLASS.items()},
    )


def _need(name: str, folder: Path, needed: Sequence[str]) -> None:
    """Raises ``DatasetNotFoundError`` unless everything that is needed is in the folder."""
    if missing := [place for place in needed if not (folder / place).exists()]:
        others = f" and {len(missing) - 1} more of {len(needed)} like it" if len(missing) > 1 else ""
        raise DatasetNotFoundError(
            f"{folder} is not the whole of {name}: it lacks {missing[0]}{others}."
            f"\nTo get it whole: alexnet-repro data get {name} --root ANOTHER_FOLDER; or unpack {ARCHIVE.file} again."
        )


def _train(folder: Path, wnids: Collection[str], classes: Sequence[str]) -> Listing:
    def listing() -> Iterator[ImageFile | Problem]:
        for entry in sorted(set(_names(folder / "train")).difference(wnids)):
            yield Problem(f"train/{entry}", f"is no class of {WNIDS}. Remove it.")
        for label, wnid in enumerate(classes):
            place = f"train/{wnid}/images"
            names = _names(folder / place)
            for name in names:
                if name.startswith(f"{wnid}_") and name.endswith(".JPEG"):
                    yield image_file(f"{place}/{name}", label, folder / place / name)
                else:
                    yield Problem(f"{place}/{name}", f"is no image of this class, {wnid}_<number>.JPEG. Remove it.")
            if not names:
                yield Problem(place, f"has no images. Take them anew from {ARCHIVE.file}.")

    return listing


def _val(folder: Path, wnids: Collection[str], classes: Sequence[str]) -> Listing:
    """Lists the images annotated with one of the classes; images of the other wnids may be present or missing."""
    labels = {wnid: label for label, wnid in enumerate(classes)}

    def listing() -> Iterator[ImageFile | Problem]:
        there, annotated, images = set(_names(folder / VAL)), set(), []
        text = (folder / ANNOTATIONS).read_text(encoding="utf-8", errors="replace")
        for number, line in enumerate(text.splitlines(), start=1):
            where = f"{ANNOTATIONS}, line {number},"
            if not (match := ANNOTATION.fullmatch(line)):
                yield Problem(where, f"must be a file, a wnid and four numbers with tabs between, not {line[:80]!r}")
                continue
            name, wnid = match.groups()
            if wnid not in wnids:
                yield Problem(where, f"gives {name} the class {wnid}, which {WNIDS} lacks")
            elif name in annotated:
                yield Problem(where, f"annotates {name} once more. Remove one of the lines.")
            elif wnid in labels and name not in there:
                yield Problem(f"{VAL}/{name}", f"is missing, but {ANNOTATIONS} has it. Take it from {ARCHIVE.file}.")
            elif wnid in labels:
                images.append((labels[wnid], name))
            annotated.add(name)
        for name in sorted(there - annotated):
            yield Problem(f"{VAL}/{name}", f"has no line in {ANNOTATIONS}. Remove it, or add the line.")
        for label, name in sorted(images):
            yield image_file(f"{VAL}/{name}", label, folder / VAL / name)

    return listing


def _names(folder: Path) -> list[str]:
    return [entry.name for entry in visible(folder)]
