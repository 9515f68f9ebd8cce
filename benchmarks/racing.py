"""How contestants are compared.

Every contestant lives in a process of its own, so that none profits from another's warm memory or allocator setting.
They are timed round by round, one after the other; a ratio is that of the medians over the rounds. Nothing else should
run meanwhile.
"""

from __future__ import annotations

import logging
import multiprocessing
import resource
import statistics
from collections.abc import Callable
from multiprocessing.connection import Connection
from time import perf_counter

import torch

Work = Callable[[], object]


def serve(connection: Connection, threads: int, make: Callable[..., Work], arguments: tuple) -> None:
    """One contestant: times itself once for every message, and at last reports the memory it took, MiB."""
    torch.set_num_threads(threads)
    logging.disable(logging.WARNING)  # torch.compile looks for a GPU
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    work = make(*arguments)
    work()
    while connection.recv():
        start = perf_counter()
        work()
        connection.send(perf_counter() - start)
    connection.send((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)


def race(
    contestants: dict[str, tuple[Callable[..., Work], tuple]], rounds: int, threads: int
) -> dict[str, tuple[float, float]]:
    """Name -> median seconds, and peak memory in MiB above that of a process that has only imported everything."""
    context = multiprocessing.get_context("spawn")
    connections: dict[str, Connection] = {}
    processes = []
    for name, (make, arguments) in contestants.items():
        connections[name], other = context.Pipe()
        processes.append(context.Process(target=serve, args=(other, threads, make, arguments)))
        processes[-1].start()
    times: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(rounds):
        for name, connection in connections.items():
            connection.send(True)
            times[name].append(connection.recv())
    memory = {}
    for name, connection in connections.items():
        connection.send(False)
        memory[name] = connection.recv()
    for process in processes:
        process.join()
    return {name: (statistics.median(times[name]), memory[name]) for name in contestants}
