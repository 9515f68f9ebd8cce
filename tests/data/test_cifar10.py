"""The official archive is imitated by a small one with its own md5: nothing here needs the network or the real data."""

import hashlib
import os
import pickle
import shutil
import tarfile
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import numpy as np
import pytest
from PIL import Image
from torchvision.datasets import CIFAR10

from alexnet_repro import load_dataset
from alexnet_repro.data import DatasetNotFoundError, archives, cifar10


@pytest.fixture
def archive(tmp_path, monkeypatch) -> Path:
    """A tarball in the official layout, two images a batch file, taken for the official one."""
    folder = tmp_path / "source" / "cifar-10-batches-py"
    folder.mkdir(parents=True)
    sums = {}
    rng = np.random.default_rng(0)
    for name in ("data_batch_1", "data_batch_2", "data_batch_3", "data_batch_4", "data_batch_5", "test_batch"):
        content = pickle.dumps({"data": rng.integers(0, 256, (2, 3072), dtype=np.uint8), "labels": [3, 7]})
        (folder / name).write_bytes(content)
        sums[name] = hashlib.md5(content).hexdigest()
    meta = pickle.dumps({"label_names": list(cifar10.CLASSES)})
    (folder / "batches.meta").write_bytes(meta)
    path = tmp_path / "source" / cifar10.FILE
    with tarfile.open(path, "w:gz") as tar:
        tar.add(folder, folder.name)
    md5 = hashlib.md5(path.read_bytes()).hexdigest()
    monkeypatch.setattr(cifar10, "ARCHIVE", replace(cifar10.ARCHIVE, md5=md5))
    monkeypatch.setattr(CIFAR10, "tgz_md5", md5)
    monkeypatch.setattr(CIFAR10, "train_list", [[name, sums[name]] for name in sums if name != "test_batch"])
    monkeypatch.setattr(CIFAR10, "test_list", [["test_batch", sums["test_batch"]]])
    monkeypatch.setattr(CIFAR10, "meta", CIFAR10.meta | {"md5": hashlib.md5(meta).hexdigest()})
    return path


@pytest.fixture
def root(tmp_path) -> Path:
    folder = tmp_path / "root"
    folder.mkdir()
    return folder


def test_a_tarball_lying_in_the_root_is_unpacked_and_read(archive, root):
    (root / cifar10.FILE).write_bytes(archive.read_bytes())
    dataset = load_dataset("cifar10", root)
    assert dataset.images.shape == (10, 3, 32, 32)
    assert dataset.labels.tolist() == [3, 7] * 5
    assert dataset.origin.startswith("official archive")
    first = pickle.loads((root / "cifar-10-batches-py" / "data_batch_1").read_bytes())["data"][0]
    assert np.array_equal(dataset.images[0].numpy().ravel(), first)  # planes of rows, as the archive has them
    assert len(load_dataset("cifar10", root, "test")) == 2


def test_the_checksum_of_what_was_fetched_is_taken_once(archive, root, monkeypatch):
    from_mirrors(monkeypatch, archive.as_uri())
    checked, md5 = [], archives._md5
    monkeypatch.setattr(archives, "_md5", lambda path: checked.append(md5(path)) or checked[-1])
    load_dataset("cifar10", root, download=True)
    assert checked == [cifar10.ARCHIVE.md5]


def test_a_tarball_with_another_checksum_is_refused(root):
    (root / cifar10.FILE).write_bytes(b"half a download")
    with pytest.raises(ValueError, match=r"cifar-10-python\.tar\.gz is not the official archive: its md5 is not"):
        load_dataset("cifar10", root)


class QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, *arguments) -> None:
        pass


@pytest.fixture
def server(tmp_path) -> Iterator[str]:
    """The address of a web server for the files of tmp_path."""
    handler = partial(QuietHandler, directory=tmp_path)
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as http:
        Thread(target=http.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{http.server_port}"
        http.shutdown()


def from_mirrors(monkeypatch, *mirrors: str) -> None:
    monkeypatch.setattr(cifar10, "ARCHIVE", replace(cifar10.ARCHIVE, mirrors=mirrors))


def test_the_download_goes_to_the_next_mirror_when_one_fails_or_delivers_something_else(
    archive, root, tmp_path, server, monkeypatch
):
    (tmp_path / "error-page").write_bytes(b"come back tomorrow")
    from_mirrors(monkeypatch, f"{server}/absent", f"{server}/error-page", f"{server}/source/{cifar10.FILE}")
    assert len(load_dataset("cifar10", root, download=True)) == 10
    assert {path.name for path in root.iterdir()} == {cifar10.FILE, "cifar-10-batches-py"}


def test_when_every_mirror_fails_each_is_named_and_nothing_is_left_behind(root, server, monkeypatch):
    from_mirrors(monkeypatch, f"{server}/one", f"{server}/two")
    with pytest.raises(DatasetNotFoundError, match=r"(?s)could not be downloaded.*/one: .*404.*/two: .*404"):
        load_dataset("cifar10", root, download=True)
    assert list(root.iterdir()) == []


def test_a_batch_file_that_was_damaged_is_noticed(archive, root):
    (root / cifar10.FILE).write_bytes(archive.read_bytes())
    load_dataset("cifar10", root)
    (root / cifar10.FILE).unlink()
    (root / "cifar-10-batches-py" / "data_batch_3").write_bytes(b"")
    with pytest.raises(ValueError, match="cifar-10-batches-py is damaged"):
        load_dataset("cifar10", root)


@pytest.mark.parametrize("tarball", ["damaged", "sound", "absent"])
@pytest.mark.parametrize("damage", ["empty", "missing"])
@pytest.mark.parametrize("download", [True, False])
def test_of_a_damaged_folder_nothing_is_fetched_whatever_lies_beside_it(
    archive, root, monkeypatch, tarball, damage, download
):
    (root / cifar10.FILE).write_bytes(archive.read_bytes())
    load_dataset("cifar10", root)
    batch = root / "cifar-10-batches-py" / "data_batch_3"
    batch.unlink() if damage == "missing" else batch.write_bytes(b"")
    if tarball != "sound":
        (root / cifar10.FILE).unlink()
    if tarball == "damaged":
        (root / cifar10.FILE).write_bytes(b"half a download")
    for name in ("socket.socket.connect", "socket.create_connection", "urllib.request.urlopen"):
        monkeypatch.setattr(name, lambda *_, **__: pytest.fail("the network was touched"))
    with pytest.raises(ValueError, match=r"cifar-10-batches-py is damaged: .* Remove it"):
        load_dataset("cifar10", root, download=download)
    shutil.rmtree(root / "cifar-10-batches-py")
    if tarball == "sound":
        assert len(load_dataset("cifar10", root)) == 10


def test_nothing_is_downloaded_unasked(root, monkeypatch):
    monkeypatch.setattr(archives, "fetch", lambda *_: pytest.fail("downloaded"))
    with pytest.raises(DatasetNotFoundError):
        load_dataset("cifar10", root)


def test_a_missing_data_set_says_where_it_was_looked_for_and_how_to_get_it(root):
    with pytest.raises(DatasetNotFoundError) as error:
        load_dataset("cifar10", root)
    for part in (str(root), "cifar-10-batches-py", cifar10.FILE, "train/<class>", "download=True", cifar10.OFFICIAL):
        assert part in str(error.value).replace("train\n", "train")


def test_the_mirrors_end_with_the_official_server():
    assert cifar10.ARCHIVE.mirrors[-1] == "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz"
    assert cifar10.ARCHIVE.md5 == CIFAR10.tgz_md5 == "c58f30108f718f92721af3b95e74349a"
    assert len(cifar10.ARCHIVE.mirrors) >= 3


@pytest.mark.parametrize("nested", ["", "cifar10"])
def test_class_folders_are_read_in_the_official_order(root, nested):
    for split, shade in (("train", 0), ("test", 100)):
        for label, name in enumerate(cifar10.CLASSES):
            folder = root / nested / split / name
            folder.mkdir(parents=True)
            Image.new("RGB", (32, 32), (shade + label, 0, 0)).save(folder / "0001.png")
            (folder / ".DS_Store").touch()
    dataset = load_dataset("cifar10", root)
    assert dataset.images[:, 0, 0, 0].tolist() == dataset.labels.tolist() == list(range(10))
    assert dataset.origin.startswith("class folders, PNG files")
    assert load_dataset("cifar10", root, "test").images[:, 0, 0, 0].tolist() == [100 + label for label in range(10)]


def test_the_official_archive_comes_before_class_folders(archive, root):
    for name in cifar10.CLASSES:
        (root / "train" / name).mkdir(parents=True)
        Image.new("RGB", (32, 32)).save(root / "train" / name / "1.png")
    assert load_dataset("cifar10", root).origin.startswith("class folders")
    (root / cifar10.FILE).write_bytes(archive.read_bytes())
    assert load_dataset("cifar10", root).origin.startswith("official archive")


def test_the_environment_names_the_folder_where_none_is_given(archive, root, monkeypatch):
    (root / cifar10.FILE).write_bytes(archive.read_bytes())
    monkeypatch.setenv("ALEXNET_REPRO_DATA", str(root))
    assert len(load_dataset("cifar10")) == 10


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "mnist"}, "photos, cifar10, .* or the path of a folder, not 'mnist'"),
        ({"name": "mnist", "root": "sets"}, "not 'mnist': root, 'sets', is not looked in for the path of a folder"),
        ({"name": "photos", "size": "32"}, "size must be a whole number of at least 1, not '32'"),
        ({"name": "photos", "size": 32.0}, "not 32.0"),
        ({"name": "photos", "split": "val"}, "train or test, not 'val'"),
        ({"name": "cifar10", "size": 64}, "32 pixels, not 64"),
    ],
)
def test_what_does_not_exist_is_refused_by_name(arguments, message):
    with pytest.raises(ValueError, match=message):
        load_dataset(**arguments)


@pytest.mark.real_data
def test_the_real_images_are_all_there():
    root = os.environ["ALEXNET_REPRO_DATA"]
    for split, count in (("train", 50_000), ("test", 10_000)):
        dataset = load_dataset("cifar10", root, split)
        assert dataset.labels.bincount().tolist() == [count // 10] * 10
        # Mean pixel values of CIFAR-10's channels: 125.3, 123.0, 113.9.
        assert dataset.images.double().mean((0, 2, 3)).tolist() == pytest.approx([125.3, 123.0, 113.9], abs=1.5)
