"""The environment that ``make`` makes, with a python that only says what it is asked."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PYTHON = """#!/bin/sh
echo "$*" >> {log}
case "$*" in
    *"import sys"*) exit {status} ;;
    "-m venv --clear .venv") rm -rf .venv; mkdir -p .venv/bin; cp {new} .venv/bin/python ;;
esac
"""


@pytest.fixture
def project(tmp_path) -> Path:
    shutil.copy(ROOT / "Makefile", tmp_path)
    for name in ("pyproject.toml", "constraints.txt"):
        (tmp_path / name).touch()
    python(tmp_path, "new", 0)
    return tmp_path


def python(project: Path, name: str, status: int) -> Path:
    """One that can make environments, or, with a status above 0, can't."""
    path = project / name
    path.write_text(PYTHON.format(log=project / "log", status=status, new=project / "new"))
    path.chmod(0o755)
    return path


def installed(project: Path, called: str = "new") -> list[str]:
    """What the pythons were asked, after the checks."""
    command = ["make", f"PYTHON={project / called}", ".venv/.installed"]
    subprocess.run(command, cwd=project, capture_output=True, text=True, check=True)
    asked = (project / "log").read_text().splitlines()
    (project / "log").unlink()
    return [line.partition(" -e")[0].removesuffix(" -c constraints.txt") for line in asked if "import sys" not in line]


MADE, FILLED = "-m venv --clear .venv", "-m pip install --quiet"


def test_an_environment_is_made_once_and_then_kept(project):
    assert installed(project) == [MADE, FILLED]
    later = (project / ".venv" / ".installed").stat().st_mtime + 1
    os.utime(project / "pyproject.toml", (later, later))
    assert installed(project) == [FILLED]


@pytest.mark.parametrize("left", ["nothing", "a python that is too old or has no pip", "no file that runs"])
def test_an_environment_that_is_half_made_or_too_old_is_made_anew(project, left):
    folder = project / ".venv" / "bin"
    folder.mkdir(parents=True)
    if left != "nothing":
        shutil.copy(python(project, "old", 1), folder / "python")
    if left == "no file that runs":
        (folder / "python").chmod(0o644)
    assert installed(project) == [MADE, FILLED]


def test_a_python_that_can_make_none_is_named(project):
    python(project, "old", 1)
    with pytest.raises(subprocess.CalledProcessError) as error:
        installed(project, "old")
    assert "old is older than Python 3.11, or has no venv: make PYTHON=... names another" in error.value.stderr
    assert not (project / ".venv").exists()
