import hashlib
import struct

import numpy as np
import pytest
import torch

from alexnet_repro.data import Dataset

IMAGES = torch.arange(24, dtype=torch.uint8).view(2, 3, 2, 2)


def dataset(images: torch.Tensor = IMAGES, labels: tuple[int, ...] = (1, 0)) -> Dataset:
    return Dataset("d", "train", images, torch.as_tensor(labels), ("a", "b"), "made up")


def test_the_fingerprint_is_the_sha256_of_shape_pixels_and_labels():
    content = b"(2, 3, 2, 2)" + bytes(range(24)) + struct.pack("<qq", 1, 0)
    assert dataset().fingerprint == {
        "name": "d",
        "split": "train",
        "images": 2,
        "origin": "made up",
        "sha256": hashlib.sha256(content).hexdigest(),
    }


def test_one_pixel_or_one_label_changes_the_fingerprint():
    other = IMAGES.clone()
    other[0, 0, 0, 0] += 1
    assert len({dataset().sha256, dataset(other).sha256, dataset(labels=(1, 1)).sha256}) == 3


def test_the_memory_format_does_not_change_it():
    assert dataset(IMAGES.to(memory_format=torch.channels_last)).sha256 == dataset().sha256


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (IMAGES.float(), (0, 1), "uint8, not .* torch.float32"),
        (IMAGES[:, :1], (0, 1), r"not \(2, 1, 2, 2\)"),
        (IMAGES, (0,), r"labels must be \(2,\) int64, not \(1,\) torch.int64"),
        (IMAGES, torch.tensor([0, 1], dtype=torch.int32), r"labels must be \(2,\) int64, not \(2,\) torch.int32"),
        (IMAGES, (0, 2), "labels must be from 0 to 1, numbers of the classes, not 2"),
        (IMAGES, (-1, 0), "labels must be from 0 to 1, numbers of the classes, not -1"),
    ],
)
def test_what_is_no_data_set_is_refused(images, labels, message):
    with pytest.raises(ValueError, match=message):
        dataset(images, labels)


@pytest.mark.parametrize(("labels", "kind"), [([0, 1], "list"), (np.array([0, 1]), "ndarray")])
def test_labels_that_are_no_tensor_are_refused_as_that(labels, kind):
    with pytest.raises(ValueError, match=f"labels must be a torch tensor, as torch.tensor gives, not {kind}"):
        Dataset("d", "train", IMAGES, labels, ("a", "b"), "made up")


def test_a_data_set_is_printed_without_its_pixels():
    assert repr(dataset()) == "Dataset(name='d', split='train', classes=('a', 'b'), origin='made up')"
