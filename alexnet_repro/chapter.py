"""The parameters that every chapter of the book has."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from alexnet_repro.environment import resolve_device
from alexnet_repro.evidence import BOOK
from alexnet_repro.parallel import Processes
from alexnet_repro.recipes import FULL_RUN
from alexnet_repro.runs import RESULT, load_result, run
from alexnet_repro.studies import SCALES

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


def full_run(
    scale: str, seeds: int | None, data_root: str | None, device: str, threads: int, out: str | None
) -> dict[str, Any]:
    """Chapter 09's run, from the beginning or from where it was interrupted; what it left, as ``result.json`` has it.

    Args:
        seeds: the run's seed; None: 0.
        out: folder of runs; None: nothing is kept.
        scale, data_root, device, threads: as for every chapter; threads are this one run's.
    """
    config = replace(FULL_RUN[scale], seed=seeds or 0)
    torch.set_num_threads(threads)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary if out is None else out) / f"full-run-{scale}-seed{config.seed}"
        run(config, folder, data_root=data_root, processes=Processes(resolve_device(device)))
        return load_result(folder / RESULT)


def _is_parameter(name: str, value: Any) -> bool:
    """Whether it is a plain value, as papermill injects them, and not one of IPython's own."""
    plain = value is None or isinstance(value, bool | int | float | str | list | tuple | dict)
    return plain and not name.startswith("_") and name not in ("In", "Out")
