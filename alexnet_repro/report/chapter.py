"""The parameters that every chapter of the book has."""

from __future__ import annotations

import ast
import logging
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from IPython import get_ipython

from alexnet_repro.claims.records import BOOK
from alexnet_repro.claims.study import SCALES, check_seeds
from alexnet_repro.support.environment import resolve_device
from alexnet_repro.support.values import check_choice, check_whole

CHECKPOINT = BOOK / "checkpoints" / "run145-imagenette.pt"  # the network of chapter 10
# In a clone, which has a Makefile, the same folders wherever a notebook runs.
HOME = BOOK.parent if (BOOK.parent / "Makefile").exists() else Path()
RUNS, DATA = HOME / "runs", HOME / "data"
PARAMETERS = ("scale", "seeds", "data_root", "device", "threads")


def settings(namespace: Mapping[str, Any]) -> dict[str, Any]:
    """Checks a chapter's parameters and returns them as keyword arguments of ``run_claim``; the cell may be run again.

    At scale smoke nothing is written; at the others every run is recorded in ``RUNS``, so that an interrupted chapter
    resumes where it stopped. Figures are drawn in the page, whatever ``MPLBACKEND`` says, and matplotlib's log messages
    about fonts and folders of this machine are kept off it.

    Args:
        namespace: the notebook's ``globals()``.

    Raises:
        ValueError: a parameter that does not exist (papermill would only warn), or a value that is not allowed.
    """
    if unknown := sorted(set(_assigned(namespace)) - set(PARAMETERS)):
        raise ValueError(f"parameters are {', '.join(PARAMETERS)}, not {', '.join(unknown)}")
    if missing := [name for name in PARAMETERS if name not in namespace]:
        raise ValueError(f"the parameters' cell must be run before this one: there is no {', '.join(missing)}")
    values = {name: namespace[name] for name in PARAMETERS}
    check_choice("scale", values["scale"], SCALES)
    try:
        check_seeds(values["seeds"])
    except ValueError as error:
        raise ValueError(f"{error}: with papermill, -p seeds 5, or -y 'seeds: [0, 3]'") from None
    check_whole("threads", values["threads"])
    for name in ("data_root", "device"):
        if not isinstance(values[name], str | None if name == "data_root" else str):
            raise ValueError(f"{name} must be a string, not {values[name]!r}: with papermill, -r {name} {values[name]}")
    resolve_device(values["device"])
    logging.getLogger("matplotlib").setLevel(logging.ERROR)
    if (shell := get_ipython()) is not None:
        shell.run_line_magic("matplotlib", "inline")
    if not (values["data_root"] or os.environ.get("ALEXNET_REPRO_DATA")):
        values["data_root"] = str(DATA)
    return values | {"out": None if values["scale"] == "smoke" else RUNS}


def _assigned(namespace: Mapping[str, Any]) -> Iterator[str]:
    """The names that are set by the parameters' cell and by the cell that papermill inserts after it.

    They are parsed from the cells that were run, as the namespace of a cell run again has the whole chapter's names.
    """
    for cell in namespace.get("In", ()):
        try:
            statements = ast.parse(cell).body
        except SyntaxError:  # a cell with an IPython command
            continue
        names = [node.id for x in statements if isinstance(x, ast.Assign) for node in x.targets if hasattr(node, "id")]
        if "scale" in names or cell.startswith("# Parameters\n"):
            yield from names
