"""The parameters that every chapter of the book has."""

from __future__ import annotations

import ast
import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from alexnet_repro.claims.records import BOOK
from alexnet_repro.claims.study import SCALES, check_seeds
from alexnet_repro.support.environment import resolve_device
from alexnet_repro.support.values import check_choice, check_whole

CHECKPOINT = BOOK / "checkpoints" / "run145-imagenette.pt"  # the network of chapter 10
CLONED = (BOOK.parent / "Makefile").exists()
RUNS = BOOK.parent / "runs" if CLONED else Path("runs")  # in a clone one folder, whoever runs the notebook, and where
PARAMETERS = ("scale", "seeds", "data_root", "device", "threads")


def settings(namespace: Mapping[str, Any]) -> dict[str, Any]:
    """A chapter's parameters, checked, as keyword arguments of ``run_claim``; as often as the cell is run.

    At scale smoke nothing is written; at the others every run is recorded in ``RUNS``, so that an interrupted chapter
    goes on where it stopped. What matplotlib logs of this machine, its fonts and folders, gets on no page.

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
    check_seeds(values["seeds"])
    check_whole("threads", values["threads"])
    for name in ("data_root", "device"):
        if not isinstance(values[name], str | None if name == "data_root" else str):
            raise ValueError(f"{name} must be a string, not {values[name]!r}: with papermill, -r {name} {values[name]}")
    resolve_device(values["device"])
    logging.getLogger("matplotlib").setLevel(logging.ERROR)
    return values | {"out": None if values["scale"] == "smoke" else RUNS}


def _assigned(namespace: Mapping[str, Any]) -> Iterator[str]:
    """The names that the parameters' cell sets and the one that papermill puts after it.

    They are read off the cells that were run: a cell that is run again finds the names of the whole chapter.
    """
    for cell in namespace.get("In", ()):
        try:
            statements = ast.parse(cell).body
        except SyntaxError:  # a cell with a command of IPython
            continue
        names = [node.id for x in statements if isinstance(x, ast.Assign) for node in x.targets if hasattr(node, "id")]
        if "scale" in names or cell.startswith("# Parameters\n"):
            yield from names
