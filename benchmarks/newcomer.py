"""A newcomer's path: clones the repository into an empty folder, does what the README says, and notes the times there.

Nothing else should run meanwhile. pip takes what it has fetched before from its cache.
"""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from time import perf_counter

from racing import sgemm_rate

from alexnet_repro.support.environment import environment
from alexnet_repro.support.files import write_atomically
from alexnet_repro.support.table import Table

ROOT = Path(__file__).resolve().parents[1]
sys.path.append(str(ROOT / "book" / "_ext"))
between = importlib.import_module("page_tables").between
BEGIN, END = "<!-- times: written by benchmarks/newcomer.py; do not edit -->", "<!-- times end -->"
STEPS = (  # each stands in the README
    "make book",
    "papermill book/04_lrn.ipynb out.ipynb",
    "pytest --nbval book/",
    'python -c "import alexnet_repro"',
    "make test",
)


def main() -> None:
    with tempfile.TemporaryDirectory() as empty:
        clone = Path(empty, "alexnet_repro")
        subprocess.run(["git", "clone", "--quiet", ROOT, clone], check=True)
        rows = [[f"`{step}`", f"{_minutes(step, clone):.1f}"] for step in STEPS]
    table = Table(["command", "minutes"], rows).to_markdown()
    readme = ROOT / "README.md"
    machine = f"{environment('cpu')['device']}, which multiplies matrices at {sgemm_rate():.0f} GFLOP/s (float32)"
    note = f"Run in this order after a fresh clone, on {machine}; the first command makes the environment."
    text = readme.read_text(encoding="utf-8")
    write_atomically(readme, between(text, BEGIN, END, f"{note}\n\n{table}"))


def _minutes(step: str, clone: Path) -> float:
    """How long a command takes in the clone, in its environment."""
    print(step, file=sys.stderr)
    path = f"{clone / '.venv' / 'bin'}{os.pathsep}{os.environ['PATH']}"
    start = perf_counter()
    subprocess.run(step, shell=True, check=True, cwd=clone, env=os.environ | {"PATH": path}, stdout=sys.stderr)
    return (perf_counter() - start) / 60


if __name__ == "__main__":
    main()
