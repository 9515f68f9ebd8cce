import json

import numpy as np
import pytest
import torch
from PIL import Image

from alexnet_repro.data import Batches, Dataset, DatasetNotFoundError, Store, StoreError, load_dataset, prepare
from alexnet_repro.data.config import InputConfig
from alexnet_repro.data.dataset import pixels_sha256
from alexnet_repro.data.folders import folder_source
from alexnet_repro.data.inputs import InputTransform


@pytest.fixture(scope="module", params=["raw", "jpeg"])
def made(request, tmp_path_factory):
    """A store of ten smooth images of two classes, each of another shade."""
    root = tmp_path_factory.mktemp(request.param)
    for i in range(10):
        path = root / "images" / "ab"[i % 2] / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (20, 20), (25 * i, 100, 200)).save(path)
    return prepare(folder_source(root / "images"), root / "store", size=16, form=request.param, workers=1)


@pytest.fixture
def store(made, tmp_path):
    """A copy that may be damaged."""
    for path in made.folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    return Store.open(tmp_path)


def test_images_of_a_store_are_rows_like_a_tensor_s(made):
    images = made.dataset().images
    everything = images[:]
    assert images.shape == everything.shape == (10, 3, 16, 16)
    assert everything.dtype == images.dtype == torch.uint8
    assert everything[:, 0, 8, 8].tolist() == pytest.approx([0, 50, 100, 150, 200, 25, 75, 125, 175, 225], abs=2)
    rows = torch.tensor([7, 0, 7])
    assert images.index_select(0, rows).equal(everything[rows])
    assert images[3].equal(everything[3])
    assert images[rows].equal(everything[rows])
    assert torch.cat(list(images.split(4))).equal(everything)
    assert [len(part) for part in images.split(4)] == [4, 4, 2]


def test_batches_of_a_store_are_those_of_the_same_images_in_memory(made):
    stored = made.dataset()
    memory = type("M", (), {"images": stored.images[:], "labels": stored.labels, "__len__": lambda _: 10})()
    config = InputConfig(crop=12, batch_size=4, color="run145", reshuffle=True)
    transform = InputTransform.fit(config, stored.moments)
    ours, theirs = (Batches(d, transform, torch.Generator().manual_seed(1)) for d in (stored, memory))
    for (inputs, labels), (expected, expected_labels) in zip(ours, theirs, strict=True):
        assert inputs.equal(expected)
        assert labels.equal(expected_labels)


def test_the_fingerprint_is_that_of_the_pixels_and_labels_wherever_they_lie(made):
    fingerprint = made.dataset().fingerprint
    assert len(fingerprint["sha256"]) == 64
    assert "central squares at 16 pixels" in fingerprint["origin"]
    images, labels = (torch.stack([*made.dataset().images]), made.dataset().labels)
    in_memory = Dataset("images", "train", images, labels, made.dataset().classes, "the same pixels")
    assert in_memory.sha256 == fingerprint["sha256"]
    changed = images.clone()
    changed[0, 0, 0, 0] ^= 1
    assert pixels_sha256(changed, labels) != fingerprint["sha256"] != pixels_sha256(images, labels.flip(0))
    earlier = json.loads(json.dumps(made.manifest))
    del earlier["splits"]["train"]["pixels"]  # which an earlier version did not write
    assert Store(made.folder, earlier).dataset().sha256 == fingerprint["sha256"]


def test_verify_finds_a_flipped_bit_in_any_file(store):
    assert list(store.verify()) == []
    rng = np.random.default_rng(0)
    for path in sorted(store.folder.iterdir()):
        whole = path.read_bytes()
        damaged = bytearray(whole)
        damaged[rng.integers(len(whole))] ^= 1 << int(rng.integers(8))
        path.write_bytes(damaged)
        if path.name == "manifest.json":
            with pytest.raises(StoreError, match=r"manifest\.json is damaged"):
                Store.open(store.folder)
        else:
            assert list(store.verify()) == [f"{path.name} is not what was written: its sha256 is another"]
        path.write_bytes(whole)


def test_a_missing_or_shortened_file_is_named(store):
    labels = store.folder / "train-labels.npy"
    labels.write_bytes(labels.read_bytes()[:-1])
    with pytest.raises(StoreError, match=r"train-labels\.npy has 207 bytes, not 208"):
        store.dataset()
    labels.unlink()
    with pytest.raises(StoreError, match=r"train-labels\.npy has 0 bytes, not 208"):
        store.dataset()
    assert list(store.verify()) == ["train-labels.npy is missing"]


def test_a_damaged_jpeg_is_named_when_it_is_read(store):
    if store.manifest["form"] == "raw":
        pytest.skip("pixels can't be unreadable")
    dataset = store.dataset()
    _, start, _ = dataset.images.index[3]
    with (store.folder / "train-00000.tar").open("r+b") as file:
        file.seek(start)
        file.write(b"\0" * 20)
    with pytest.raises(StoreError, match=r"train-00000\.tar, byte \d+: image 3 can't be read"):
        dataset.images[3]


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": 1, "sha256": "0"}'])
def test_a_manifest_that_was_not_written_by_prepare_is_refused(store, text):
    (store.folder / "manifest.json").write_text(text)
    with pytest.raises(StoreError, match=r"manifest\.json is damaged"):
        Store.open(store.folder)


def test_what_is_not_there_is_named(made, tmp_path):
    with pytest.raises(DatasetNotFoundError, match="no split 'val', only train"):
        made.dataset("val")
    with pytest.raises(DatasetNotFoundError, match="holds no prepared data set"):
        Store.open(tmp_path)
    with pytest.raises(StoreError, match="images of 16 pixels, not 32"):
        load_dataset(str(made.folder), size=32)
