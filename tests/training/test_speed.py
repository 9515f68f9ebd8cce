from dataclasses import replace

import pytest
from run_case import CONFIG

from alexnet_repro.training import progress
from alexnet_repro.training.progress import step_speed


def test_a_larger_network_is_slower():
    wide = replace(CONFIG, net=replace(CONFIG.net, width=16.0))
    assert 0 < step_speed(wide, "cpu", steps=3) < step_speed(CONFIG, "cpu", steps=3)


def test_the_speed_of_an_even_number_of_steps_is_in_the_middle(monkeypatch):
    times = iter([0.0, 10.0, 11.0, 14.0])  # the first two steps are for warming up
    monkeypatch.setattr(progress, "perf_counter", lambda: next(times))
    assert step_speed(CONFIG, "cpu", steps=2) == CONFIG.input.batch_size / 2


def test_no_step_has_no_speed():
    with pytest.raises(ValueError, match="steps must be greater than 0, not 0"):
        step_speed(CONFIG, "cpu", steps=0)
