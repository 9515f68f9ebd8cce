"""The environments that ``make`` makes, with a python that only says what it is asked."""

import os
import re
import shutil
import subprocess
import sys
from itertools import chain
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from project import project as metadata
from project import pythons
from repository import tracked

ROOT = Path(__file__).resolve().parents[2]
PYTHON = """#!/bin/sh
echo "$*" >> {log}
case "$*" in
    *"import sys"*) exit {status} ;;
    "-m venv --clear "*) rm -rf $4; mkdir -p $4/bin; cp {new} $4/bin/python
        echo "#!$PWD/$4/bin/python" > $4/bin/pip ;;
esac
"""


@pytest.fixture
def project(tmp_path) -> Path:
    shutil.copy(ROOT / "Makefile", tmp_path)
    for name in ("pyproject.toml", "constraints.txt"):
        shutil.copyfile(ROOT / name, tmp_path / name)
    python(tmp_path, "new", 0)
    return tmp_path


def python(project: Path, name: str, status: int) -> Path:
    """One that can make environments, or, with a status above 0, can't."""
    path = project / name
    path.write_text(PYTHON.format(log=project / "log", status=status, new=project / "new"))
    path.chmod(0o755)
    return path


def installed(project: Path, folder: str = ".venv") -> list[str]:
    """What the pythons were asked, after the checks."""
    command = ["make", f"PYTHON={project / 'new'}", f"{folder}/.installed"]
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


def test_an_environment_that_was_copied_with_its_clone_is_made_anew(project, tmp_path_factory):
    """Its commands would run the first clone's code."""
    installed(project)
    copy = tmp_path_factory.mktemp("copy")
    shutil.copytree(project, copy, dirs_exist_ok=True)
    command = ["make", f"PYTHON={project / 'new'}", ".venv/.installed"]
    subprocess.run(command, cwd=copy, capture_output=True, check=True)
    assert MADE in (project / "log").read_text().splitlines()
    (project / "log").unlink()
    for folder in (project, copy):
        subprocess.run(command, cwd=folder, capture_output=True, check=True)
        assert not (project / "log").exists() or "venv" not in (project / "log").read_text()


@pytest.mark.parametrize("left", ["nothing", "a python that is too old or has no pip", "no file that runs"])
def test_an_environment_that_is_half_made_or_too_old_is_made_anew(project, left):
    folder = project / ".venv" / "bin"
    folder.mkdir(parents=True)
    if left != "nothing":
        shutil.copy(python(project, "old", 1), folder / "python")
    if left == "no file that runs":
        (folder / "python").chmod(0o644)
    assert installed(project) == [MADE, FILLED]


def test_the_environment_s_own_python_makes_no_other_and_one_that_pip_would_refuse_is_none(project, tmp_path):
    """``PYTHON`` is not given: the python3 that is there without .venv, even where that is active, is taken."""
    folder, there = project / ".venv" / "bin", tmp_path / "there"
    for place, name, status in ((folder, "old", 1), (there, "new", 0)):
        place.mkdir(parents=True)
        for program in ("python", "python3"):
            shutil.copy(python(project, name, status), place / program)
    path = os.pathsep.join([str(folder), str(there), os.environ["PATH"]])
    environment = {name: value for name, value in os.environ.items() if name != "PYTHON"} | {"PATH": path}
    subprocess.run(["make", ".venv/.installed"], cwd=project, env=environment, capture_output=True, check=True)
    assert MADE in (project / "log").read_text().splitlines()
    refused = re.search(r"^EXCEPT := (.*)$", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)[1].split()
    every = [f"{minor}.{patch}" for minor in pythons() for patch in range(30)]
    assert refused == [version for version in every if version not in SpecifierSet(metadata()["requires-python"])]


@pytest.mark.parametrize(("folder", "working"), [(".venv", "3.98 3.99"), ("_build/oldest", "3.98")])
@pytest.mark.parametrize("lacks", ["venv", "wheels"])
def test_a_python_that_can_make_none_is_named_with_those_that_can(project, lacks, folder, working):
    called = python(project, "old", 1) if lacks == "venv" else sys.executable
    command = ["make", f"PYTHON={called}", "PYTHONS=3.98 3.99", f"{folder}/.installed"]
    done = subprocess.run(command, cwd=project, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert f"{called} has no venv, or is none of the Pythons that work here, {working} (but not" in done.stderr
    assert not (project / folder).exists()


@pytest.mark.skipif(not tracked(), reason="not in its repository")
def test_no_file_of_the_repository_changes_without_the_tests_being_run_again():
    asked = ["make", "--print-data-base", "--dry-run", "help"]
    database = subprocess.run(asked, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    read = set(" ".join(re.findall(r"^_build/tested: (.*)$", database, re.MULTILINE)).split())
    assert {name for name in tracked() if (ROOT / name).exists()} - read == {".gitignore"}


def test_make_takes_the_pythons_that_pip_takes():
    named = re.search(r"^PYTHONS := (.*)$", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)[1].split()
    assert named == pythons()
    assert {f"Programming Language :: Python :: {version}" for version in named} == {
        line for line in metadata()["classifiers"] if "Python" in line
    }


def test_every_python_that_is_allowed_can_refuse_what_an_archive_would_put_elsewhere():
    """``tarfile`` has had filters since 3.11.4 and 3.12."""
    allowed = SpecifierSet(metadata()["requires-python"])
    assert "3.11.4" in allowed
    assert "3.11.3" not in allowed


def test_the_oldest_of_everything_is_the_floor_of_its_range(project):
    floors = "_build/oldest/floors.txt"
    assert installed(project, "_build/oldest") == ["-m venv --clear _build/oldest", f"{FILLED} -c {floors}"]
    stated = [*metadata()["dependencies"], *chain.from_iterable(metadata()["optional-dependencies"].values())]
    ranges = [
        (line.name, {part.operator: part.version for part in line.specifier}) for line in map(Requirement, stated)
    ]
    assert {f"{name}=={versions['>=']}" for name, versions in ranges} == set((project / floors).read_text().split())
