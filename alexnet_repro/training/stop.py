"""Requests to stop, by Ctrl-C or by a scheduler."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def stop_asked(once: bool = True) -> Iterator[list[int]]:
    """A list that is empty until SIGINT or SIGTERM arrives; outside the main thread, which gets none, it stays empty.

    Args:
        once: let a second signal have its usual effect. Not for torchrun, which sends each process again what the
            terminal has already sent to all of them, and kills those that do not end.
    """
    asked: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield asked
        return
    before: dict[int, Any] = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def remember(number: int, _: object) -> None:
        asked.append(number)
        if once:
            signal.signal(number, before[number])

    try:
        for number in before:
            signal.signal(number, remember)
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
