import hashlib
import io
import shutil
import tarfile

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat
from torchvision.datasets import Imagenette
from torchvision.datasets.imagenet import ARCHIVE_META

from alexnet_repro.data import DatasetNotFoundError, StoreError, imagenet, load_dataset, load_source, prepare
from alexnet_repro.data.folders import ImageFile, Problem, folder_source

WNIDS = ("n02", "n01", "n03")  # by the challenge's numbers, which are not in the order of the ids
VAL = (3, 1, 2, 1)  # numbers of the classes of four validation images


def jpeg(shade: int) -> bytes:
    content = io.BytesIO()
    Image.new("RGB", (9, 8), (shade, shade, shade)).save(content, "JPEG")
    return content.getvalue()


def add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(content)
    tar.addfile(member, io.BytesIO(content))


@pytest.fixture
def challenge(tmp_path, monkeypatch):
    """The three files of the challenge, with three classes."""
    rows = np.zeros(4, dtype=[("ILSVRC2012_ID", "O"), ("WNID", "O"), ("words", "O"), ("num_children", "O")])
    for i, wnid in enumerate((*WNIDS, "n09")):
        rows[i] = (i + 1, wnid, f"words of {wnid}", 0 if i < 3 else 3)  # the last has children: no class
    meta = io.BytesIO()
    savemat(meta, {"synsets": rows})
    with tarfile.open(tmp_path / imagenet.DEVKIT[0], "w:gz") as tar:
        add(tar, "ILSVRC2012_devkit_t12/data/meta.mat", meta.getvalue())
        truth = "".join(f"{number}\n" for number in VAL)
        add(tar, "ILSVRC2012_devkit_t12/data/ILSVRC2012_validation_ground_truth.txt", truth.encode())
    with tarfile.open(tmp_path / imagenet.TRAIN[0], "w") as tar:
        for number, wnid in enumerate(WNIDS, start=1):
            inner = io.BytesIO()
            with tarfile.open(fileobj=inner, mode="w") as images:
                for i in (1, 0):
                    add(images, f"{wnid}_{i}.JPEG", jpeg(50 * number + i * 10))
            add(tar, f"{wnid}.tar", inner.getvalue())
    with tarfile.open(tmp_path / imagenet.VAL[0], "w") as tar:
        for i, number in enumerate(VAL, start=1):
            add(tar, f"ILSVRC2012_val_{i:08d}.JPEG", jpeg(50 * number))
    monkeypatch.setattr(imagenet, "IMAGENET_COUNTS", {"train": 6, "val": 4})
    monkeypatch.setattr(imagenet, "IMAGENET_CLASSES", 3)
    for name in ("TRAIN", "VAL", "DEVKIT"):
        file = getattr(imagenet, name)[0]
        digest = hashlib.md5((tmp_path / file).read_bytes()).hexdigest()
        monkeypatch.setattr(imagenet, name, (file, digest))
    return tmp_path


def test_the_archives_are_torchvision_s():
    assert {"train": imagenet.TRAIN, "val": imagenet.VAL, "devkit": imagenet.DEVKIT} == ARCHIVE_META
    assert imagenet.IMAGENET_COUNTS == {"train": 1_281_167, "val": 50_000}
    theirs = {url.rpartition("/")[2]: (url, md5) for url, md5 in Imagenette._ARCHIVES.values()}
    ours = {archive.file: (archive.mirrors[0], archive.md5) for _, archive in imagenet.IMAGENETTE.values()}
    assert ours == theirs
    assert list(imagenet.IMAGENETTE_CLASSES) == sorted(Imagenette._WNID_TO_CLASS)


def test_the_challenge_s_archives_are_read_where_they_are(challenge):
    before = sorted(path.name for path in challenge.iterdir())
    source = load_source("imagenet", challenge)
    assert source.classes == ("n01", "n02", "n03")
    train = list(source.listed("train"))
    assert [(p.name, p.label) for p in train[:3]] == [
        ("train/n01/n01_0.JPEG", 0),
        ("train/n01/n01_1.JPEG", 0),
        ("train/n02/n02_0.JPEG", 1),
    ]
    assert source.in_memory("train", 8).images[:, 0, 0, 0].tolist() == pytest.approx(
        [100, 110, 50, 60, 150, 160], abs=2
    )
    val = source.in_memory("val", 8)
    assert val.labels.tolist() == [0, 1, 1, 2]  # classes 2, 1, 1 and 3 of the challenge
    assert val.images[:, 0, 0, 0].tolist() == pytest.approx([100, 50, 50, 150], abs=2)
    assert sorted(path.name for path in challenge.iterdir()) == before


def test_imagenet_is_prepared_and_then_loaded(challenge):
    with pytest.raises(DatasetNotFoundError, match=r"imagenet must be prepared first.* imagenet --root 'a b' --size 8"):
        load_dataset("imagenet", "a b", size=8)
    store = prepare(load_source("imagenet", challenge), challenge / "imagenet-8", size=8, workers=1)
    assert store.manifest["source"]["archives"][imagenet.TRAIN[0]] == imagenet.TRAIN[1]
    assert len(load_dataset("imagenet", challenge, "val", size=8)) == 4


def test_a_damaged_archive_is_refused(challenge):
    with (challenge / imagenet.TRAIN[0]).open("r+b") as file:
        file.seek(600)
        file.write(b"\0\1")
    with pytest.raises(ValueError, match=f"{imagenet.TRAIN[0]} is not the official archive"):
        prepare(load_source("imagenet", challenge), challenge / "out", size=8, workers=1)


def extracted(challenge, val_classes: bool):
    """The same images in folders."""
    for split in ("train", "val"):
        for entry in load_source("imagenet", challenge).listed(split):
            name = (
                entry.name
                if split == "train" or not val_classes
                else f"val/{sorted(WNIDS)[entry.label]}/{entry.name[4:]}"
            )
            (challenge / name).parent.mkdir(parents=True, exist_ok=True)
            (challenge / name).write_bytes(entry.open().getvalue())


@pytest.mark.parametrize("val_classes", [True, False])
def test_folders_give_what_the_archives_give(challenge, val_classes):
    source = load_source("imagenet", challenge)
    expected = [source.in_memory(split, 8) for split in ("train", "val")]
    extracted(challenge, val_classes)
    for name in (imagenet.TRAIN[0], imagenet.VAL[0], *([imagenet.DEVKIT[0]] if val_classes else [])):
        (challenge / name).unlink()
    source = load_source("imagenet", challenge)
    for split, theirs in zip(("train", "val"), expected, strict=True):
        ours = source.in_memory(split, 8)
        assert ours.images.equal(theirs.images)
        assert ours.labels.equal(theirs.labels)


@pytest.mark.parametrize("val_classes", [True, False])
def test_folders_of_fewer_classes_are_not_taken_for_imagenet(challenge, val_classes):
    extracted(challenge, val_classes)
    (challenge / imagenet.TRAIN[0]).unlink()
    shutil.rmtree(challenge / "train" / "n02")
    with pytest.raises(ValueError, match="train must have 3 class folders, not 2"):
        load_source("imagenet", challenge)


@pytest.mark.parametrize("val_classes", [True, False])
def test_a_devkit_beside_folders_is_checked_too(challenge, val_classes):
    extracted(challenge, val_classes)
    (challenge / imagenet.TRAIN[0]).unlink()
    assert load_source("imagenet", challenge).archives == {challenge / imagenet.DEVKIT[0]: imagenet.DEVKIT[1]}


def test_the_devkit_labels_no_images_of_other_classes_than_its_own(challenge):
    extracted(challenge, val_classes=False)
    (challenge / imagenet.TRAIN[0]).unlink()
    (challenge / "train" / "n02").rename(challenge / "train" / "n00")
    with pytest.raises(ValueError, match="must have the same classes: one of them lacks n00"):
        load_source("imagenet", challenge)


def test_val_without_class_folders_needs_the_devkit(challenge):
    extracted(challenge, val_classes=False)
    (challenge / imagenet.DEVKIT[0]).unlink()
    with pytest.raises(DatasetNotFoundError, match=f"no class folders; then {imagenet.DEVKIT[0]} is needed"):
        load_source("imagenet", challenge)


@pytest.mark.parametrize(
    "name",
    ["photo.JPEG", "val_1.JPEG", "ILSVRC2012_val_00000000.JPEG", "ILSVRC2012_val_00000005.JPEG", "README", "a_b.txt"],
)
def test_a_validation_image_without_a_number_that_there_is_is_named(challenge, name):
    extracted(challenge, val_classes=False)
    (challenge / imagenet.VAL[0]).unlink()
    (challenge / "val" / "ILSVRC2012_val_00000003.JPEG").rename(challenge / "val" / name)
    problem = Problem(
        f"val/{name}",
        "is none of ILSVRC2012_val_00000001.JPEG to ILSVRC2012_val_00000004.JPEG: its name must say its number. "
        "Rename or remove it.",
    )
    listed = list(load_source("imagenet", challenge).listed("val"))
    assert [entry for entry in listed if isinstance(entry, Problem)] == [
        problem,
        Problem("val", "has 3 images, but imagenet has 4"),
    ]
    assert [(entry.name[-6:], entry.label) for entry in listed if isinstance(entry, ImageFile)] == [
        ("2.JPEG", 1),
        ("4.JPEG", 1),
        ("1.JPEG", 2),
    ]
    with pytest.raises(ValueError, match=f"val/{name} is none of"):
        prepare(load_source("imagenet", challenge), challenge / "store", size=8)


def test_a_class_that_the_archive_lacks_is_named(challenge):
    with tarfile.open(challenge / imagenet.TRAIN[0], "w") as tar:
        for wnid in ("n01", "n02"):
            inner = io.BytesIO()
            with tarfile.open(fileobj=inner, mode="w") as images:
                add(images, f"{wnid}_0.JPEG", jpeg(9))
            add(tar, f"{wnid}.tar", inner.getvalue())
    assert Problem("train/n03", f"is missing: {imagenet.TRAIN[0]} has no n03.tar. Fetch it again.") in list(
        load_source("imagenet", challenge).listed("train")
    )


@pytest.mark.parametrize("length", [0, 100, 300])
def test_a_damaged_devkit_is_named(challenge, length):
    devkit = challenge / imagenet.DEVKIT[0]
    devkit.write_bytes(devkit.read_bytes()[:length])
    with pytest.raises(ValueError, match=rf"{devkit.name} is not the official archive: its md5 is not"):
        load_source("imagenet", challenge)


def test_an_image_too_few_is_a_problem(challenge, monkeypatch):
    monkeypatch.setattr(imagenet, "IMAGENET_COUNTS", {"train": 7, "val": 4})
    entries = list(load_source("imagenet", challenge).listed("train"))
    assert all(isinstance(entry, ImageFile) for entry in entries[:-1])
    assert entries[-1] == Problem("train", "has 6 images, but imagenet has 7")


def test_what_is_missing_is_named_with_where_to_get_it(challenge):
    (challenge / imagenet.VAL[0]).unlink()
    with pytest.raises(DatasetNotFoundError, match=f"(?s)are missing: {imagenet.VAL[0]}.*image-net.org"):
        load_source("imagenet", challenge)


@pytest.fixture
def imagenette(tmp_path, monkeypatch):
    """An archive of Imagenette with one image a class and split, and a mirror that is a file."""
    folder, archive = imagenet.IMAGENETTE["imagenette-160"]
    path = tmp_path / "mirror" / archive.file
    path.parent.mkdir()
    with tarfile.open(path, "w:gz") as tar:
        for split in ("train", "val"):
            for i, wnid in enumerate(imagenet.IMAGENETTE_CLASSES):
                add(tar, f"{folder}/{split}/{wnid}/{i}.JPEG", jpeg(20 * i))
        add(tar, f"{folder}/noisy_imagenette.csv", b"path,noisy_labels_0\n")
    digest = hashlib.md5(path.read_bytes()).hexdigest()
    archive = imagenet.Archive(archive.file, digest, (path.as_uri(),))
    monkeypatch.setitem(imagenet.IMAGENETTE, "imagenette-160", (folder, archive))
    monkeypatch.setattr(imagenet, "IMAGENETTE_COUNTS", {"train": 10, "val": 10})
    return tmp_path


def test_imagenette_is_fetched_checked_and_unpacked(imagenette):
    root = imagenette / "data"
    with pytest.raises(DatasetNotFoundError, match=r"(?s)imagenette-160 was not found in .*data get imagenette-160"):
        load_dataset("imagenette-160", root, size=8)
    dataset = load_dataset("imagenette-160", root, "val", size=8, download=True)
    assert dataset.classes == imagenet.IMAGENETTE_CLASSES
    assert dataset.images[:, 0, 0, 0].tolist() == pytest.approx([20 * i for i in range(10)], abs=2)
    assert dataset.name == "imagenette-160"
    assert load_dataset("imagenette-160", root / "imagenette2-160", size=8).labels.tolist() == list(range(10))


@pytest.mark.parametrize("lacks", ["train/n03888257", "val/n01440764"])
def test_a_part_of_imagenette_beside_its_archive_is_not_taken_for_the_whole(imagenette, lacks):
    root = imagenette / "data"
    load_source("imagenette-160", root, download=True)
    shutil.rmtree(root / "imagenette2-160" / lacks)
    with pytest.raises(DatasetNotFoundError, match=r"imagenette2-160 differs from imagenette2-160\.tgz\. Remove"):
        load_dataset("imagenette-160", root, size=8)
    shutil.rmtree(root / "imagenette2-160")
    assert len(load_dataset("imagenette-160", root, size=8)) == 10


def test_an_imagenette_with_an_image_too_many_or_too_few_is_refused(imagenette):
    root = imagenette / "data"
    load_source("imagenette-160", root, download=True)
    image = next((root / "imagenette2-160" / "val" / "n03888257").iterdir())
    shutil.copy(image, image.with_name("more.JPEG"))
    with pytest.raises(ValueError, match="has 11 images, but imagenette-160 has 10"):
        load_dataset("imagenette-160", root, "val", size=8)


def test_imagenet_s_own_folders_are_not_taken_for_imagenette(imagenette):
    root = imagenette / "data"
    load_source("imagenette-160", root, download=True)
    assert load_source("imagenette-160", root / "imagenette2-160").classes == imagenet.IMAGENETTE_CLASSES
    for split in ("train", "val"):
        (root / "imagenette2-160" / split / "n01443537").mkdir()
    with pytest.raises(DatasetNotFoundError, match="imagenette-160 was not found in"):
        load_source("imagenette-160", root / "imagenette2-160")


def test_a_store_of_another_data_set_is_not_given_under_a_known_name(imagenette):
    root = imagenette / "data"
    load_source("imagenette-160", root, download=True)
    other = folder_source((root / "imagenette2-160").rename(root / "other"))
    prepare(other, root / "imagenette-160-8", size=8, workers=1)
    with pytest.raises(StoreError, match="imagenette-160-8 has images of other, not of imagenette-160"):
        load_dataset("imagenette-160", root, size=8)
    assert len(load_dataset(str(root / "imagenette-160-8"))) == 10


def test_a_damaged_archive_of_imagenette_is_refused(imagenette):
    root = imagenette / "data"
    root.mkdir()
    (root / "imagenette2-160.tgz").write_bytes(b"half of it")
    with pytest.raises(ValueError, match="not the official archive"):
        load_dataset("imagenette-160", root)
