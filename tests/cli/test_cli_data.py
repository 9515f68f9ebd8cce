import json
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from alexnet_repro.cli import main
from alexnet_repro.data import NAMES, Store
from alexnet_repro.data.store import MANIFEST
from alexnet_repro.support.values import digest


@pytest.fixture
def call(monkeypatch, capsys, tmp_path):
    """The command line on data sets under ``tmp_path / "data"``: exit status, output, complaints."""
    monkeypatch.setenv("ALEXNET_REPRO_DATA", str(tmp_path / "data"))

    def call(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["alexnet-repro", "data", *arguments])
        with pytest.raises(SystemExit) as ended:
            main.main()
        out, err = capsys.readouterr()
        return ended.value.code or 0, out, err

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
        (["prepare", "photos"], "photos needs no preparing"),
        (["prepare", "imagenette"], "imagenette was not found in"),
        (["verify", "."], "holds no prepared data set"),
        (["show", "nowhere"], "or the path of a folder, not 'nowhere'"),
    ],
)
def test_what_a_user_can_mend_ends_in_one_message(call, arguments, message):
    status, _, err = call(*arguments)
    assert status == 2
    assert message in err
    assert "Traceback" not in err


def test_get_says_what_is_here(call):
    assert "photos: 1,500 images for training" in call("get", "photos")[1]
