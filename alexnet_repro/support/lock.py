"""One process at a time: an operating-system lock, which is released however its holder ends."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

try:
    import fcntl
except ImportError:  # on Windows, where nothing is locked
    fcntl = None  # type: ignore[assignment]


@contextmanager
def locked(path: Path | None) -> Iterator[None]:
    """Locks a file within the context, and removes it afterwards; None: nothing is locked.

    A file left by a killed process locks nothing. On a file system without locks, nothing is locked.

    Raises:
        BlockingIOError: another process holds the lock; names the process.
    """
    if path is None or fcntl is None:
        yield
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = _acquired(path)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)  # before the lock is released: the next process must lock a new file
        os.close(descriptor)


def _acquired(path: Path) -> int:
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = os.read(descriptor, 200).decode(errors="replace") or "another process"
            os.close(descriptor)
            raise BlockingIOError(
                f"{path.parent} is in use: {holder} is working there. Wait until it has finished, or choose another "
                "folder"
            ) from error
        except OSError:
            return descriptor
        if _is(path, descriptor):
            with suppress(OSError):  # on a full disk, the lock holds without its holder's name
                os.truncate(descriptor, 0)
                os.write(descriptor, f"process {os.getpid()} on {platform.node()}".encode())
            return descriptor
        os.close(descriptor)  # its holder removed it in the meantime


def _is(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False
