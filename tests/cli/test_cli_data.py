import json
import re
from dataclasses import replace
from pathlib import Path

import command
import numpy as np
import pytest
from PIL import Image

from alexnet_repro.data import Store, imagenet
from alexnet_repro.data.folders import folder_source
from alexnet_repro.data.known import KNOWN, NAMES
from alexnet_repro.data.store import MANIFEST
from alexnet_repro.support.values import digest


@pytest.fixture
def call(monkeypatch, tmp_path):
    """The command line on data sets under ``tmp_path / "data"``: exit status, output, complaints."""
    monkeypatch.setenv("ALEXNET_REPRO_DATA", str(tmp_path / "data"))

    def call(*arguments: str) -> tuple[int, str, str]:
        done = command.call("data", *arguments)
        return done.returncode, done.stdout, done.stderr

    return call


@pytest.fixture
def images(tmp_path) -> Path:
    for i in range(6):
        path = tmp_path / "zoo" / "ab"[i % 2] / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 10), (i, 0, 0)).save(path)
    return tmp_path / "zoo"


def test_list_names_every_data_set_and_says_which_are_here(call, tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "imagenette2-320.tgz").touch()
    _, out, _ = call("list")
    here = {line.split()[0]: line for line in out.splitlines() if line.startswith(NAMES)}
    assert set(here) == set(NAMES)
    assert "  yes  " in here["imagenette-320"]
    assert "  yes  " in here["photos"]
    assert "  no  " in here["imagenet"]


@pytest.mark.parametrize(
    ("name", "part", "whole"),
    [
        ("imagenet", [imagenet.TRAIN[0]], [imagenet.TRAIN[0], imagenet.VAL[0], imagenet.DEVKIT[0]]),
        ("imagenet", ["train/n15075141/"], ["train/n15075141/", "val/"]),
        ("imagenette", ["imagenette2/train/n03888257/"], [f"imagenette2/{x}/n03888257/" for x in ("train", "val")]),
        ("imagenette", ["train/n03888257/"], ["train/n03888257/", "val/n03888257/"]),
        ("tiny-imagenet", ["train/n12267677/"], ["train/n12267677/", "wnids.txt"]),
        ("cifar10", ["train/dog/"], ["cifar-10-batches-py/"]),
    ],
)
def test_list_takes_no_part_for_the_whole_wherever_it_lies(call, tmp_path, name, part, whole):
    for files, said in (([], "no"), (part, "no"), (whole, "yes")):
        for file in files:
            path = tmp_path / "data" / file
            path.mkdir(parents=True, exist_ok=True) if file.endswith("/") else path.touch()
        _, out, _ = call("list")
        here = {line.split()[0]: line for line in out.splitlines() if line.startswith(NAMES)}
        assert f"  {said}  " in here[name]
        assert "  yes  " in here["photos"]  # whose files come with a package, root or no root
        (tmp_path / "data").mkdir(exist_ok=True)


def test_a_folder_with_the_name_of_a_known_data_set_does_not_become_that_one(call, images, tmp_path):
    own = images.rename(tmp_path / "imagenette")
    status, _, err = call("prepare", str(own), "--size", "12")
    assert status == 2
    assert "would be prepared as imagenette, which is another data set: say where to with --out" in err
    assert not (tmp_path / "data").exists()
    assert call("prepare", str(own), "--size", "12", "--out", str(tmp_path / "mine"), "--workers", "1")[0] == 0


def test_nothing_is_written_where_it_would_be_taken_for_a_class_of_images(call, images, monkeypatch):
    monkeypatch.chdir(images)
    before = sorted(images.rglob("*"))
    monkeypatch.setenv("ALEXNET_REPRO_DATA", "data")
    status, _, err = call("prepare", ".", "--size", "12")
    assert status == 2
    assert "data/zoo-12 lies in ., where it would be taken for images: say where else to with --out" in err
    assert sorted(images.rglob("*")) == before
    assert call("prepare", ".", "--size", "12", "--out", "../mine", "--workers", "1")[0] == 0


def test_a_store_is_shown_by_the_name_of_its_data_set_and_from_the_home_folder(call, images, tmp_path, monkeypatch):
    monkeypatch.setitem(KNOWN, "zoo", replace(KNOWN["imagenette"], source=lambda root, download: folder_source(images)))
    assert call("prepare", "zoo", "--size", "12", "--workers", "1")[0] == 0
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("zoo", "~/data/zoo-12", str(tmp_path / "data" / "zoo-12")):
        status, out, _ = call("show", name, "--size", "12")
        assert status == 0
        assert "0 repaired, 0 skipped" in out


def test_a_folder_is_prepared_verified_and_shown(call, images, tmp_path):
    status, out, err = call("prepare", str(images), "--size", "12", "--workers", "1")
    store = tmp_path / "data" / "zoo-12"
    assert (status, err) == (0, "")  # no bar where there is no terminal
    assert "6 images of 12 pixels" in out
    assert len(Store.open(store).dataset()) == 6
    assert call("verify", str(store))[0] == 0
    status, out, _ = call("show", str(store), "--sheet", str(tmp_path / "sheet.png"))
    assert "images a class: 3 to 3 in 2 classes" in out
    assert "mean of R, G, B: 2.5, 0.0, 0.0" in out
    assert Store.open(store).dataset().sha256 in out
    sheet = np.asarray(Image.open(tmp_path / "sheet.png"))
    assert sheet.shape == (24, 120, 3)
    assert sheet[0, ::12, 0].tolist() == [0, 2, 4, *[255] * 7]
    images = store / "train-images.npy"
    images.write_bytes(images.read_bytes()[:-1] + b"\x01")
    status, out, err = call("verify", str(store))
    assert status == 1
    assert "train-images.npy is not what was written" in err


def test_what_was_prepared_before_is_said_to_be_kept_for_its_files_are_not_read_again(call, images, tmp_path):
    arguments = ("prepare", str(images), "--size", "12", "--workers", "1")
    said = "before, and what was made then is kept: names and sizes of the files agree, their contents were not"
    (images / "b" / "5.png").rename(tmp_path / "5.png")
    (images / "b" / "5.png").write_bytes(bytes((tmp_path / "5.png").stat().st_size))
    status, out, _ = call(*arguments)
    assert (status, out) == (2, "")
    (tmp_path / "5.png").rename(images / "b" / "5.png")
    assert f"zoo-12 was begun {said}" in call(*arguments)[1]
    assert f"zoo-12 was prepared {said}" in call(*arguments)[1]
    status, out, _ = call(*arguments, "--out", str(tmp_path / "another"))
    assert (status, said in out) == (0, False)


def test_a_store_that_an_earlier_version_made_is_shown(call, images, tmp_path):
    """It calls the number of images by another name."""
    call("prepare", str(images), "--size", "12", "--workers", "1")
    path = tmp_path / "data" / "zoo-12" / MANIFEST
    manifest = json.loads(path.read_text())
    manifest.pop("sha256")
    for entry in manifest["splits"].values():
        entry["pictures"] = entry.pop("images")
    path.write_text(json.dumps(manifest | {"sha256": digest(manifest)}))
    status, out, _ = call("show", str(path.parent))
    assert (status, "6 images of 12 pixels" in out) == (0, True)


def test_tolerant_names_what_was_skipped(call, images):
    (images / "a" / "bad.jpg").write_text("no image")
    status, _, err = call("prepare", str(images), "--size", "12", "--workers", "1")
    assert status == 2
    assert f"{images}/a/bad.jpg is not a readable image" in err
    status, out, _ = call("prepare", str(images), "--size", "12", "--workers", "1", "--tolerant")
    assert status == 0
    assert "skipped a/bad.jpg: it is not a readable image" in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["get", "mnist"], "data set must be one of photos"),
        (["get", "imagenet"], "can't be fetched for you"),
        (["prepare", "photos"], "photos need not be prepared"),
        (["prepare", "imagenette"], "imagenette was not found in"),
        (["verify", "."], "holds no prepared data set"),
        (["verify", "nowhere"], "nowhere holds no prepared data set"),
        (["list", "--size", "0"], "size must be a whole number of at least 1, not 0"),
        (["show", "nowhere"], "or the path of a folder, not 'nowhere'"),
    ],
)
def test_what_a_user_can_mend_ends_in_one_message(call, arguments, message):
    status, _, err = call(*arguments)
    assert status == 2
    assert message in err
    assert "Traceback" not in err


def test_the_form_and_the_root_that_are_asked_for_are_those_of_the_store(call, images, tmp_path, monkeypatch):
    monkeypatch.setitem(KNOWN, "zoo", replace(KNOWN["imagenette"], source=lambda root, download: folder_source(images)))
    assert (
        call("prepare", "zoo", "--size", "12", "--form", "jpeg", "--root", str(tmp_path / "r"), "--workers", "1")[0]
        == 0
    )
    assert list((tmp_path / "r" / "zoo-12").glob("*.tar"))


def test_the_axes_that_are_shown_are_those_of_the_colours(call, tmp_path):
    for shade in (0, 100, 255):
        file = tmp_path / "reds" / "train" / "red" / f"{shade}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8), (shade, shade // 2, 0)).save(file)
    status, out, _ = call("show", str(tmp_path / "reds"), "--size", "8")
    assert status == 0
    (first,) = re.findall(r"axis \(\+0\.8\d+, \+0\.4\d+, \+0\.000\): standard deviation 11\d", out)
    assert out.index(first) < out.index("standard deviation 0.")


def test_images_that_the_memory_can_not_hold_end_in_one_message(call, images):
    status, _, err = call("show", str(images), "--size", "100000000")
    assert (status, err.count("\n")) == (2, 1)
    assert f"prepare them with: alexnet-repro data prepare {images} --size 100000000" in err


def test_get_says_what_is_here(call):
    assert "photos: 1,500 images for training" in call("get", "photos")[1]
