import contextlib
import errno
import json
import os
import shutil
import sys
import time
from collections import namedtuple
from dataclasses import replace
from pathlib import Path

import numpy as np
import prepare_worker
import pytest
import torch
from PIL import Image
from PIL.PngImagePlugin import PngImageFile
from processes import started

import alexnet_repro
from alexnet_repro.data import ImageError, StoreError, load_dataset, load_source, prepare
from alexnet_repro.data import prepare as preparing
from alexnet_repro.data.folders import folder_source
from alexnet_repro.data.moments import Moments

PREPARE = sys.modules[preparing.__module__]


@pytest.fixture(autouse=True)
def small_parts(monkeypatch):
    monkeypatch.setattr(PREPARE, "IMAGES_A_PART", {"raw": 3, "jpeg": 3})


@pytest.fixture
def folder(tmp_path) -> Path:
    """Eight images for training and four for validation, of two classes, all but one of them smooth and coloured."""
    rng = np.random.default_rng(0)
    for split, count in (("train", 4), ("val", 2)):
        for name in ("eins", "два"):
            (tmp_path / "images" / split / name).mkdir(parents=True)
            for i in range(count):
                pixels = np.broadcast_to(rng.integers(0, 256, (2, 3, 3)), (2, 3, 3)).astype(np.uint8)
                image = Image.fromarray(pixels).resize((20 + i, 14), Image.Resampling.BICUBIC)
                image.save(tmp_path / "images" / split / name / f"ä {i}.png")
    Image.new("L", (5, 9), 77).save(tmp_path / "images" / "train" / "eins" / "ä 1.png")
    return tmp_path / "images"


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("form", ["raw", "jpeg"])
def test_a_store_holds_what_the_folder_holds(folder, tmp_path, form):
    store = prepare(folder_source(folder), tmp_path / "store", size=12, form=form, workers=2)
    assert list(store.verify()) == []
    assert store.splits == ("train", "val")
    for split in store.splits:
        expected = load_dataset(str(folder), split=split, size=12)
        stored = load_dataset(str(tmp_path / "store"), split=split)
        assert stored.classes == expected.classes == ("eins", "два")
        assert stored.labels.equal(expected.labels)
        pixels = stored.images.index_select(0, torch.arange(len(stored)))
        difference = (pixels.int() - expected.images.int()).abs()
        assert difference.max() == 0 if form == "raw" else difference.float().mean() < 8
        moments = Moments.of(expected.images)
        assert stored.moments.mean_image.equal(moments.mean_image)
        assert stored.moments.covariance.equal(moments.covariance)
    entry = store.manifest["splits"]["train"]
    assert entry["counts"] == {"eins": 4, "два": 4}
    assert entry["repaired"] == [["train/eins/ä 1.png", "greyscale"]]
    assert entry["skipped"] == []
    assert entry["shorter_sides"] == {"smallest": 5, "largest": 14, "enlarged": 1}
    assert str(tmp_path) not in (tmp_path / "store" / "manifest.json").read_text()


@pytest.mark.parametrize("form", ["raw", "jpeg"])
def test_two_runs_give_the_same_bytes_however_many_workers(folder, tmp_path, form):
    for name, workers in (("a", 1), ("b", 3)):
        prepare(folder_source(folder), tmp_path / name, size=12, form=form, workers=workers)
    assert contents(tmp_path / "a") == contents(tmp_path / "b")


def test_only_images_that_are_not_done_are_decoded_again(folder, tmp_path):
    source, store = folder_source(folder), tmp_path / "store"
    damaged = folder / "val" / "два" / "ä 1.png"
    whole = damaged.read_bytes()
    damaged.write_bytes(b"x" * len(whole))
    with pytest.raises(ImageError, match=r"ä 1\.png is not a readable image"):
        prepare(source, store, size=12, workers=1)
    assert not (store / "manifest.json").exists()
    damaged.write_bytes(whole)
    seen = []
    prepare(source, store, size=12, workers=1, on_progress=lambda done, total: seen.append((done, total)))
    assert seen[0][0] >= 8  # the training images were done
    assert seen[-1] == (12, 12)
    prepare(source, tmp_path / "undisturbed", size=12, workers=1)
    assert contents(store) == contents(tmp_path / "undisturbed")


@pytest.mark.parametrize("form", ["raw", "jpeg"])
def test_of_two_at_a_time_into_one_folder_the_second_is_refused_and_the_first_is_not_disturbed(folder, tmp_path, form):
    source, refused = folder_source(folder), []

    def second(done: int, total: int) -> None:
        with pytest.raises(
            BlockingIOError, match=r"store is in use: process \d+ on .* Wait until it has finished"
        ) as error:
            prepare(source, tmp_path / "store", size=12, form=form, workers=1)
        refused.append(error)

    prepare(source, tmp_path / "store", size=12, form=form, workers=1, on_progress=second)
    assert refused
    prepare(source, tmp_path / "undisturbed", size=12, form=form, workers=1)
    assert contents(tmp_path / "store") == contents(tmp_path / "undisturbed")
    (tmp_path / "store").chmod(0o500)
    prepare(source, tmp_path / "store", size=12, form=form, workers=1)  # which finds it done, and writes nothing


@pytest.mark.parametrize("form", ["raw", "jpeg"])
def test_a_killed_process_leaves_nothing_that_changes_the_result(folder, tmp_path, form):
    for marker in ("*-00000.json", "val-*.json", "train-labels.npy", ".unfinished/manifest.json"):
        process = started(prepare_worker.work, str(folder), str(tmp_path / "store"), form)
        with contextlib.suppress(FileNotFoundError):  # what is listed may be on its way
            while process.is_alive() and not list((tmp_path / "store").rglob(marker)):
                time.sleep(0.001)
        process.kill()
        process.join()
    prepare(folder_source(folder), tmp_path / "store", size=12, form=form, workers=1)
    prepare(folder_source(folder), tmp_path / "undisturbed", size=12, form=form, workers=1)
    assert contents(tmp_path / "store") == contents(tmp_path / "undisturbed")


def test_what_a_process_killed_at_the_very_end_left_is_removed_by_the_next_call(folder, tmp_path):
    prepare(folder_source(folder), tmp_path / "store", size=12, workers=1)
    before = contents(tmp_path / "store")
    (tmp_path / "store" / ".lock").write_text("process 1 on another machine")
    (tmp_path / "store" / ".unfinished").mkdir()
    (tmp_path / "store" / ".unfinished" / "request.json").write_text("{}")
    prepare(folder_source(folder), tmp_path / "store", size=12, workers=1)
    assert contents(tmp_path / "store") == before


def test_another_version_takes_a_finished_store_but_no_unfinished_one(folder, tmp_path, monkeypatch):
    store = prepare(folder_source(folder), tmp_path / "store", size=12, workers=1)
    assert store.manifest["library"] == alexnet_repro.__version__
    (folder / "val" / "eins" / "ä 0.png").rename(tmp_path / "later.png")
    (folder / "val" / "eins" / "ä 0.png").write_text("no image")
    with pytest.raises(ImageError):
        prepare(folder_source(folder), tmp_path / "unfinished", size=12, workers=1)
    (tmp_path / "later.png").rename(folder / "val" / "eins" / "ä 0.png")
    monkeypatch.setattr(alexnet_repro, "__version__", "99.0")
    assert prepare(folder_source(folder), tmp_path / "store", size=12, workers=1) == store
    with pytest.raises(ValueError, match=r"other settings \(different: library, source\)"):
        prepare(folder_source(folder), tmp_path / "unfinished", size=12, workers=1)


def test_a_finished_store_is_not_made_again(folder, tmp_path):
    store = prepare(folder_source(folder), tmp_path / "store", size=12, workers=1)
    before = (tmp_path / "store" / "manifest.json").stat().st_mtime_ns
    assert prepare(folder_source(folder), tmp_path / "store", size=12, workers=1) == store
    assert (tmp_path / "store" / "manifest.json").stat().st_mtime_ns == before


@pytest.mark.parametrize("name", ["manifest.json", "train-images.npy"])
def test_a_damaged_store_is_not_taken_for_a_finished_one_and_can_be_made_again_as_the_error_says(
    folder, tmp_path, name
):
    store = prepare(folder_source(folder), tmp_path / "store", size=12, workers=1)
    path = tmp_path / "store" / name
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(StoreError, match=f"Remove {tmp_path / 'store'}, and prepare the data set again"):
        prepare(folder_source(folder), tmp_path / "store", size=12, workers=1)
    shutil.rmtree(tmp_path / "store")
    assert prepare(folder_source(folder), tmp_path / "store", size=12, workers=1) == store


@pytest.mark.parametrize("finished", [True, False])
def test_other_settings_or_images_are_refused(folder, tmp_path, finished):
    prepare(folder_source(folder), tmp_path / "store", size=12, workers=1)
    if not finished:  # as if it had been killed just before the end
        (tmp_path / "store" / ".unfinished").mkdir()
        manifest = json.loads((tmp_path / "store" / "manifest.json").read_text())
        (tmp_path / "store" / ".unfinished" / "request.json").write_text(json.dumps(manifest))
        (tmp_path / "store" / "manifest.json").unlink()
    with pytest.raises(ValueError, match=r"other settings \(different: size\)"):
        prepare(folder_source(folder), tmp_path / "store", size=13, workers=1)
    shutil.copy(folder / "train" / "eins" / "ä 0.png", folder / "train" / "eins" / "new.png")
    with pytest.raises(ValueError, match=r"another source .* \(different: source\)"):
        prepare(folder_source(folder), tmp_path / "store", size=12, workers=1)


def bad_files(folder: Path) -> dict[str, str]:
    """Every kind of file that gives no image; name -> part of the reason."""
    place = folder / "train" / "eins"
    Image.effect_noise((64, 64), 50).save(place / "cut.jpg")
    (place / "cut.jpg").write_bytes((place / "cut.jpg").read_bytes()[:900])
    (place / "empty.jpg").write_bytes(b"")
    (place / "text.jpg").write_text("not an image")
    frames = [Image.new("L", (4, 4), shade) for shade in (0, 255)]
    frames[0].save(place / "moving.gif", save_all=True, append_images=frames[1:])
    Image.new("1", (10_000, 9_000)).save(place / "bomb.png")
    (place / "loop.jpg").symlink_to(place / "loop.jpg")
    os.mkfifo(place / "pipe.jpg")
    (place / "folder.jpg").mkdir()
    (folder / "train" / "leer").mkdir()
    (folder / "val" / "leer").mkdir()
    (folder / "val" / "alien").mkdir()
    (folder / "train" / "stray.jpg").write_bytes(b"")
    (folder / "train" / "loop").symlink_to(folder / "train" / "loop")
    (folder / "train" / "README.txt").write_text("these are images")
    return {
        "train/eins/cut.jpg": "truncated",
        "train/eins/empty.jpg": "no known format",
        "train/eins/text.jpg": "no known format",
        "train/eins/moving.gif": "animated",
        "train/eins/bomb.png": "more than 89,478,485",
        "train/eins/loop.jpg": "no regular file",
        "train/eins/pipe.jpg": "no regular file",
        "train/eins/folder.jpg": "no regular file",
        "train/leer": "has no images",
        "train/stray.jpg": "outside the class folders",
        "train/loop": "outside the class folders",
        "train/README.txt": "outside the class folders",
        "val/leer": "has no images",
        "val/alien": "a class that train lacks",
    }


def test_tolerant_skips_what_can_not_be_used_and_lists_each(folder, tmp_path):
    expected = bad_files(folder)
    Image.new("RGB", (1, 1), (9, 9, 9)).save(folder / "train" / "eins" / "one pixel.png")
    store = prepare(folder_source(folder), tmp_path / "store", size=12, tolerant=True, workers=1)
    skipped = dict(entry for split in store.splits for entry in store.manifest["splits"][split]["skipped"])
    assert set(skipped) == set(expected)
    for name, reason in expected.items():
        assert reason in skipped[name]
    assert store.manifest["splits"]["train"]["counts"] == {"eins": 5, "leer": 0, "два": 4}
    assert list(store.verify()) == []
    dataset = store.dataset("train")
    assert len(dataset) == 9
    assert dataset.images[0].unique().tolist() == [9]


def test_strict_does_not_take_what_tolerant_left_out(folder, tmp_path):
    (folder / "train" / "eins" / "text.jpg").write_text("not an image")
    prepare(folder_source(folder), tmp_path / "store", size=12, tolerant=True, workers=1)
    with pytest.raises(ImageError, match=r"train/eins/text\.jpg is not a readable image"):
        prepare(folder_source(folder), tmp_path / "store", size=12, workers=1)


def test_strict_does_not_finish_what_tolerant_began_without_an_image(folder, tmp_path):
    (folder / "train" / "eins" / "text.jpg").write_text("not an image")

    def interrupted(done, total):
        if done >= 9:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare(folder_source(folder), tmp_path / "store", size=12, tolerant=True, workers=1, on_progress=interrupted)
    with pytest.raises(ImageError, match=r"train/eins/text\.jpg is not a readable image"):
        prepare(folder_source(folder), tmp_path / "store", size=12, workers=1)
    assert not (tmp_path / "store" / "manifest.json").exists()


def test_a_store_of_another_form_or_with_other_labels_is_not_taken_for_this_one(folder, tmp_path):
    source = folder_source(folder)
    prepare(source, tmp_path / "store", size=12, form="raw", workers=1)
    with pytest.raises(ValueError, match="different: form"):
        prepare(source, tmp_path / "store", size=12, form="jpeg", workers=1)
    swapped = replace(source, listings=source.listings | {"val": lambda: map(other_label, source.listings["val"]())})
    with pytest.raises(ValueError, match="different: source"):
        prepare(swapped, tmp_path / "store", size=12, form="raw", workers=1)


def other_label(entry):
    return entry._replace(label=1 - entry.label)


@pytest.mark.parametrize("name", ["train/eins/cut.jpg", "train/eins/loop.jpg", "val/alien", "train/leer", "train/loop"])
def test_strict_stops_at_what_can_not_be_used_and_names_it(folder, tmp_path, name):
    reasons = bad_files(folder)
    for other in set(reasons) - {name, f"val/{Path(name).name}"} | {"val/leer"} - {name}:
        path = folder / other
        path.rmdir() if path.is_dir() else path.unlink(missing_ok=True)
    with pytest.raises(ValueError, match=f"{name} .*{reasons[name]}"):
        prepare(folder_source(folder), tmp_path / "store", size=12, workers=1)
    assert not (tmp_path / "store" / "manifest.json").exists()


def test_a_text_beside_the_classes_is_listed_but_does_not_stop(folder, tmp_path):
    (folder / "train" / "README.txt").write_text("these are images")
    store = prepare(folder_source(folder), tmp_path / "store", size=12, workers=1)
    assert store.manifest["splits"]["train"]["skipped"] == [["train/README.txt", "lies outside the class folders"]]


def test_a_name_that_is_not_utf_8_is_refused_before_any_work_or_listed_as_skipped(folder, tmp_path):
    place = folder / "train" / "eins"
    (place / os.fsdecode(b"caf\xe9.png")).write_bytes((place / "ä 0.png").read_bytes())
    with pytest.raises(ValueError, match=r"train/eins/caf\\xe9\.png has a name that is not UTF-8\. Rename it\."):
        prepare(folder_source(folder), tmp_path / "strict", size=12, workers=1)
    assert not list(tmp_path.glob("strict/**/*.json"))
    store = prepare(folder_source(folder), tmp_path / "store", size=12, workers=1, tolerant=True)
    entry = store.manifest["splits"]["train"]
    assert entry["skipped"] == [["train/eins/caf\\xe9.png", "has a name that is not UTF-8. Rename it."]]
    assert entry["counts"] == {"eins": 4, "два": 4}
    assert json.loads((tmp_path / "store" / "manifest.json").read_text())["splits"]["train"] == entry


@pytest.mark.parametrize("form", ["raw", "jpeg"])
def test_who_may_read_a_store_follows_from_the_umask(folder, tmp_path, form):
    before = os.umask(0o027)
    try:
        prepare(folder_source(folder), tmp_path / "store", size=12, form=form, workers=1)
    finally:
        os.umask(before)
    assert {path.stat().st_mode & 0o777 for path in (tmp_path / "store").iterdir()} == {0o640}


@pytest.mark.parametrize("error", [ValueError("bad"), TypeError("bad"), RuntimeError("bad")])
def test_tolerant_skips_a_file_at_which_the_decoder_fails_in_whatever_way(folder, tmp_path, monkeypatch, error):
    load = PngImageFile.load

    def fails(image):
        if image.size == (5, 9):
            raise error
        return load(image)

    monkeypatch.setattr(PngImageFile, "load", fails)
    store = prepare(folder_source(folder), tmp_path / "store", size=12, workers=1, tolerant=True)
    [[name, reason]] = store.manifest["splits"]["train"]["skipped"]
    assert name == "train/eins/ä 1.png"
    assert f"{type(error).__name__} bad" in reason


def test_a_full_disk_is_said_beforehand_or_keeps_what_is_done(folder, tmp_path, monkeypatch):
    usage = namedtuple("usage", "total used free")
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda _: usage(10, 10, 0))
        with pytest.raises(OSError, match=r"but only 0\.0 GiB are free"):
            prepare(folder_source(folder), tmp_path / "store", size=12, workers=1)

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(PREPARE, "npy", full)
        with pytest.raises(OSError, match=r"no room left for .* What is finished is kept"):
            prepare(folder_source(folder), tmp_path / "store", size=12, workers=1)
    seen = []
    prepare(folder_source(folder), tmp_path / "store", size=12, workers=1, on_progress=lambda *a: seen.append(a))
    assert set(seen) == {(12, 12)}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"form": "png"}, "form must be one of raw, jpeg, not 'png'"),
        ({"size": 0}, "at least 1 pixel, not 0"),
        ({"workers": 0}, "workers must be at least 1 thread, not 0"),
        ({"workers": -1}, "at least 1 thread, not -1"),
    ],
)
def test_arguments_that_are_not_allowed_are_named(folder, tmp_path, arguments, message):
    with pytest.raises(ValueError, match=message):
        prepare(folder_source(folder), tmp_path / "store", **arguments)


def test_a_large_set_becomes_jpeg_files(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(PREPARE, "RAW_LIMIT", 100)
    assert prepare(folder_source(folder), tmp_path / "store", size=12, workers=1).manifest["form"] == "jpeg"


def test_what_is_in_memory_anyway_needs_no_preparing():
    with pytest.raises(ValueError, match="photos need not be prepared"):
        load_source("photos")
