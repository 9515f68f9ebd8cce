import errno
import os
import signal
from pathlib import Path
from threading import Event

import pytest
from processes import CONTEXT

from alexnet_repro.support import lock
from alexnet_repro.support.lock import locked


def hold(path: Path, held: Event) -> None:
    with locked(path):
        held.set()
        signal.pause()


def test_a_lock_is_free_when_its_holder_was_killed(tmp_path):
    held = CONTEXT.Event()
    process = CONTEXT.Process(target=hold, args=(tmp_path / "lock", held))
    process.start()
    assert held.wait(60)
    with pytest.raises(BlockingIOError, match=f"process {process.pid} on"), locked(tmp_path / "lock"):
        pass
    process.kill()
    process.join()
    assert (tmp_path / "lock").exists()
    with locked(tmp_path / "lock"):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_lock_that_its_holder_removed_is_not_taken_for_one(tmp_path, monkeypatch):
    answers = iter([False, True])
    monkeypatch.setattr(lock, "_is", lambda path, descriptor: next(answers))
    with locked(tmp_path / "lock"):
        assert list(answers) == []


def test_where_there_are_no_locks_nothing_is_locked(tmp_path, monkeypatch):
    monkeypatch.setattr(lock, "fcntl", None)
    with locked(tmp_path / "lock"), locked(tmp_path / "lock"):
        assert list(tmp_path.iterdir()) == []


def test_a_holder_whose_name_can_t_be_written_holds_the_lock_and_frees_it(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full)
        with (
            locked(tmp_path / "lock"),
            pytest.raises(BlockingIOError, match="another process is working there"),
            locked(tmp_path / "lock"),
        ):
            pass
    with locked(tmp_path / "lock"):
        pass
