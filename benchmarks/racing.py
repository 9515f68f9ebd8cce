"""Compares the speeds of contestants.

Every contestant runs in a process of its own, so that none profits from another's warm memory or allocator setting. In
each round they are timed one after the other; a ratio is that of the medians over the rounds. Nothing else should run
at the same time, except the busy processes that a comparison asks for.
"""

from __future__ import annotations

import logging
import multiprocessing
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from time import perf_counter
from typing import Any

import torch

Work = Callable[[], object]
Contestants = dict[str, Callable[[], Work]]  # name -> what its process calls to set it up

ROUNDS = 5


def serve(connection: Connection, threads: int, make: Callable[[], Work]) -> None:
    """One contestant: times itself once for every message."""
    torch.set_num_threads(threads)
    logging.disable(logging.WARNING)
    work = make()
    work()
    while connection.recv():
        start = perf_counter()
        work()
        connection.send(perf_counter() - start)


def started(target: Callable[..., None], *arguments: Any, daemon: bool = False) -> tuple[SpawnProcess, Connection]:
    """A new process that calls ``target`` with one end of a connection and the arguments; and the other end."""
    context = multiprocessing.get_context("spawn")
    connection, other = context.Pipe()
    process = context.Process(target=target, args=(other, *arguments), daemon=daemon)
    process.start()
    other.close()  # so that the connection ends when the process does
    return process, connection


@contextmanager
def busy(processes: int) -> Iterator[None]:
    """Within the ``with`` block, runs this many processes that each keep a core busy."""
    others = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(processes)]
    try:
        yield
    finally:
        for other in others:
            other.kill()
            other.wait()


def race(contestants: Contestants, beside: Sequence[int] = (0,)) -> list[dict[str, float]]:
    """For each number of busy processes in ``beside``, name -> median seconds."""
    threads = torch.get_num_threads()
    children = {name: started(serve, threads, make) for name, make in contestants.items()}
    processes = [process for process, _ in children.values()]
    connections = {name: connection for name, (_, connection) in children.items()}
    try:
        medians = [_timed(connections, others) for others in beside]
        for connection in connections.values():
            connection.send(False)
    except BaseException:
        for process in processes:
            process.kill()
        raise
    for process in processes:
        process.join()
    return medians


def _timed(connections: dict[str, Connection], others: int) -> dict[str, float]:
    times: dict[str, list[float]] = {name: [] for name in connections}
    with busy(others):
        for _ in range(ROUNDS):
            for name, connection in connections.items():
                try:
                    connection.send(True)
                    times[name].append(connection.recv())
                except (EOFError, OSError) as error:
                    raise RuntimeError(f"{name} has failed: its own error says why") from error
    return {name: statistics.median(measured) for name, measured in times.items()}


def speeds(what: str, contestants: Contestants, beside: Sequence[int] = (0,)) -> list[dict[str, Any]]:
    """The speed of every contestant but the first, as a multiple of the first one's."""
    against, *ours = contestants
    return [
        {
            "what": what,
            "ours": name,
            "against": against,
            "busy processes": others,
            "speed": times[against] / times[name],
        }
        for others, times in zip(beside, race(contestants, beside), strict=True)
        for name in ours
    ]
