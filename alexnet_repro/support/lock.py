"""One process at a time: an operating-system lock, which is released however its holder ends."""

from __future__ import annotations

import logging
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

try:
    import fcntl
except ImportError:  # on Windows, where nothing is locked
    fcntl = None  # type: ignore[assignment]

logger = logging.getLogger(__name__)


@contextmanager
def locked(path: Path | None, wait: bool = False) -> Iterator[None]:
    """Locks a file within the context, and removes it afterwards; None: nothing is locked.

    A file left by a killed process locks nothing, even if it is another user's. On a file system without locks, nothing
    is locked.

    Args:
        path: the file.
        wait: if another process holds the lock, log a warning that names it, and wait until it is free.

    Raises:
        BlockingIOError: another process holds the lock, and ``wait`` is not set; names the process.
    """
    if path is None or fcntl is None:
        yield
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = _acquired(path, wait)
    try:
        yield
    finally:
        with suppress(PermissionError):  # another user's, in a folder where only the owner removes a file
            path.unlink(missing_ok=True)  # before the lock is released: the next process must lock a new file
        os.close(descriptor)


def _acquired(path: Path, wait: bool) -> int:
    while True:
        descriptor = _opened(path)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = os.pread(descriptor, 200, 0).decode(errors="replace") or "another process"
            used = f"{path.parent} is in use: {holder} is working there."
            if not wait:
                os.close(descriptor)
                raise BlockingIOError(f"{used} Wait until it has finished, or choose another folder") from error
            logger.warning(f"{used} Waiting until it has finished")
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        except OSError:
            return descriptor
        if _is(path, descriptor):
            with suppress(OSError):  # on a full disk or in another user's file, it holds without its holder's name
                os.truncate(descriptor, 0)
                os.write(descriptor, f"process {os.getpid()} on {platform.node()}".encode())
            return descriptor
        os.close(descriptor)  # its holder removed it in the meantime


def _opened(path: Path) -> int:
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    except PermissionError:
        with suppress(FileNotFoundError):  # there is no such file, and none may be created
            return os.open(path, os.O_RDONLY)  # another user's, which can be locked all the same
        raise


def _is(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False
