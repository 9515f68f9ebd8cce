"""Speed and memory on this machine: ``make bench`` writes them into ``results`` and from there into the README.

See ``racing`` for how times are compared. Nothing else should run at the same time.
"""

from __future__ import annotations

import importlib
import json
import re
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import data
import memory
import network
import scaling
import training
from racing import ROUNDS, sgemm_rate

from alexnet_repro.report.tables import counted
from alexnet_repro.support.environment import environment
from alexnet_repro.support.files import write_atomically
from alexnet_repro.support.table import Table

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
sys.path.append(str(ROOT / "book" / "_ext"))
between = importlib.import_module("page_tables").between
BEGIN, END = "<!-- speed: written by `make bench`; do not edit -->", "<!-- speed end -->"


def measured() -> dict[str, Any]:
    """All measurements, with the machine that they hold for."""
    started = datetime.now(UTC).isoformat(timespec="seconds")
    found = {"machine": environment("cpu"), "started": started, "sgemm GFLOP/s": sgemm_rate(), "rounds": ROUNDS}
    speeds = [figure for part in (network, data, training) for figure in part.figures()]
    scaled = {"curves": scaling.curves(), "processes": scaling.weak_scaling()}
    return found | {"speeds": speeds, "memory": memory.figures()} | scaled


def block(found: dict[str, Any]) -> str:
    """The README's tables of the measurements on one machine."""
    machine = found["machine"]
    note = (
        f"On {machine['device']}, which multiplies matrices at {found['sgemm GFLOP/s']:.0f} GFLOP/s (float32), with "
        f"torch {machine['torch']} and {counted(machine['threads'], 'thread')}; medians of {found['rounds']} rounds. "
        "Each busy process keeps one core busy."
    )
    rows: dict[tuple[str, str, str], dict[int, float]] = {}
    for figure in found["speeds"]:
        key = figure["what"], figure["ours"], figure["against"]
        rows.setdefault(key, {})[figure["busy processes"]] = figure["speed"]
    beside = sorted({others for speeds in rows.values() for others in speeds})
    header = ["", "ours", "against", *("alone" if not n else f"beside {n} busy" for n in beside)]
    cells = [[*key, *(f"{speeds[n]:.2f}x" if n in speeds else "" for n in beside)] for key, speeds in rows.items()]
    peaks = [
        [peak["what"], *(f"{peak[key]:,.0f}" for key in ("measured MiB", "formula MiB")), peak["formula"]]
        for peak in found["memory"]
    ]
    speed = Table(header, cells).to_markdown()
    memory = Table(["peak memory", "measured, MiB", "estimated, MiB", "from"], peaks).to_markdown()
    return f"{note}\n\n{speed}\n\n{memory}"


def main() -> None:
    found = measured()
    name = re.sub(r"\W+", "-", found["machine"]["device"]).lower()
    RESULTS.mkdir(exist_ok=True)
    write_atomically(RESULTS / f"cpu-{name}.json", json.dumps(found, indent=1) + "\n")
    readme = ROOT / "README.md"
    write_atomically(readme, between(readme.read_text(encoding="utf-8"), BEGIN, END, block(found)))


if __name__ == "__main__":
    main()
