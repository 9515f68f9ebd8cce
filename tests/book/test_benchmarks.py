"""What ``make bench`` compares: both sides do as much, and one that fails ends the comparison."""

from functools import partial
from multiprocessing.pool import Pool

import pytest
import training
from data import small_batches, stock_loader
from racing import race


def test_both_sides_of_an_epoch_have_as_many_images(monkeypatch):
    asked = []
    monkeypatch.setattr(training, "keep_large_blocks", lambda: None)
    monkeypatch.setattr(training, "stock_loader", asked.append)
    monkeypatch.setattr(training, "small_batches", asked.append)
    training.plain_epoch()
    training.our_epoch()
    assert asked == [training.IMAGES, training.IMAGES]
    assert len(stock_loader(256).dataset) == sum(len(labels) for _, labels in small_batches(256)) == 256


def test_a_contestant_may_have_processes_of_its_own():
    assert race({"pool": partial(partial, Pool, 1)})[0]["pool"] > 0


def test_a_contestant_that_fails_is_named_and_does_not_hang_the_race():
    with pytest.raises(RuntimeError, match="zero has failed"):
        race({"zero": partial(divmod, 1, 0)})
