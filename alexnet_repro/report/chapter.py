"""The parameters that every chapter of the book has."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from alexnet_repro.claims.records import BOOK
from alexnet_repro.claims.study import SCALES
from alexnet_repro.support.environment import resolve_device

CHECKPOINT = BOOK / "checkpoints" / "run145-imagenette.pt"  # the network of chapter 10
PARAMETERS = ("scale", "seeds", "data_root", "device", "threads")


def settings(namespace: Mapping[str, Any]) -> dict[str, Any]:
    """A chapter's parameters, checked, as keyword arguments of ``run_claim``.

    To be called right after the parameters cell, before other names are set. At scale smoke nothing is written; at
    the others every run is recorded in the folder ``runs``, so that an interrupted chapter goes on where it stopped.

    Args:
        namespace: the notebook's ``globals()``.

    Raises:
        ValueError: a parameter that does not exist (papermill would only warn), or a value that is not allowed.
    """
    values = {name: value for name, value in namespace.items() if _is_parameter(name, value)}
    if unknown := sorted(set(values) - set(PARAMETERS)):
        raise ValueError(f"parameters are {', '.join(PARAMETERS)}, not {', '.join(unknown)}")
    if values["scale"] not in SCALES:
        raise ValueError(f"scale must be one of {', '.join(SCALES)}, not {values['scale']!r}")
    resolve_device(values["device"])
    return values | {"out": None if values["scale"] == "smoke" else "runs"}


def _is_parameter(name: str, value: Any) -> bool:
    """Whether it is a plain value, as papermill injects them, and not one of IPython's own."""
    plain = value is None or isinstance(value, bool | int | float | str | list | tuple | dict)
    return plain and not name.startswith("_") and name not in ("In", "Out")
