"""A data set that is too large for memory is read a few images at a time, by everything that looks at it."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from command import call
from PIL import Image
from run_case import CONFIG

from alexnet_repro import PCAColor
from alexnet_repro.claims import sweep
from alexnet_repro.claims.studies import STUDIES
from alexnet_repro.data import Dataset, load_dataset, prepare
from alexnet_repro.data.folders import folder_source
from alexnet_repro.data.store import JpegImages
from alexnet_repro.report import drawings
from alexnet_repro.training.checkpoint import Files
from alexnet_repro.training.record import Record
from alexnet_repro.training.run import run

MOST = 256  # images at a time
IMAGES = {"train": 330, "val": 600}


@pytest.fixture
def store(tmp_path, monkeypatch) -> str:
    """The place of a prepared data set that refuses to be read in larger parts, from its preparation on."""
    select, split = JpegImages.index_select, JpegImages.split

    def selected(images: JpegImages, dim: int, rows: torch.Tensor) -> torch.Tensor:
        assert len(rows) <= MOST, f"{len(rows)} images at once"
        return select(images, dim, rows)

    def parted(images: JpegImages, size: int) -> object:
        assert size <= MOST, f"{size} images at once"
        return split(images, size)

    monkeypatch.setattr(JpegImages, "index_select", selected)
    monkeypatch.setattr(JpegImages, "split", parted)
    pixels = np.random.default_rng(0).integers(0, 256, (20, 16, 16, 3), np.uint8)
    for name, count in IMAGES.items():
        for i in range(count):
            path = tmp_path / "images" / name / f"class{i % 3}" / f"{i}.bmp"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels[i % 20]).save(path)
    prepare(folder_source(tmp_path / "images"), tmp_path / "store", size=16, form="jpeg", workers=1)
    return str(tmp_path / "store")


def in_memory(*arguments: object, **options: object) -> Dataset:
    stored = load_dataset(*arguments, **options)
    whole = replace(stored, images=torch.cat(list(stored.images.split(MOST))))
    vars(whole)["moments"] = stored.moments  # of the pixels before they were stored as JPEG
    return whole


def test_a_training_an_evaluation_and_an_export_read_a_few_images_at_a_time(store, tmp_path):
    config = replace(CONFIG, dataset=store, train=replace(CONFIG.train, epochs=1, schedule=None))
    stored = run(config, Files.of_folder(tmp_path / "out"))
    assert [record["images"] for record in stored.data.values()] == list(IMAGES.values())
    whole = run(config, load=in_memory)
    assert (whole.final, whole.mistakes) == (stored.final, stored.mistakes)
    for arguments in (
        ["evaluate", "out", "--views", "ten", "--per-class", "--csv", "out.csv"],
        ["export", "out", "out.pt", "--likeness"],
        ["data", "show", store, "--sheet", "sheet.png"],
        ["data", "verify", store],
    ):
        done = call(*arguments, cwd=tmp_path)
        assert (done.returncode, done.stderr) == (0, "")


def test_the_run_of_a_claim_and_the_figure_of_colours_read_a_few_images_at_a_time(
    store, tmp_path, tiny_claim, monkeypatch
):
    protocol = tiny_claim.protocol("smoke")
    arms = {name: replace(arm, net=replace(arm.net, image_size=16)) for name, arm in protocol.arms.items()}
    stored = replace(protocol, dataset=store, arms=arms)
    monkeypatch.setitem(STUDIES, "tiny", replace(tiny_claim.study, protocols={"smoke": stored}))
    monkeypatch.setattr(sweep, "_settled", lambda device: device)
    record = sweep.run_one("tiny", "smoke", "relu", 0, out=tmp_path / "evidence")
    assert Record.load(tmp_path / "evidence" / record.path).final == record.final
    dataset = load_dataset(store)
    assert drawings.color_axes(dataset, PCAColor.fit(dataset.moments)).axes
