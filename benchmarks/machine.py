"""The machine that a file of results holds for, and the form of such a file."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from racing import Work, race

from alexnet_repro.support.environment import environment
from alexnet_repro.support.files import write_atomically

RESULTS = Path(__file__).resolve().parent / "results"
MATRIX = 2048


def sgemm() -> Work:
    a, b = torch.randn(2, MATRIX, MATRIX)
    return lambda: a @ b


def this_machine() -> dict[str, Any]:
    """This machine's environment, the time, and its rate in a product of large float32 matrices, which allows times on
    other machines to be compared."""
    started = datetime.now(UTC).isoformat(timespec="seconds")
    [times] = race({"sgemm": sgemm})
    rate = 2 * MATRIX**3 / times["sgemm"] / 1e9
    return {"machine": environment("cpu"), "started": started, "sgemm GFLOP/s": rate}


def save(kind: str, found: Mapping[str, Any]) -> None:
    """Writes ``results/<kind>-<machine>.json``, from which the pages take their numbers."""
    name = re.sub(r"\W+", "-", found["machine"]["device"]).lower()
    RESULTS.mkdir(exist_ok=True)
    write_atomically(RESULTS / f"{kind}-{name}.json", json.dumps(found, indent=1) + "\n")
