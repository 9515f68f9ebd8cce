"""Keeps chapters as text and as notebook in step, by content: ``python book/_ext/pair.py [--keep text] TEXT ...``.

The notebook stores a digest of the cells when both last agreed, which tells on which side a cell was edited since.
Neither time stamps nor git are consulted.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any, Literal

import jupytext
import nbformat
from jupytext.combine import combine_inputs_with_outputs
from jupytext.config import load_jupytext_config
from nbformat import NotebookNode

from alexnet_repro.support.files import write_atomically
from alexnet_repro.support.values import digest

Side = Literal["text", "notebook"]
FORM = {"extension": ".md", "format_name": "myst"}  # of a text
MEMORY = "cells_in_step"  # in a notebook's metadata: sha256 of its cells when text and notebook last agreed


def cells(notebook: NotebookNode) -> list[list[Any]]:
    """The content that text and notebook have in common: the kind, source and tags of every cell."""
    kept = ("tags", "mystnb")
    return [
        [cell.cell_type, cell.source, {name: cell.metadata[name] for name in kept if name in cell.metadata}]
        for cell in notebook.cells
    ]


def step(text: Path, notebook: Path, keep: Side | None = None) -> str:
    """Updates the side that was not edited, and returns the side that was: "text", "notebook" or "neither".

    Args:
        text, notebook: the two files of a chapter; a missing notebook is created.
        keep: the side to keep if both were edited.

    Raises:
        ValueError: both were edited; the error names the cells, and nothing is changed.
    """
    written = jupytext.read(text)
    run = nbformat.read(notebook, as_version=4) if notebook.exists() else nbformat.v4.new_notebook()
    before = run.metadata.get(MEMORY) if notebook.exists() else digest(cells(run))
    edited = [side for side, found in (("text", written), ("notebook", run)) if digest(cells(found)) != before]
    if cells(written) == cells(run):
        edited = []
    elif len(edited) == 2 and keep is None:
        where = _differing(written, run)
        raise ValueError(f"{text} and {notebook} were both edited: {where}. --keep says which stays.")
    side = keep if len(edited) == 2 else edited[0] if edited else "neither"
    if side == "notebook":
        write_atomically(text, jupytext.writes(run, fmt=FORM, config=load_jupytext_config(str(text))))
    if side == "text":
        run = combine_inputs_with_outputs(written, run, fmt=FORM)
    if side != "neither" or before != digest(cells(run)):
        run.metadata[MEMORY] = digest(cells(run))
        write_atomically(notebook, nbformat.writes(run) + "\n")
    return side


def _differing(written: NotebookNode, run: NotebookNode) -> str:
    ours, theirs = cells(written), cells(run)
    numbers = [i for i in range(max(len(ours), len(theirs))) if ours[i : i + 1] != theirs[i : i + 1]]
    return f"cells {', '.join(str(i + 1) for i in numbers)} differ"


def main() -> None:
    """Runs the command; a chapter that cannot be brought in step does not stop the others."""
    parser = argparse.ArgumentParser(description=__doc__.partition(":")[0])
    parser.add_argument("texts", nargs="+", type=Path)
    parser.add_argument("--keep", choices=["text", "notebook"])
    arguments = parser.parse_args()
    conflicts = []
    for text in arguments.texts:
        try:
            side = step(text, text.parents[1] / f"{text.stem}.ipynb", arguments.keep)
        except ValueError as error:
            conflicts.append(str(error))
        else:
            print(f"{text.stem}: {side} was edited")
    if conflicts:
        raise SystemExit("\n".join(conflicts))


if __name__ == "__main__":
    main()
