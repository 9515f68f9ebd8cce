import io
import json
import tarfile

import numpy as np
import pytest
import webdataset
from PIL import Image

from alexnet_repro.data.decode import ImageError
from alexnet_repro.data.folders import ImageFile
from alexnet_repro.data.parts import close_gaps, make_array, write_part


def images(folder, shades=(10, 200)) -> list[ImageFile]:
    listed = []
    for label, shade in enumerate(shades):
        path = folder / f"{label}.png"
        Image.new("RGB", (6, 4), (shade, 0, 0)).save(path)
        listed.append(ImageFile(f"c/{path.name}", label, path, path.stat().st_size))
    return listed


def test_a_raw_part_holds_the_pixels_and_says_what_was_done(tmp_path):
    grey = tmp_path / "grey.png"
    Image.new("L", (3, 3), 77).save(grey)
    listed = [*images(tmp_path), ImageFile("c/grey.png", 5, grey, 0)]
    make_array(tmp_path / "train-images.npy", 6, 4)
    assert write_part(listed, tmp_path / "train-00000", 2, 4, "raw", tolerant=False) == 3
    pixels = np.load(tmp_path / "train-images.npy")
    assert pixels[:, 0, 0, 0].tolist() == [0, 0, 10, 200, 77, 0]
    assert not pixels[:4, 1:].any()
    report = json.loads((tmp_path / "train-00000.json").read_text())
    assert report["labels"] == [0, 1, 5]
    assert report["repaired"] == [["c/grey.png", "greyscale"]]
    assert report["shorter_sides"] == [4, 4, 3]
    products, image = np.split(np.load(tmp_path / "train-00000.npy"), [9])
    assert products[0] == 16 * (10**2 + 200**2 + 77**2)
    assert image.reshape(3, 16)[:, 0].tolist() == [287, 77, 77]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # WebDataset leaves files open
def test_a_jpeg_part_is_read_by_webdataset_and_at_the_places_it_names(tmp_path):
    write_part(images(tmp_path), tmp_path / "train-00003", 6, 8, "jpeg", tolerant=False)
    tar = tmp_path / "train-00003.tar"
    samples = list(webdataset.WebDataset(str(tar), shardshuffle=False, empty_check=False))
    assert [(s["__key__"], s["cls"]) for s in samples] == [("00000006", b"0"), ("00000007", b"1")]
    places = json.loads(tar.with_suffix(".json").read_text())["places"]
    content = tar.read_bytes()
    for (start, length), sample, shade in zip(places, samples, (10, 200), strict=True):
        assert content[start : start + length] == sample["jpg"]
        image = np.asarray(Image.open(io.BytesIO(sample["jpg"])))
        assert image.shape == (8, 8, 3)
        assert abs(int(image[4, 4, 0]) - shade) <= 2
    with tarfile.open(tar) as members:
        assert all(member.mtime == 0 for member in members)


def test_a_jpeg_part_keeps_the_quality_of_the_program_of_its_time(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "0.png")
    listed = [ImageFile("c/0.png", 0, tmp_path / "0.png", 0)]
    write_part(listed, tmp_path / "train-00000", 0, 8, "jpeg", tolerant=False)
    Image.fromarray(pixels).save(expected := io.BytesIO(), "JPEG", quality=95)
    with tarfile.open(tmp_path / "train-00000.tar") as members:
        assert members.extractfile("00000000.jpg").read() == expected.getvalue()


def test_a_strict_part_names_the_file_and_a_tolerant_one_lists_it(tmp_path):
    listed = images(tmp_path)
    make_array(tmp_path / "train-images.npy", 2, 4)
    listed[0].file.write_bytes(b"")
    with pytest.raises(ImageError, match=rf"{tmp_path}/0\.png is not a readable image"):
        write_part(listed, tmp_path / "train-00000", 0, 4, "raw", tolerant=False)
    assert not (tmp_path / "train-00000.json").exists()
    assert write_part(listed, tmp_path / "train-00000", 0, 4, "raw", tolerant=True) == 2
    report = json.loads((tmp_path / "train-00000.json").read_text())
    assert report["labels"] == [1]
    [[name, reason]] = report["skipped"]
    assert name == "c/0.png"
    assert reason.startswith("is not a readable image: of no known format")
    assert str(tmp_path) not in reason


def test_an_image_in_an_archive_is_named_with_it(tmp_path):
    (tmp_path / "a.tar").write_bytes(b"x" * 100)
    with pytest.raises(ImageError, match=rf"train/1\.jpg in {tmp_path}/a\.tar is not"):
        write_part(
            [ImageFile("train/1.jpg", 0, tmp_path / "a.tar", 10, 5)],
            tmp_path / "train-00000",
            0,
            4,
            "raw",
            tolerant=False,
        )


def test_gaps_are_closed_and_nothing_else_is_changed(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (7, 3, 2, 2), np.uint8)
    make_array(tmp_path / "a.npy", 7, 2)
    assert not np.load(tmp_path / "a.npy").any()
    np.save(tmp_path / "a.npy", pixels)
    close_gaps(tmp_path / "a.npy", [(0, 2), (3, 0), (3, 1), (6, 1)], tmp_path / "b.npy")
    assert np.array_equal(np.load(tmp_path / "b.npy"), pixels[[0, 1, 3, 6]])
    assert [path.name for path in tmp_path.iterdir()] == ["b.npy"]
