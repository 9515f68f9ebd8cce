"""Whatever is damaged in a checkpoint: it is as it was, or refused in a line that names the file."""

import contextlib
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from damage import changed, many, places
from hypothesis import given
from hypothesis import strategies as st
from run_case import make_images

from alexnet_repro.training.checkpoint import LAST, CheckpointError, Files, load_checkpoint, save_checkpoint
from alexnet_repro.training.config import RunConfig
from alexnet_repro.training.diagnosis import TrainingError
from alexnet_repro.training.run import Interrupted, run
from alexnet_repro.training.state import Training
from alexnet_repro.training.trained import begun, export, load_trained

VALUES = st.sampled_from(
    [None, True, -1, 0, 3, 1.5, float("nan"), "x", "", [], [1, "x"], {}, {"a": 1}, torch.zeros(3), torch.tensor(7)]
)


@pytest.fixture(scope="module")
def stopped(tmp_path_factory) -> tuple[Path, Any]:
    """The folder of a run that was asked to stop in its second epoch, and its configuration."""
    folder = tmp_path_factory.mktemp("stopped")
    config = make_images(folder / "images")

    def ask(training) -> None:
        if training.step == 7:
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(Interrupted):
        run(config, Files.of_folder(folder), on_step=[ask])
    return folder, config


def refused(file: Path, use: Callable[[], object]) -> bool:
    """Whether it is refused, as it should be: in one line that names the file."""
    try:
        use()
    except CheckpointError as error:
        said = str(error)
    except TrainingError:
        return False
    else:
        return False
    assert str(file) in said
    assert "\n" not in said
    return True


def go_on(config: RunConfig, folder: Path) -> None:
    """The run for a few steps."""
    steps = []

    def stop(training: Training) -> None:
        steps.append(training.step)
        if len(steps) == 3:
            raise KeyboardInterrupt

    with contextlib.suppress(KeyboardInterrupt):
        run(config, Files(last=folder / LAST), on_step=[stop])


@many
@given(data=st.data())
def test_a_checkpoint_of_which_bytes_are_lost_or_changed_is_whole_or_refused(stopped, data, tmp_path):
    folder, _ = stopped
    content = bytearray((folder / LAST).read_bytes())
    if data.draw(st.booleans()):
        del content[data.draw(st.integers(0, len(content) - 1)) :]
    else:
        for place in data.draw(st.lists(st.integers(0, len(content) - 1), min_size=1, max_size=3)):
            content[place] ^= 1 << data.draw(st.integers(0, 7))
    (tmp_path / LAST).write_bytes(content)
    whole = load_checkpoint(folder / LAST)
    if not refused(tmp_path / LAST, lambda: load_checkpoint(tmp_path / LAST)):
        found = load_checkpoint(tmp_path / LAST)
        assert repr(found) == repr(whole)


@many
@given(data=st.data())
def test_a_checkpoint_that_holds_something_else_is_used_or_refused(stopped, data, tmp_path):
    folder, config = stopped
    whole = load_checkpoint(folder / LAST)
    place = data.draw(st.sampled_from(sorted(places(whole), key=str)))
    found = changed(whole, place, data.draw(VALUES), data.draw(st.booleans()))
    save_checkpoint(tmp_path / LAST, found.get("config"), found.get("state"))
    for use in (
        lambda: load_trained(tmp_path, "cpu"),
        lambda: export(tmp_path, tmp_path / "out.pt"),
        lambda: begun(tmp_path),
        lambda: go_on(config, tmp_path),
    ):
        refused(tmp_path / LAST, use)
