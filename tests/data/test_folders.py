import errno
import os
import tracemalloc

import numpy as np
import pytest
from PIL import Image

from alexnet_repro.data import DatasetNotFoundError, ImageError, load_dataset
from alexnet_repro.data.folders import ImageFile, Problem, folder_source, read_class_folders


def save(path, colour, size=(4, 4), mode="RGB"):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, colour).save(path)


def test_images_come_by_class_and_then_by_name(tmp_path):
    save(tmp_path / "b" / "2.png", (2, 0, 0))
    save(tmp_path / "b" / "1.png", (1, 0, 0))
    save(tmp_path / "a" / "9.png", (9, 0, 0))
    (tmp_path / "a" / ".DS_Store").write_text("hidden files are no images")
    images, labels = read_class_folders(tmp_path, ("b", "a"), size=4)
    assert images[:, 0, 0, 0].tolist() == [1, 2, 9]
    assert labels.tolist() == [0, 0, 1]
    assert images.shape == (3, 3, 4, 4)


def test_channels_are_in_the_order_rgb_and_rows_are_rows(tmp_path):
    pixels = np.zeros((4, 4, 3), np.uint8)
    pixels[0, 1] = (10, 20, 30)
    (tmp_path / "a").mkdir()
    Image.fromarray(pixels).save(tmp_path / "a" / "1.png")
    images, _ = read_class_folders(tmp_path, ("a",), size=4)
    assert images[0, :, 0, 1].tolist() == [10, 20, 30]


def test_grey_images_become_rgb(tmp_path):
    save(tmp_path / "a" / "1.png", 77, mode="L")
    images, _ = read_class_folders(tmp_path, ("a",), size=4)
    assert images.unique().tolist() == [77]


def test_a_file_that_is_no_image_is_named(tmp_path):
    save(tmp_path / "a" / "1.png", 0, mode="L")
    (tmp_path / "a" / "2.jpg").write_text("not an image")
    with pytest.raises(ValueError, match=r"2\.jpg is not a readable image"):
        read_class_folders(tmp_path, ("a",), size=4)


def test_an_image_of_another_size_is_named_with_its_size(tmp_path):
    save(tmp_path / "a" / "1.png", (0, 0, 0), size=(5, 4))
    with pytest.raises(ValueError, match=r"1\.png has 5x4 pixels; here 4x4"):
        read_class_folders(tmp_path, ("a",), size=4)


def test_an_empty_class_is_named(tmp_path):
    save(tmp_path / "a" / "1.png", (0, 0, 0))
    (tmp_path / "b").mkdir()
    with pytest.raises(ValueError, match="b has no images"):
        read_class_folders(tmp_path, ("a", "b"), size=4)


def test_a_folder_without_splits_is_for_training(tmp_path):
    save(tmp_path / "zebra" / "1.png", (1, 0, 0), size=(9, 6))
    save(tmp_path / "Äpfel" / "ä.png", 77, mode="L")
    dataset = load_dataset(str(tmp_path), size=4)
    assert dataset.classes == ("zebra", "Äpfel")
    assert dataset.images[:, 0, 0, 0].tolist() == [1, 77]
    assert dataset.images.shape == (2, 3, 4, 4)
    assert dataset.origin == f"class folders {tmp_path.name}, central squares at 4 pixels; 1 greyscale"
    with pytest.raises(DatasetNotFoundError, match="has no split 'val', only train"):
        load_dataset(str(tmp_path), split="val")


def test_no_name_and_no_size_below_1_is_taken(tmp_path, monkeypatch):
    save(tmp_path / "a" / "1.png", (1, 0, 0))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match="or the path of a folder, not ''"):
        load_dataset("")
    for size in (0, -1):
        with pytest.raises(ValueError, match=f"size must be a whole number of at least 1, not {size}"):
            load_dataset(str(tmp_path), size=size)


def test_split_folders_are_splits_and_share_the_training_classes(tmp_path):
    for split, shades in (("train", (1, 2)), ("val", (3, 4))):
        for name, shade in zip("ab", shades, strict=True):
            save(tmp_path / split / name / "1.png", (shade, 0, 0))
    assert load_dataset(str(tmp_path), split="val", size=4).images[:, 0, 0, 0].tolist() == [3, 4]
    assert load_dataset(str(tmp_path), split="train", size=4).images[:, 0, 0, 0].tolist() == [1, 2]
    save(tmp_path / "val" / "c" / "1.png", (5, 0, 0))
    with pytest.raises(ValueError, match="val/c is a class that train lacks"):
        load_dataset(str(tmp_path), split="val", size=4)
    assert len(load_dataset(str(tmp_path), size=4)) == 2


@pytest.mark.parametrize(("name", "split"), [("valid", "val"), ("validation", "val"), ("Train", "train")])
def test_a_folder_with_nearly_the_name_of_a_split_is_not_passed_over(tmp_path, name, split):
    for place in ("test", name):
        save(tmp_path / place / "a" / "1.png", (1, 0, 0))
    save(tmp_path / "training" / "1.png", (1, 0, 0))  # a class of this name
    with pytest.raises(ValueError, match=f"{name} looks like a split, but its name is none: rename it {split}"):
        folder_source(tmp_path)


def test_a_class_that_is_missing_from_a_split_is_named(tmp_path):
    for place in ("train/a", "train/b", "val/a"):
        save(tmp_path / place / "1.png", (0, 0, 0))
    with pytest.raises(ValueError, match="val/b has no images"):
        load_dataset(str(tmp_path), split="val", size=4)


def test_what_to_do_about_an_empty_class_depends_on_whether_train_has_it(tmp_path):
    for place in ("train/a", "train/b", "val/a"):
        save(tmp_path / place / "1.png", (0, 0, 0))
    source = folder_source(tmp_path)
    assert list(source.listed("val"))[-1] == Problem(
        "val/b", "has no images: add some, or remove the class from train too"
    )
    (tmp_path / "train" / "b" / "1.png").unlink()
    assert list(source.listed("train"))[-1] == Problem("train/b", "has no images: add some, or remove the class")
    (tmp_path / "train" / "b").rmdir()
    (tmp_path / "val" / "b").mkdir()
    assert next(folder_source(tmp_path).listed("val")) == Problem(
        "val/b", "is a class that train lacks; it has 1. Remove it, or add it there."
    )


@pytest.mark.parametrize("place", [b"a/caf\xe9.png", b"caf\xe9.txt"])
def test_a_file_whose_name_is_not_utf_8_is_a_problem_that_names_it(tmp_path, place):
    save(tmp_path / "a" / "1.png", (0, 0, 0))
    (tmp_path / os.fsdecode(place)).write_bytes((tmp_path / "a" / "1.png").read_bytes())
    entries = list(folder_source(tmp_path).listed("train"))
    shown = place.decode("utf-8", "backslashreplace")
    assert shown.count("\\xe9") == 1
    assert [entry.name for entry in entries if isinstance(entry, Problem)] == [shown]
    assert [entry.name for entry in entries if isinstance(entry, ImageFile)] == ["a/1.png"]


@pytest.mark.parametrize("place", [b"folder/caf\xe9", b"caf\xe9/a"])
def test_a_class_or_folder_whose_name_is_not_utf_8_is_refused_by_name(tmp_path, place):
    folder = tmp_path / os.fsdecode(place)
    folder.mkdir(parents=True)
    with pytest.raises(ValueError, match=r"the (class|folder) caf\\xe9 has a name that is not UTF-8\. Rename it\."):
        folder_source(folder.parent)


def test_a_folder_is_decoded_without_a_second_copy_of_its_images(tmp_path, monkeypatch):
    for number in range(40):
        save(tmp_path / "a" / f"{number:02d}.png", (number, 0, 0))
    save(tmp_path / "a" / "39.png", 77, mode="L")
    tracemalloc.start()  # numpy's memory is seen by it, torch's is not
    dataset = load_dataset(str(tmp_path), size=256)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert dataset.images[:, 0, 0, 0].tolist() == [*range(39), 77]
    assert dataset.origin.endswith("; 1 greyscale")
    assert dataset.images.is_contiguous()
    assert peak < 2 * dataset.images.nbytes


def test_an_image_whose_archive_is_gone_is_named(tmp_path):
    with pytest.raises(ImageError, match=r"train/1\.jpg can't be read from a\.tar: No such file"):
        ImageFile("train/1.jpg", 0, tmp_path / "a.tar", 10, offset=512).open()


def test_a_folder_of_images_without_classes_is_refused(tmp_path):
    save(tmp_path / "1.png", (0, 0, 0))
    with pytest.raises(ValueError, match="has no class folders: images belong in"):
        load_dataset(str(tmp_path), size=4)


def test_a_folder_within_a_class_is_no_image(tmp_path):
    save(tmp_path / "a" / "1.png", (0, 0, 0))
    (tmp_path / "a" / "more").mkdir()
    with pytest.raises(ImageError, match="more is not a readable image"):
        load_dataset(str(tmp_path), size=4)


def test_a_class_that_can_not_be_listed_is_a_problem(tmp_path, monkeypatch):
    for name in "ab":
        save(tmp_path / name / "1.png", (0, 0, 0))
    real = os.scandir

    def scandir(path):
        if str(path).endswith("/a"):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    entries = list(folder_source(tmp_path).listed("train"))
    assert entries[0] == Problem("a", "can't be listed: Permission denied")
    assert [entry.name for entry in entries[1:]] == ["b/1.png"]


def test_a_file_that_can_not_be_opened_is_named_with_the_reason(tmp_path, monkeypatch):
    save(tmp_path / "a" / "1.png", (0, 0, 0))

    def denied(*_, **__):
        raise PermissionError(errno.EACCES, "Permission denied", "somewhere")

    monkeypatch.setattr(Image, "open", denied)
    with pytest.raises(ImageError, match=r"a/1\.png is not a readable image: Permission denied"):
        load_dataset(str(tmp_path), size=4)


@pytest.mark.parametrize("names", [("test", "train"), ("train",), ("Training", "validation"), ("test1", "train2017")])
def test_folders_named_like_splits_are_not_taken_for_classes(tmp_path, names):
    for name in names:
        save(tmp_path / name / "1.png", (0, 0, 0))
    with pytest.raises(
        ValueError, match=rf"has only the folders {', '.join(sorted(names))}, .* images belong in .*/train/<class>/"
    ):
        folder_source(tmp_path)


@pytest.mark.parametrize("names", [("bus", "train"), ("bus", "test", "train", "val"), ("test1", "test2", "test3")])
def test_a_class_may_have_the_name_of_a_split(tmp_path, names):
    for name in names:
        save(tmp_path / name / "1.png", (0, 0, 0))
    assert folder_source(tmp_path).classes == names
    for name in names:
        save(tmp_path / "sorted" / "train" / name / "1.png", (0, 0, 0))
    assert folder_source(tmp_path / "sorted").classes == names


@pytest.mark.parametrize("name", ["val", "Validation", "valid"])
def test_images_for_validation_without_class_folders_are_not_passed_over(tmp_path, name):
    save(tmp_path / "train" / "a" / "1.png", (0, 0, 0))
    (tmp_path / name).mkdir()
    (tmp_path / name / "notes.txt").write_text("no image")
    save(tmp_path / "test" / "1.png", (0, 0, 0))  # has no labels, as that of a contest
    assert list(folder_source(tmp_path).listings) == ["train"]
    save(tmp_path / name / "1.png", (0, 0, 0))
    with pytest.raises(
        ValueError, match=rf"/{name} has no class folders: images for validation belong in {tmp_path}/val/<class>/"
    ):
        load_dataset(str(tmp_path), size=4)
    save(tmp_path / "val" / "a" / "1.png", (0, 0, 0))
    assert list(folder_source(tmp_path).listings) == ["train", "val"]


@pytest.mark.parametrize("name", ["Thumbs.db", "thumbs.db", "desktop.ini", "__MACOSX", "@eaDir", "lost+found", ".git"])
def test_what_systems_leave_in_a_folder_is_passed_over(tmp_path, name):
    save(tmp_path / "a" / "1.png", (0, 0, 0))
    for place in (tmp_path, tmp_path / "a"):
        (place / name).write_text("no image") if "." in name[1:] else (place / name).mkdir()
    source = folder_source(tmp_path)
    assert source.classes == ("a",)
    assert [entry.name for entry in source.listed("train")] == ["a/1.png"]


def test_images_that_the_memory_can_not_hold_are_to_be_prepared(tmp_path):
    save(tmp_path / "my zoo" / "a" / "1.png", (0, 0, 0))
    with pytest.raises(MemoryError) as error:
        load_dataset(str(tmp_path / "my zoo"), size=10**8)
    assert str(error.value) == (
        "1 images of 100000000 pixels take 27,939,677.2 GiB of memory, more than there is: prepare them with: "
        f"alexnet-repro data prepare '{tmp_path}/my zoo' --size 100000000, and load the folder that it writes"
    )
