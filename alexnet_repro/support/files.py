"""Files that are either whole or absent."""

from __future__ import annotations

import glob
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO


def write_atomically(path: Path, content: str | bytes | Callable[[BinaryIO], object]) -> None:
    """Writes text (as UTF-8), bytes, or what a function writes into a file, so that ``path`` never holds a part.

    Whatever interrupts, ``path`` is as it was or as it should be. Its folder is made.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            if callable(content):
                content(file)
            else:
                file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(0o644)  # mkstemp makes files that only their owner can read
        temporary.replace(path)
    except BaseException:
        temporary.unlink()
        raise


def remove_leftovers(path: Path) -> None:
    """Removes what a process that was killed while it wrote ``path`` left beside it; none may be writing it now."""
    for temporary in path.parent.glob(f".{glob.escape(path.name)}.{'?' * 8}"):
        temporary.unlink(missing_ok=True)
