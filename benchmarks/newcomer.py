"""A newcomer's path: clones the repository into an empty folder, does what the README says, and records the times.

They go to ``results`` and, with ``make notebooks``, into the pages. Nothing else should run at the same time. pip takes
packages that it has fetched before from its cache.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from time import perf_counter

from machine import save, this_machine

ROOT = Path(__file__).resolve().parents[1]
STEPS = (  # each is in the README
    "make book",
    "papermill book/04_lrn.ipynb out.ipynb",
    "pytest --nbval book/",
    'python -c "import alexnet_repro"',
    "make test",
)


def main() -> None:
    found = this_machine()
    with tempfile.TemporaryDirectory() as empty:
        clone = Path(empty, "alexnet_repro")
        subprocess.run(["git", "clone", "--quiet", ROOT, clone], check=True)
        found["minutes"] = {step: _minutes(step, clone) for step in STEPS}
    save("newcomer", found)


def _minutes(step: str, clone: Path) -> float:
    """How many minutes a command takes in the clone, with the clone's virtual environment."""
    print(step, file=sys.stderr)
    path = f"{clone / '.venv' / 'bin'}{os.pathsep}{os.environ['PATH']}"
    start = perf_counter()
    subprocess.run(step, shell=True, check=True, cwd=clone, env=os.environ | {"PATH": path}, stdout=sys.stderr)
    return (perf_counter() - start) / 60


if __name__ == "__main__":
    main()
