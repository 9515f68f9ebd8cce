"""What ``make bench`` compares: both sides do as much, and one that fails ends the comparison."""

from functools import partial
from multiprocessing.pool import Pool

import pytest
import training
from data import random_dataset, stock_loader
from racing import race


def test_both_sides_of_an_epoch_have_as_many_images(monkeypatch):
    asked = []
    monkeypatch.setattr(training, "keep_large_blocks", lambda: None)
    monkeypatch.setattr(training, "stock_loader", asked.append)
    monkeypatch.setattr(training, "random_dataset", lambda count: asked.append(count) or random_dataset(128))
    training.plain_epoch()
    training.our_epoch()
    assert asked == [training.IMAGES, training.IMAGES]
    assert len(stock_loader(7).dataset) == len(random_dataset(7)) == 7


def test_a_contestant_may_have_processes_of_its_own():
    assert race({"pool": (partial, (Pool, 1))})[0]["pool"] > 0


def test_a_contestant_that_fails_is_named_and_does_not_hang_the_race():
    with pytest.raises(RuntimeError, match="zero has failed"):
        race({"zero": (divmod, (1, 0))})
