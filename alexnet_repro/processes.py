"""Processes that work for this one."""

from __future__ import annotations

import multiprocessing
import os
import threading
from concurrent.futures import ProcessPoolExecutor

import torch


def spawned(workers: int) -> ProcessPoolExecutor:
    """Processes that start clean (no threads, locks or random state of this one), have one thread, and end with it."""
    return ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn"), initializer=_settle)


def _settle() -> None:
    torch.set_num_threads(1)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """A killed parent can't tell its workers; they would wait for work for ever."""
    multiprocessing.parent_process().join()
    os._exit(1)
