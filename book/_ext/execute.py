"""Executes notebooks in place, in the folder they are in: ``python book/_ext/execute.py NOTEBOOK ...``.

Like ``jupyter execute``, which always writes when each cell ran, so that every execution changes every cell.
"""

from __future__ import annotations

import sys
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

from alexnet_repro.support.files import write_atomically


def execute(path: Path) -> None:
    """Executes a notebook and writes it with its outputs, if no cell fails."""
    notebook = nbformat.read(path, as_version=4)
    NotebookClient(notebook, record_timing=False, resources={"metadata": {"path": path.parent}}).execute()
    write_atomically(path, nbformat.writes(notebook) + "\n")


if __name__ == "__main__":
    for name in sys.argv[1:]:
        try:
            execute(Path(name))
        except CellExecutionError as error:
            sys.exit(f"{name}: {error}")
