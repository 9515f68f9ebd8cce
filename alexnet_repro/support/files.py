"""Files that are written either completely or not at all."""

from __future__ import annotations

import glob
import os
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO


def write_atomically(path: Path, content: str | bytes | Callable[[BinaryIO], object]) -> None:
    """Writes text (as UTF-8), bytes, or a function's output to ``path``, which never holds an incomplete file.

    If the process is interrupted, ``path`` is either unchanged or complete. Its folder is created if it is missing. Its
    permissions follow the umask, as for any new file. If it is a symbolic link, its target is written; if it is a pipe
    or a device, the content is written to it directly.
    """
    if path.exists() and not path.is_file():
        with path.open("wb") as file:
            return _write(file, content)
    path = _followed(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        with temporary.open("xb") as file:
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
    """Removes temporary files of processes killed while writing ``path``; no process may be writing it now."""
    path = _followed(path)
    for temporary in path.parent.glob(f".{glob.escape(path.name)}.{'?' * 8}"):
        temporary.unlink(missing_ok=True)


def printable(name: str) -> str:
    r"""The name of a file, with bytes that are not UTF-8 (which Python keeps as surrogates) written as ``\xe9``."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
