"""Files that are either whole or absent."""

from __future__ import annotations

import glob
import os
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO


def write_atomically(path: Path, content: str | bytes | Callable[[BinaryIO], object]) -> None:
    """Writes text (as UTF-8), bytes, or what a function writes into a file, so that ``path`` never holds a part.

    Whatever interrupts, ``path`` is as it was or as it should be. Its folder is made. Who may read and write it follows
    from the umask, as for any new file. Where it is a link, what the link leads to is written; where it is a pipe or a
    device, it simply takes what comes.
    """
    if path.exists() and not path.is_file():
        with path.open("wb") as file:
            return _write(file, content)
    path = _followed(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    try:
        with os.fdopen(descriptor, "wb") as file:
            _write(file, content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _write(file: BinaryIO, content: str | bytes | Callable[[BinaryIO], object]) -> None:
    if callable(content):
        content(file)
    else:
        file.write(content.encode() if isinstance(content, str) else content)


def _followed(path: Path) -> Path:
    return Path(os.path.realpath(path)) if path.is_symlink() else path


def remove_leftovers(path: Path) -> None:
    """Removes what a process that was killed while it wrote ``path`` left beside it; none may be writing it now."""
    path = _followed(path)
    for temporary in path.parent.glob(f".{glob.escape(path.name)}.{'?' * 8}"):
        temporary.unlink(missing_ok=True)


def printable(name: str) -> str:
    r"""The name of a file; bytes of it that are not UTF-8, which Python keeps as surrogates, as ``\xe9``."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
