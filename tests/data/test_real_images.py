"""On the real images in the folder that ALEXNET_REPRO_DATA names."""

import os
from pathlib import Path

import pytest
import torch

from alexnet_repro import InputConfig, PCAColor
from alexnet_repro.data import Batches, load_dataset, load_source, prepare
from alexnet_repro.data.inputs import InputTransform

pytestmark = pytest.mark.real_data


def root() -> Path:
    return Path(os.environ["ALEXNET_REPRO_DATA"])


@pytest.mark.parametrize("form", ["raw", "jpeg"])
def test_images_of_imagenet_of_every_size_are_prepared_verified_and_loaded(form, tmp_path):
    source = load_source(str(root() / "imagenet-samples"))
    store = prepare(source, tmp_path / "store", form=form)
    assert list(store.verify()) == []
    entry = store.manifest["splits"]["train"]
    assert entry["images"] == 100
    assert set(entry["counts"].values()) == {1}
    assert sum("greyscale" in repair for _, repair in entry["repaired"]) == 23
    sides = entry["shorter_sides"]
    assert sides["smallest"] < 256
    assert sides["largest"] > 1000
    assert entry["skipped"] == []
    config = InputConfig(crop=224, views="ten", color="run145", batch_size=32)
    dataset = load_dataset(str(tmp_path / "store"))
    batches = Batches(dataset, InputTransform.fit(config, dataset.moments), torch.Generator().manual_seed(0))
    seen = [(inputs, labels) for inputs, labels in batches]
    assert [tuple(inputs.shape) for inputs, _ in seen] == [(32, 3, 224, 224)] * 3 + [(4, 3, 224, 224)]
    assert sorted(torch.cat([labels for _, labels in seen]).tolist()) == list(range(100))


def test_the_colour_axes_of_imagenette_are_imagenet_s_within_15_degrees(tmp_path):
    source = load_source("imagenette", root() / "imagenette-128")
    store = prepare(source, tmp_path / "store", size=64)
    assert [store.manifest["splits"][split]["images"] for split in ("train", "val")] == [9_469, 3_925]
    ours, theirs = PCAColor.fit(store.dataset().moments), PCAColor.imagenet()
    cosines = (ours.axes * theirs.axes).sum(0).abs().clamp(max=1)
    assert cosines.acos().rad2deg().max() < 15
    assert ours.deviations.tolist() == pytest.approx(theirs.deviations.tolist(), rel=0.35)
