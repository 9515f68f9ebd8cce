import pytest
import torch

from alexnet_repro.augment import InputTransform
from alexnet_repro.config import InputConfig
from alexnet_repro.data import Batches, Dataset


def made(reshuffle: bool, seed: int = 0, size: int = 10) -> Batches:
    """Batches of 25 pictures, each of whose pixels is its number."""
    images = torch.arange(25, dtype=torch.uint8).view(25, 1, 1, 1).repeat(1, 3, 2, 2)
    dataset = Dataset("d", "train", images, torch.arange(25), tuple("abcdefghijklmnopqrstuvwxy"), "made up")
    config = InputConfig(batch_size=size, reshuffle=reshuffle)
    transform = InputTransform(config, torch.zeros(3, 1, 1), torch.ones(()))
    return Batches(dataset, transform, torch.Generator().manual_seed(seed))


def epoch(batches: Batches) -> list[int]:
    return torch.cat([labels for _, labels in batches]).tolist()


@pytest.mark.parametrize("reshuffle", [False, True])
def test_every_picture_comes_once_an_epoch_with_its_label(reshuffle):
    batches = made(reshuffle)
    for _ in range(2):
        pairs = [(inputs, labels) for inputs, labels in batches]
        assert [len(labels) for _, labels in pairs] == [10, 10, 5]
        assert sorted(torch.cat([labels for _, labels in pairs]).tolist()) == list(range(25))
        assert all(inputs[:, 0, 0, 0].equal(labels.float()) for inputs, labels in pairs)
    assert len(batches) == 3


def test_2012s_order_is_shuffled_once_and_kept():
    batches = made(reshuffle=False)
    first = epoch(batches)
    assert first != list(range(25))
    assert epoch(batches) == first


def test_reshuffling_gives_every_epoch_a_new_order():
    batches = made(reshuffle=True)
    assert epoch(batches) != epoch(batches)


def test_the_order_follows_the_generator():
    assert epoch(made(True, seed=1)) == epoch(made(True, seed=1)) != epoch(made(True, seed=2))
