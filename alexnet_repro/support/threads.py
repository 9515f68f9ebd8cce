"""Work on tensors, in pieces that threads take without waiting for each other."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TypeVar

import torch

T = TypeVar("T")

CACHED = 2**18  # values processed at a time on a CPU, few enough for the processor's cache


def usable_cores() -> int:
    """The cores that this process may use, which a cluster may restrict; where that is not known, all of them."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def share_out(work: Callable[[Iterator[T]], object], pieces: Iterable[T]) -> None:
    """Calls ``work`` in as many threads as torch uses for an operation; each of them takes the next remaining piece.

    If torch splits each operation, all threads wait for the slowest after each one: most of the time, if the pieces are
    small and another process keeps a core busy. Here each operation runs in one thread, and threads wait only once.

    Args:
        work: iterates over the pieces it is given, and writes into tensors; runs without autograd.
        pieces: independent of each other; they are processed in any order.
    """
    left = deque(pieces)

    def taken() -> Iterator[T]:
        with suppress(IndexError):
            while True:
                yield left.popleft()

    @torch.inference_mode()
    def alone() -> None:
        work(taken())

    threads = torch.get_num_threads()
    helpers = min(threads, len(left)) - 1
    if helpers < 1:
        return alone()
    torch.set_num_threads(1)  # for this thread, and for those started from now on
    try:
        with ThreadPoolExecutor(helpers) as pool:
            begun = [pool.submit(alone) for _ in range(helpers)]
            alone()
        for future in begun:
            future.result()
    finally:
        torch.set_num_threads(threads)
