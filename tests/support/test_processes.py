import os
import signal
import subprocess
import sys
import time

import pytest
import torch

from alexnet_repro.support.environment import clean_processes

PARENT = """
import sys, time
from alexnet_repro.support.environment import clean_processes
import os

if __name__ == "__main__":
    with clean_processes(1) as pool:
        print(pool.submit(os.getpid).result(), flush=True)
        pool.submit(time.sleep, 600)
"""


def test_a_worker_has_one_thread():
    with clean_processes(1) as pool:
        assert pool.submit(torch.get_num_threads).result() == 1
        assert pool.submit(os.getpid).result() != os.getpid()


def test_a_worker_sees_the_environment_as_it_is_when_it_starts(monkeypatch):
    for value in ("first", "second"):
        monkeypatch.setenv("ALEXNET_REPRO_DATA", value)
        with clean_processes(1) as pool:
            assert pool.submit(os.getenv, "ALEXNET_REPRO_DATA").result() == value


def test_a_worker_that_is_killed_is_an_error_that_says_what_to_do():
    with (
        pytest.raises(ChildProcessError, match="run fewer at a time"),
        clean_processes(1) as pool,
    ):
        pool.submit(kill_itself).result()


def kill_itself() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def test_workers_end_with_a_parent_that_was_killed(tmp_path):
    script = tmp_path / "parent.py"
    script.write_text(PARENT)
    parent = subprocess.Popen(
        [sys.executable, str(script)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    with parent.stdout:
        worker = int(parent.stdout.readline())
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    deadline = time.monotonic() + 20
    while running(worker):
        assert time.monotonic() < deadline, "the worker is still there"
        time.sleep(0.05)


def running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    stat = f"/proc/{process}/stat"
    if not os.path.exists(stat):  # noqa: PTH110
        return False
    with open(stat) as file:  # noqa: PTH123
        return file.read().split()[2] != "Z"  # dead, and nobody has asked for its exit status yet
