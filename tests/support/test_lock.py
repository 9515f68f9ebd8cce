import errno
import os
import platform
import signal
import time
from concurrent.futures import ThreadPoolExecutor
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


def test_who_waits_gets_the_lock_when_its_holder_is_killed_and_is_named_in_its_place(tmp_path, caplog):
    held = CONTEXT.Event()
    process = CONTEXT.Process(target=hold, args=(tmp_path / "lock", held))
    process.start()
    assert held.wait(60)

    def kill() -> None:
        while "Waiting until it has finished" not in caplog.text:
            time.sleep(0.01)
        process.kill()

    with ThreadPoolExecutor() as pool:
        killed = pool.submit(kill)
        with locked(tmp_path / "lock", wait=True):
            assert (tmp_path / "lock").read_text() == f"process {os.getpid()} on {platform.node()}"
        killed.result()
    process.join()
    assert f"is in use: process {process.pid} on" in caplog.text


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


def refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From now on this file may only be read, as if another user had made it."""
    real = os.open

    def only_read(name, flags, *mode):
        if Path(name) == path and flags & (os.O_RDWR | os.O_CREAT):
            raise PermissionError(errno.EACCES, "Permission denied", str(name))
        return real(name, flags, *mode)

    monkeypatch.setattr(os, "open", only_read)


def test_a_file_that_another_user_s_killed_process_left_locks_nothing_and_can_be_locked(tmp_path, monkeypatch):
    path = tmp_path / "lock"
    path.write_text("process 1 on another machine")
    refused(path, monkeypatch)
    with locked(path), pytest.raises(BlockingIOError, match="is in use"), locked(path):
        pass
    assert not path.exists()


def test_a_file_that_may_not_be_removed_is_left_and_is_free_again(tmp_path, monkeypatch):
    path = tmp_path / "lock"
    path.write_text("process 1 on another machine")
    refused(path, monkeypatch)

    def kept(*_, **__):
        raise PermissionError(errno.EPERM, "Operation not permitted", str(path))

    monkeypatch.setattr(Path, "unlink", kept)
    for _ in range(2):
        with locked(path):
            assert path.exists()


def test_a_file_that_may_not_be_created_is_named(tmp_path, monkeypatch):
    refused(tmp_path / "lock", monkeypatch)
    with pytest.raises(PermissionError, match=r"Permission denied: .*lock"), locked(tmp_path / "lock"):
        pass


def test_a_lock_is_that_of_its_path_only_while_its_file_is_there(tmp_path):
    path = tmp_path / "lock"
    path.touch()
    with path.open() as file:
        assert lock._is(path, file.fileno())
        path.unlink()
        assert not lock._is(path, file.fileno())
        path.touch()
        assert not lock._is(path, file.fileno())
