"""On a Tiny ImageNet of four classes, two images of each for training and one for validation; and on the real one."""

import hashlib
import io
import os
import re
import shutil
import zipfile
from pathlib import Path

import command
import numpy as np
import pytest
from PIL import Image

from alexnet_repro.data import (
    DatasetNotFoundError,
    ImageError,
    evaluation_split,
    load_dataset,
    load_source,
    peek,
    prepare,
    tiny_imagenet,
)
from alexnet_repro.data.archives import Archive, unpack

WNIDS = ("n04", "n01", "n03", "n02")  # as wnids.txt has them
FIRST = ("n01", "n02")  # by wnid: the classes of tiny-imagenet-100
LINES = [f"val_{i}.JPEG\t{wnid}\t0\t1\t2\t63" for i, wnid in enumerate(("n02", "n04", "n01", "n03"))]
ANNOTATIONS, ZIP = "val/val_annotations.txt", "tiny-imagenet-200.zip"


def jpeg(seed: int, mode: str = "RGB") -> bytes:
    """64x64 pixels of noise, so that any resampling changes them."""
    pixels = np.random.default_rng(seed).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    content = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(content, "JPEG")
    return content.getvalue()


def write(folder: Path, name: str, content: bytes) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """Four classes are all there are, and two the first hundred."""
    monkeypatch.setitem(tiny_imagenet.TINY_IMAGENET, "tiny-imagenet", 4)
    monkeypatch.setitem(tiny_imagenet.TINY_IMAGENET, "tiny-imagenet-100", 2)
    monkeypatch.setattr(tiny_imagenet, "IMAGES_A_CLASS", {"train": 2, "val": 1})


@pytest.fixture
def root(tmp_path) -> Path:
    (tmp_path / "data").mkdir()
    return tmp_path / "data"


@pytest.fixture
def folder(root) -> Path:
    """All of it in the official layout, in ``root``."""
    folder = root / "tiny-imagenet-200"
    write(folder, "wnids.txt", "".join(f"{wnid}\n" for wnid in WNIDS).encode())
    write(folder, "words.txt", b"n01\tfish\n")
    for number, wnid in enumerate(WNIDS):
        write(folder, f"train/{wnid}/{wnid}_boxes.txt", f"{wnid}_0.JPEG\t0\t0\t9\t9\n".encode())
        for i in range(2):
            write(folder, f"train/{wnid}/images/{wnid}_{i}.JPEG", jpeg(10 * number + i))
        write(folder, f"val/images/val_{number}.JPEG", jpeg(100 + number, "L" if number == 0 else "RGB"))
    write(folder, ANNOTATIONS, "".join(f"{line}\n" for line in LINES).encode())
    write(folder, "test/images/test_0.JPEG", jpeg(200))
    return folder


@pytest.fixture
def archive(folder, tmp_path, monkeypatch) -> Path:
    """The folder as a zip file elsewhere, taken for the official one at its address; the folder is gone."""
    path = tmp_path / "mirror" / ZIP
    path.parent.mkdir()
    with zipfile.ZipFile(path, "w") as file:
        for member in sorted(folder.rglob("*")):
            file.write(member, member.relative_to(folder.parent))
    shutil.rmtree(folder)
    md5 = hashlib.md5(path.read_bytes()).hexdigest()
    monkeypatch.setattr(tiny_imagenet, "ARCHIVE", Archive(ZIP, md5, (path.as_uri(),)))
    return path


def halve(folder: Path) -> None:
    """Leaves the classes of tiny-imagenet-100 and all lists."""
    for wnid in set(WNIDS) - set(FIRST):
        shutil.rmtree(folder / "train" / wnid)
    for number in (1, 3):
        (folder / f"val/images/val_{number}.JPEG").unlink()


def names(root: Path, name: str, split: str) -> list[tuple[str, int]]:
    return [(entry.name, entry.label) for entry in load_source(name, root).listed(split)]


def test_the_archive_is_the_one_of_the_course():
    assert tiny_imagenet.ARCHIVE.mirrors == ("http://cs231n.stanford.edu/tiny-imagenet-200.zip",)
    assert tiny_imagenet.ARCHIVE.md5 == "90528d7ca1a48142e341f4ef8d21d0de"


def test_the_labels_of_all_classes_are_in_the_order_of_wnids_txt(folder, root):
    assert load_source("tiny-imagenet", root).classes == WNIDS
    assert names(root, "tiny-imagenet", "train") == [
        (f"train/{wnid}/images/{wnid}_{i}.JPEG", label) for label, wnid in enumerate(WNIDS) for i in (0, 1)
    ]
    assert names(root, "tiny-imagenet", "val") == [  # by class: n04, n01, n03, n02
        ("val/images/val_1.JPEG", 0),
        ("val/images/val_2.JPEG", 1),
        ("val/images/val_3.JPEG", 2),
        ("val/images/val_0.JPEG", 3),
    ]


@pytest.mark.parametrize("half", [False, True])
def test_the_first_classes_are_sorted_by_wnid_and_need_no_others(folder, root, half):
    if half:
        halve(folder)
    assert load_source("tiny-imagenet-100", root).classes == FIRST
    assert names(root, "tiny-imagenet-100", "train") == [
        ("train/n01/images/n01_0.JPEG", 0),
        ("train/n01/images/n01_1.JPEG", 0),
        ("train/n02/images/n02_0.JPEG", 1),
        ("train/n02/images/n02_1.JPEG", 1),
    ]
    assert names(root, "tiny-imagenet-100", "val") == [("val/images/val_2.JPEG", 0), ("val/images/val_0.JPEG", 1)]


def test_a_half_of_it_is_not_taken_for_the_whole(folder, root):
    halve(folder)
    with pytest.raises(
        DatasetNotFoundError, match=r"200 is not the whole of tiny-imagenet: it lacks train/n04/images and 1 more of 4"
    ):
        load_dataset("tiny-imagenet", root)


def test_pixels_are_those_of_the_files(folder, root):
    dataset = load_dataset("tiny-imagenet", root, "val")
    assert dataset.images.shape == (4, 3, 64, 64)
    for image, number in zip(dataset.images, (1, 2, 3, 0), strict=True):
        with Image.open(folder / f"val/images/val_{number}.JPEG") as file:
            assert np.array_equal(image.permute(1, 2, 0), np.asarray(file.convert("RGB")))
    assert dataset.origin == "Tiny ImageNet, all 4 classes, central squares at 64 pixels; 1 greyscale"
    assert load_dataset("tiny-imagenet", root, size=8).images.shape == (8, 3, 8, 8)


def test_sixty_four_pixels_and_the_split_val_are_what_one_gets_unasked(folder, root):
    assert peek("tiny-imagenet", root) == (WNIDS, 64)
    assert peek("tiny-imagenet-100", root, 32) == (FIRST, 32)
    assert evaluation_split("tiny-imagenet-100") == "val"
    with pytest.raises(DatasetNotFoundError, match="tiny-imagenet has no split 'test', only train, val"):
        load_dataset("tiny-imagenet", root, "test")


def test_the_folder_may_be_the_root_itself(folder):
    assert load_source("tiny-imagenet", folder).classes == WNIDS


def test_a_store_has_what_the_files_have(folder, root):
    expected = load_dataset("tiny-imagenet-100", root, "val")
    prepare(load_source("tiny-imagenet-100", root), root / "tiny-imagenet-100-64", size=64, workers=1)
    shutil.rmtree(folder)
    assert load_dataset("tiny-imagenet-100", root, "val").sha256 == expected.sha256
    assert peek("tiny-imagenet-100", root) == (FIRST, 64)


def test_the_commands_get_prepare_verify_and_show_it(archive, root, monkeypatch):
    def call(*arguments: str) -> str:
        done = command.call("data", *arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout

    monkeypatch.setenv("ALEXNET_REPRO_DATA", str(root))
    assert "tiny-imagenet: train, val, Tiny ImageNet, all 4 classes" in call("get", "tiny-imagenet")
    assert "train: 8 images of 64 pixels" in call("prepare", "tiny-imagenet", "--workers", "1")
    assert "every file is as it was written" in call("verify", str(root / "tiny-imagenet-64"))
    assert "images a class: 1 to 1 in 4 classes" in call("show", "tiny-imagenet", "--split", "val")
    here = {line.split()[0]: line for line in call("list").splitlines() if line}
    assert "  prepared  " in here["tiny-imagenet"]
    assert "  yes  " in here["tiny-imagenet-100"]  # as an archive


def test_the_archive_is_fetched_only_when_asked_then_checked_and_unpacked(archive, root):
    with pytest.raises(DatasetNotFoundError, match=r"(?s)tiny-imagenet was not found in .*zip.*data get tiny-imagenet"):
        load_dataset("tiny-imagenet", root)
    assert list(root.iterdir()) == []
    assert load_dataset("tiny-imagenet", root, download=True).labels.tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
    assert {path.name for path in root.iterdir()} == {ZIP, "tiny-imagenet-200"}
    shutil.rmtree(root / "tiny-imagenet-200")
    assert load_source("tiny-imagenet-100", root).classes == FIRST  # from the archive that lies there


def test_another_archive_is_refused_and_not_unpacked(archive, root):
    (root / ZIP).write_bytes(archive.read_bytes()[:-1])
    with pytest.raises(ValueError, match=f"{ZIP} is not the official archive"):
        load_dataset("tiny-imagenet", root)
    assert [path.name for path in root.iterdir()] == [ZIP]


@pytest.mark.parametrize("name", ["../stray.txt", "/stray.txt", "a/../../stray.txt"])
def test_a_zip_file_that_leads_out_of_its_folder_is_not_unpacked(root, name):
    with zipfile.ZipFile(root / "a.zip", "w") as file:
        file.writestr("a/good.txt", "good")
        file.writestr(name, "stray")
    with pytest.raises(ValueError, match=rf"a\.zip was not unpacked: its member {name} would lie outside"):
        unpack(root / "a.zip", "a")
    assert [path.name for path in root.iterdir()] == ["a.zip"]


def test_a_damaged_zip_file_leaves_nothing_behind(root):
    with zipfile.ZipFile(root / "a.zip", "w") as file:
        file.writestr("a/good.txt", "good")
        file.writestr("a/bad.txt", "some content")
    (root / "a.zip").write_bytes((root / "a.zip").read_bytes().replace(b"some content", b"sOme content"))
    with pytest.raises(zipfile.BadZipFile, match=r"a/bad\.txt"):
        unpack(root / "a.zip", "a")
    assert [path.name for path in root.iterdir()] == ["a.zip"]


@pytest.mark.parametrize("place", ["wnids.txt", ANNOTATIONS, "val/images", "train/n03/images"])
def test_a_missing_part_is_named(folder, root, place):
    path = folder / place
    path.unlink() if path.is_file() else shutil.rmtree(path)
    for where in (root, folder):
        with pytest.raises(DatasetNotFoundError, match=f"it lacks {place}.\n.*data get tiny-imagenet"):
            load_source("tiny-imagenet", where)


@pytest.mark.parametrize(
    ("wnids", "words"), [("n01 n02 n03", "3 words, 3"), ("n01 n02 n03 n03", "4 words, 3"), ("", "0 words, 0")]
)
def test_wnids_txt_must_list_all_classes_once(folder, root, wnids, words):
    (folder / "wnids.txt").write_text(wnids)
    for name in ("tiny-imagenet", "tiny-imagenet-100"):
        with pytest.raises(
            ValueError, match=rf"wnids\.txt has {words} of them different, but it must list the 4 classes"
        ):
            load_source(name, root)


@pytest.mark.parametrize(
    ("place", "content", "message"),
    [
        ("train/n01/images/notes.txt", b"x", "train/n01/images/notes.txt is no image of this class"),
        ("train/n01/images/n02_7.JPEG", jpeg(7), "train/n01/images/n02_7.JPEG is no image of this class"),
        ("train/n09/images/n09_0.JPEG", jpeg(7), "train/n09 is no class of wnids.txt"),
        ("train/n03/images/n03_2.JPEG", jpeg(7), "train has 9 images, but tiny-imagenet has 8"),
        ("train/n03/images/n03_1.JPEG", None, "train has 7 images, but tiny-imagenet has 8"),
        ("val/images/val_2.JPEG", None, "val/images/val_2.JPEG is missing, but val/val_annotations.txt has it"),
        ("val/images/val_9.JPEG", jpeg(7), "val/images/val_9.JPEG has no line in val/val_annotations.txt"),
        ("val/images/notes.txt", b"x", "val/images/notes.txt has no line in val/val_annotations.txt"),
    ],
)
def test_a_file_too_many_or_too_few_is_refused(folder, root, place, content, message):
    """None: the file is removed."""
    (folder / place).unlink() if content is None else write(folder, place, content)
    with pytest.raises(ValueError, match=f"^{re.escape(message)}"):
        load_dataset("tiny-imagenet", root, place.partition("/")[0])


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("val_3.JPEG\tn03\t0\t0\t9", "line 4, must be a file, a wnid and four numbers"),
        ("val_3.JPEG n03 0 0 9 9", "line 4, must be a file, a wnid and four numbers .* not 'val_3.JPEG n03 0 0 9 9'"),
        ("val_3.JPEG\tn03\t0\t0\t9\tx", "line 4, must be a file, a wnid and four numbers"),
        ("", "line 4, must be a file, a wnid and four numbers .* not ''"),
        ("val_3.JPEG\tn99\t0\t0\t9\t9", r"line 4, gives val_3\.JPEG the class n99, which wnids\.txt lacks"),
        ("val_2.JPEG\tn03\t0\t0\t9\t9", r"line 4, annotates val_2\.JPEG once more"),
    ],
)
def test_a_bad_line_of_the_annotations_is_refused_by_number(folder, root, line, message):
    (folder / ANNOTATIONS).write_text("\n".join([*LINES[:3], line, ""]))
    for name in ("tiny-imagenet", "tiny-imagenet-100"):
        with pytest.raises(ValueError, match=f"^val/val_annotations.txt, {message}"):
            load_dataset(name, root, "val")


def test_an_empty_class_is_named(folder, root):
    for i in (0, 1):
        (folder / f"train/n03/images/n03_{i}.JPEG").unlink()
    with pytest.raises(ValueError, match="train/n03/images has no images"):
        load_dataset("tiny-imagenet", root)


@pytest.mark.parametrize("place", ["train/n03/images/n03_1.JPEG", "val/images/val_3.JPEG"])
def test_a_damaged_image_is_named(folder, root, place):
    (folder / place).write_bytes((folder / place).read_bytes()[:900])
    with pytest.raises(ImageError, match=rf"{place} is not a readable image"):
        load_dataset("tiny-imagenet", root, place.partition("/")[0])
    (folder / place).unlink()
    (folder / place).symlink_to(folder / "nowhere")
    with pytest.raises(ImageError, match=rf"{place} is not a readable image: no regular file"):
        load_dataset("tiny-imagenet", root, place.partition("/")[0])


def test_tolerant_lists_what_it_leaves_out(folder, root, tmp_path):
    write(folder, "train/n01/images/notes.txt", b"x")
    (folder / "train/n02/images/n02_0.JPEG").write_bytes(b"no image")
    (folder / "val/images/val_2.JPEG").unlink()
    store = prepare(load_source("tiny-imagenet-100", root), tmp_path / "store", size=64, tolerant=True, workers=1)
    skipped = {split: [name for name, _ in store.manifest["splits"][split]["skipped"]] for split in store.splits}
    assert skipped == {
        "train": ["train/n01/images/notes.txt", "train/n02/images/n02_0.JPEG"],
        "val": ["val/images/val_2.JPEG", "val"],  # the last: an image too few
    }


def test_hidden_files_are_no_images(folder, root):
    for place in ("train", "train/n01/images", "val/images"):
        write(folder, f"{place}/.DS_Store", b"x")
    assert len(names(root, "tiny-imagenet", "train")) == 8
    assert len(names(root, "tiny-imagenet", "val")) == 4


@pytest.mark.real_data
def test_the_real_first_hundred_classes_are_all_there(monkeypatch):
    monkeypatch.undo()  # the numbers are the real ones
    root = os.environ["ALEXNET_REPRO_DATA"]
    source = load_source("tiny-imagenet-100", root)
    assert len(source.classes) == 100
    assert source.classes[0] == "n01443537"
    assert list(source.classes) == sorted(source.classes)
    wnids = (Path(root) / "tiny-imagenet-200" / "wnids.txt").read_text().split()
    assert source.classes[0] == min(wnids)
    for split, count in (("train", 50_000), ("val", 5_000)):
        entries = list(source.listed(split))
        assert np.bincount([entry.label for entry in entries]).tolist() == [count // 100] * 100
        sizes = set()
        for entry in entries:
            with Image.open(entry.file) as image:
                sizes.add(image.size)
        assert sizes == {(64, 64)}
    dataset = load_dataset("tiny-imagenet-100", root, "val")
    assert dataset.images.shape == (5_000, 3, 64, 64)
    assert dataset.images.double().mean((0, 2, 3)).tolist() == pytest.approx([123, 114, 102], abs=6)  # as ImageNet's
