import copy
import gc
import io
import json
import os
import pickle
import resource
import shlex
import tarfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from alexnet_repro.cli.data import _sheet
from alexnet_repro.data import Batches, Dataset, DatasetNotFoundError, Store, StoreError, load_dataset, peek, prepare
from alexnet_repro.data.config import InputConfig
from alexnet_repro.data.dataset import pixels_sha256
from alexnet_repro.data.folders import folder_source
from alexnet_repro.data.inputs import InputTransform
from alexnet_repro.data.parts import make_array
from alexnet_repro.data.store import FORMAT, MANIFEST, OPEN, SEAL, JpegImages, stored_images
from alexnet_repro.support.values import digest, write_sealed


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


def test_a_store_s_images_are_where_they_are_whatever_torch_s_default_device_is(made):
    stored = made.dataset()
    with torch.device("meta"):
        other = made.dataset()
        assert other.images[3:5].equal(stored.images[3:5])
        assert torch.cat(list(other.images.split(4))).equal(stored.images[:])
        assert other.moments.covariance.equal(stored.moments.covariance)


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


def test_an_array_larger_than_the_memory_is_read_and_changes_do_not_reach_the_file(tmp_path):
    memory = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
    size = 256
    images = 1024 * sum(int(memory[name].split()[0]) for name in ("MemTotal", "SwapTotal")) // (3 * size * size) + 10
    make_array(tmp_path / "train-images.npy", images, size)
    with (tmp_path / "train-images.npy").open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        file.write(b"\x07")
    for changed in (9, 7):
        pixels = stored_images(tmp_path, "train", ["train-images.npy"], size)
        assert pixels.shape == (images, 3, size, size)
        assert pixels[-1, -1, -1, -2:].tolist() == [0, 7]
        pixels[-1, -1, -1, -1] = changed


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
    with pytest.raises(StoreError, match=r"train-labels\.npy has 207 bytes, not 208. Remove .*, and prepare"):
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
    with pytest.raises(StoreError, match=r"train-00000\.tar, byte \d+: image 3 can't be read") as found:
        dataset.images[3]
    assert f"alexnet-repro data verify {shlex.quote(str(store.folder))} says" in str(found.value)


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda dataset: pickle.loads(pickle.dumps(dataset))])
def test_a_copy_of_a_stored_data_set_has_its_pixels_and_labels_and_reads_them_from_the_store(made, copied):
    dataset = made.dataset()
    before = dataset.images[:]  # which opens its files
    assert dataset.sha256 == dataset.fingerprint["sha256"]
    again = copied(dataset)
    assert again.images[:].equal(before)
    assert again.labels.equal(dataset.labels)
    assert again.fingerprint == dataset.fingerprint
    assert again.moments.mean_image.equal(dataset.moments.mean_image)
    assert (again.classes, again.store) == (dataset.classes, dataset.store)


def test_what_is_pickled_is_the_place_of_the_store_and_not_what_lies_there(store, monkeypatch):
    monkeypatch.chdir(store.folder.parent)
    dataset = Store.open(Path(store.folder.name)).dataset()
    dataset.images[0]
    content = pickle.dumps(dataset)
    assert len(content) < 500
    monkeypatch.chdir("/")
    assert pickle.loads(content).images[:].equal(store.dataset().images[:])
    manifest = json.loads((store.folder / MANIFEST).read_text())
    manifest["source"]["origin"] = "another"
    del manifest["sha256"]
    (store.folder / MANIFEST).write_text(json.dumps(manifest | {"sha256": digest(manifest)}))
    with pytest.raises(StoreError, match="was prepared again since the data set was pickled"):
        pickle.loads(content)


def test_pickled_jpeg_images_are_the_names_of_their_files(made):
    images = made.dataset().images
    if made.manifest["form"] == "raw":
        pytest.skip("a tensor is pickled by torch")
    images[0]
    content = pickle.dumps(images)
    assert len(content) < 1000
    assert pickle.loads(content)[:].equal(images[:])


def descriptors() -> list[int]:
    """Of the files that are open."""
    gc.collect()
    return [int(path.name) for path in Path("/dev/fd").iterdir()]


def many_tars(folder: Path, count: int) -> JpegImages:
    """Each with one image, whose shade is its number."""
    for number in range(count):
        with tarfile.open(folder / f"{number:05d}.tar", "w") as tar:
            content = io.BytesIO()
            Image.new("RGB", (8, 8), (number, 0, 0)).save(content, "JPEG")
            member = tarfile.TarInfo("0.jpg")
            member.size = content.tell()
            tar.addfile(member, io.BytesIO(content.getvalue()))
    index = [(number, 512, (folder / f"{number:05d}.tar").stat().st_size - 512) for number in range(count)]
    np.save(folder / "index.npy", np.array(index))
    return JpegImages([folder / f"{number:05d}.tar" for number in range(count)], folder / "index.npy", 8)


def test_more_tar_files_are_read_than_may_be_open(tmp_path):
    images = many_tars(tmp_path, 200)
    used = max(descriptors())
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    rows = torch.arange(200).repeat(3)[torch.randperm(600, generator=torch.Generator().manual_seed(0))]
    resource.setrlimit(resource.RLIMIT_NOFILE, (used + OPEN + 20, hard))
    try:
        with ThreadPoolExecutor(8) as pool:  # one closes what another is about to read
            parts = list(pool.map(lambda part: images.index_select(0, part), rows.split(30)))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert (torch.cat(parts)[:, 0, 4, 4].long() - rows).abs().max() <= 2


def test_files_of_images_that_are_gone_are_closed(tmp_path):
    images = many_tars(tmp_path, 20)
    before = len(descriptors())
    images[:]
    assert len(descriptors()) == before + 20
    del images
    assert len(descriptors()) == before


class Cautious(JpegImages):
    """Three thousand images, of which no more than a thousand may be asked for at once."""

    def __init__(self) -> None:
        self.shape = torch.Size((3_000, 3, 64, 64))
        self.index = np.zeros((3_000, 3))

    def _decoded(self, row: int) -> np.ndarray:
        return np.full((64, 64, 3), 100 * (row % 2), np.uint8)

    def index_select(self, dim: int, rows: torch.Tensor) -> torch.Tensor:
        assert len(rows) <= 1_000, f"{len(rows)} images at once"
        return super().index_select(dim, rows)

    def split(self, size: int) -> Iterator[torch.Tensor]:
        assert size <= 1_000, f"{size} images at once"
        return super().split(size)


def test_whoever_looks_at_all_images_asks_for_a_few_at_a_time():
    images, labels = Cautious(), torch.arange(3_000) % 2
    dataset = Dataset("large", "train", images, labels, ("a", "b"), "made up")
    memory = torch.stack([torch.from_numpy(images._decoded(row)).permute(2, 0, 1) for row in range(3_000)])
    assert dataset.sha256 == pixels_sha256(memory, labels)
    assert dataset.moments.mean_image.equal(torch.full((3, 64, 64), 50.0, dtype=torch.float64))
    transform = InputTransform.fit(InputConfig(batch_size=128), dataset.moments)
    assert sum(len(inputs) for inputs, _ in Batches(dataset, transform, torch.Generator())) == 3_000
    assert _sheet(dataset).size == (640, 128)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": 1, "sha256": "0"}'])
def test_a_manifest_that_was_not_written_by_prepare_is_refused(store, text):
    (store.folder / MANIFEST).write_text(text)
    with pytest.raises(StoreError, match=r"manifest\.json is damaged"):
        Store.open(store.folder)


FOREIGN = ['{"name": "my photos"}', '{"format": 1}', '{"a": 1}\n{"a": 2}\n', "[]", "", "\xff"]


@pytest.mark.parametrize("text", FOREIGN)
def test_a_manifest_of_something_else_makes_no_store_of_a_folder_of_images(tmp_path, text):
    folder = tmp_path / "images"
    for name in "ab":
        (folder / name).mkdir(parents=True)
        Image.new("RGB", (4, 4)).save(folder / name / "1.png")
    (folder / "manifest.json").write_text(text, encoding="latin-1")
    assert len(load_dataset(str(folder), size=4)) == 2
    assert peek(str(folder), size=4) == (("a", "b"), 4)
    with pytest.raises(DatasetNotFoundError, match=r"holds no prepared data set: its manifest\.json is of something"):
        Store.open(folder)
    assert len(prepare(folder_source(folder), tmp_path / "store", size=4, workers=1).dataset()) == 2


@pytest.mark.parametrize("text", FOREIGN)
def test_nothing_is_prepared_into_a_folder_with_a_manifest_of_something_else(made, tmp_path, text):
    (tmp_path / "manifest.json").write_text(text, encoding="latin-1")
    with pytest.raises(
        ValueError, match=r"has a manifest\.json that is not of a prepared data set: choose another folder"
    ):
        prepare(folder_source(made.folder.parent / "images"), tmp_path, size=16, workers=1)
    assert [path.name for path in tmp_path.iterdir()] == ["manifest.json"]


def test_a_manifest_alone_is_that_of_a_damaged_store(made, tmp_path):
    (tmp_path / "manifest.json").write_bytes((made.folder / "manifest.json").read_bytes())
    with pytest.raises(StoreError, match=r"has 0 bytes, not .* Remove .*, and prepare the data set again"):
        load_dataset(str(tmp_path))


def test_a_store_that_was_opened_by_a_relative_path_is_read_from_any_folder(store, monkeypatch):
    monkeypatch.chdir(store.folder.parent)
    opened = Store.open(Path(store.folder.name))
    early = opened.dataset()
    monkeypatch.chdir("/")
    late = opened.dataset()
    assert list(opened.verify()) == []
    for dataset in (early, late, pickle.loads(pickle.dumps(early)), pickle.loads(pickle.dumps(late))):
        assert dataset.images[:].equal(store.dataset().images[:])
        assert dataset.moments.mean_image.equal(store.dataset().moments.mean_image)


def test_what_is_not_there_is_named(made, tmp_path):
    with pytest.raises(DatasetNotFoundError, match="no split 'val', only train"):
        made.dataset("val")
    with pytest.raises(DatasetNotFoundError, match="holds no prepared data set"):
        Store.open(tmp_path)
    with pytest.raises(StoreError, match="images of 16 pixels, not 32"):
        load_dataset(str(made.folder), size=32)


def test_a_store_of_another_format_is_refused(store):
    content = {name: value for name, value in store.manifest.items() if name != SEAL}
    write_sealed(store.folder / MANIFEST, content | {"format": FORMAT + 1}, SEAL)
    with pytest.raises(StoreError, match=f"has format {FORMAT + 1}, this version reads {FORMAT}"):
        Store.open(store.folder)


def test_a_part_of_a_stored_data_set_is_a_data_set_of_its_own(made):
    whole, rows = made.dataset(), torch.tensor([7, 0])
    part = replace(whole, images=whole.images[rows], labels=whole.labels[rows])
    plain = Dataset(whole.name, "train", whole.images[rows], whole.labels[rows], whole.classes, whole.origin)
    assert part.sha256 == plain.sha256 != whole.sha256
    assert part.moments.count == 2
    assert part.moments.mean_image.equal(plain.moments.mean_image)
    again = pickle.loads(pickle.dumps(part))
    assert again.images.equal(part.images)
    assert again.sha256 == part.sha256
