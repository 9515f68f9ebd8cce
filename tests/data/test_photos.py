import numpy as np
import pytest
import torch

from alexnet_repro import load_dataset
from alexnet_repro.data import photos


@pytest.fixture(scope="module")
def train():
    return load_dataset("photos")


def test_ten_classes_of_equally_many_patches(train):
    test = load_dataset("photos", split="test")
    assert train.images.shape == (1500, 3, 32, 32)
    assert train.labels.bincount().tolist() == [150] * 10
    assert test.labels.bincount().tolist() == [50] * 10


def test_the_pixels_are_the_same_on_every_machine(train):
    # Recorded once from this very code: a change of the pixels would make smoke runs incomparable.
    assert train.sha256 == "832d71a7e02ea9693e219033c8f8fa2cd85125724209d5afa62619aafd9c209e"
    assert photos.load_photos("train").sha256 == train.sha256


def test_any_size_can_be_had():
    assert load_dataset("photos", size=24, split="test").images.shape == (500, 3, 24, 24)


def test_training_and_testing_windows_lie_in_separate_bands(monkeypatch):
    columns = {}
    for split in ("train", "test"):
        seen = []
        monkeypatch.setattr(photos, "_bilinear", lambda pixels, y, x, seen=seen: seen.append(x) or pixels[:1, :1])
        photos._cut(np.zeros((400, 800, 3)), split, 500, 8, np.random.default_rng(0))
        columns[split] = seen[0]
    assert columns["test"].min() >= 200  # the third of four bands of an image 400 wide at half size
    assert columns["test"].max() <= 300
    assert not ((columns["train"] > 200) & (columns["train"] < 300)).any()


def test_windows_stay_inside_the_photograph(monkeypatch):
    def checked(pixels, y, x):
        assert y.min() >= 0.5
        assert y.max() <= pixels.shape[0] - 0.5
        assert x.min() >= 0.5
        assert x.max() <= pixels.shape[1] - 0.5
        return np.zeros((*x.shape, 3))

    monkeypatch.setattr(photos, "_bilinear", checked)
    for split in ("train", "test"):
        photos.load_photos(split)


def test_bilinear_resampling_by_hand():
    pixels = np.array([[[0.0], [10.0]], [[20.0], [30.0]]])
    sampled = photos._bilinear(pixels, np.array([0.5, 1.0, 1.25]), np.array([0.5, 1.0, 0.75]))
    assert sampled[:, 0].tolist() == [0.0, 15.0, 17.5]


def test_colour_alone_does_not_give_the_photograph_away(train):
    """The best linear guess from a patch's mean colour, fitted on half of the patches, judged on the others."""
    features = train.images.double().mean((2, 3))
    features = torch.cat([features, torch.ones(1500, 1, dtype=torch.float64)], dim=1)
    targets = torch.nn.functional.one_hot(train.labels).double()
    weights = torch.linalg.lstsq(features[:750], targets[:750]).solution
    error = (features[750:] @ weights).argmax(1).ne(train.labels[750:]).double().mean()
    assert error > 0.6


def recoloured(*pixels: tuple[int, int, int], count: int = 3000) -> np.ndarray:
    patch = np.array(pixels, dtype=np.float64).reshape(1, 1, len(pixels), 3)
    return photos._recolour(np.repeat(patch, count, axis=0), np.random.default_rng(0)).astype(int)


def test_three_patches_in_ten_are_grey():
    one, other = np.moveaxis(recoloured((150, 100, 50), (50, 100, 150))[:, 0], 1, 0)  # equally bright, other hues
    assert (one == other).all(1).mean() == pytest.approx(0.3, abs=0.03)


def test_hues_are_rotated_and_brightness_is_kept_but_for_the_tint():
    patches = recoloured((150, 100, 50))[:, 0, 0]
    assert set(patches.argmax(1)) == {0, 1, 2}
    assert patches.mean() == pytest.approx(100 * 0.95 * 0.95, rel=0.01)


def test_an_impossible_size_is_refused():
    with pytest.raises(ValueError, match="not 0"):
        load_dataset("photos", size=0)
