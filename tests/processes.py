"""Processes that start at once: forked from one that has imported the package; alone, or as torchrun starts them."""

import multiprocessing
import os
import tempfile
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path

from torch.distributed.launcher.api import LaunchConfig, elastic_launch

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["run_worker", "tower_worker", "prepare_worker", "torch.distributed.launcher.api"])
TIMEOUT = 300  # seconds


def started(function: Callable[..., object], *arguments: object) -> BaseProcess:
    """A process that calls the function, which must be importable by its name."""
    process = CONTEXT.Process(target=_quiet, args=(function, *arguments))
    process.start()
    return process


def torchrun(processes: int, function: Callable[..., object], *arguments: object) -> None:
    """Calls the function in so many processes that meet as torchrun's do; raises if they fail more than twice."""
    agent = started(_launch, processes, function, arguments)
    agent.join(TIMEOUT)
    if agent.exitcode is None:
        agent.kill()
    assert agent.exitcode == 0


def _launch(processes: int, function: Callable[..., object], arguments: tuple[object, ...]) -> None:
    with tempfile.TemporaryDirectory() as logs:
        tempfile.tempdir = logs
        _elastic(processes, function, arguments)


def _elastic(processes: int, function: Callable[..., object], arguments: tuple[object, ...]) -> None:
    config = LaunchConfig(
        min_nodes=1, max_nodes=1, nproc_per_node=processes, max_restarts=2, monitor_interval=0.05,
        rdzv_backend="c10d", rdzv_endpoint="localhost:0", start_method="forkserver",
    )  # fmt: skip
    elastic_launch(config, function)(*arguments)


def _quiet(function: Callable[..., object], *arguments: object) -> None:
    log = os.open(Path(os.devnull), os.O_WRONLY)
    os.dup2(log, 2)
    function(*arguments)
