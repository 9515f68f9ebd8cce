"""A tensor's work in pieces, taken by threads that don't wait for each other."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TypeVar

import torch

T = TypeVar("T")


def share_out(work: Callable[[Iterator[T]], object], pieces: Iterable[T]) -> None:
    """Calls ``work`` in as many threads as torch has for an operation; each of them takes the next piece that is left.

    Where torch divides every operation itself, all threads wait for the slowest one after each: on many small pieces,
    beside a process that keeps a core busy, most of the time. Here one operation is one thread's, and they wait once.

    Args:
        work: goes through the pieces it gets, and writes into tensors; nothing in it is differentiated.
        pieces: in any order, independent of each other.
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
    torch.set_num_threads(1)  # of this thread, and of those that begin from now on
    try:
        with ThreadPoolExecutor(helpers) as pool:
            begun = [pool.submit(alone) for _ in range(helpers)]
            alone()
        for future in begun:
            future.result()
    finally:
        torch.set_num_threads(threads)
