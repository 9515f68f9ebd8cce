"""The package as people meet it: the source archive, and the wheel without the packages that only the book needs."""

import importlib.metadata
import json
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
from packaging.utils import canonicalize_name
from project import needed, project
from repository import tracked
from run_case import make_images

from alexnet_repro.claims.records import EVIDENCE_FOLDER

ROOT = Path(__file__).resolve().parents[2]
IGNORED = {  # what git ignores, and an archive must not hold
    "book/evidence/relu/paper/tanh-seed99.pt", "book/text/.ipynb_checkpoints/a.md", "tests/__pycache__/a.pyc",
}  # fmt: skip
MADE = {"PKG-INFO", "setup.cfg"}  # of an archive, by setuptools, besides its egg-info


def repository() -> set[str]:
    """Its files: those that git tracks, or without git those that lay in the archive that this was unpacked from."""
    listed = tracked() or (ROOT / "alexnet_repro.egg-info" / "SOURCES.txt").read_text(encoding="utf-8").splitlines()
    return {name for name in listed if ".egg-info/" not in name} - MADE


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> tuple[set[str], Path]:
    """The names in the source archive, and the folder that the wheel was unpacked into."""
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("built")
    for name in repository():
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, source / name)
    for name in IGNORED:
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).touch()
    code = "import sys; from setuptools import build_meta; to = sys.argv[1]"
    code += "; build_meta.build_sdist(to); build_meta.build_wheel(to)"
    subprocess.run([sys.executable, "-c", code, str(out)], cwd=source, capture_output=True, check=True)
    (archive,), (wheel,) = out.glob("*.tar.gz"), out.glob("*.whl")
    with tarfile.open(archive) as opened:
        names = {member.name.partition("/")[2] for member in opened.getmembers() if member.isfile()}
    with zipfile.ZipFile(wheel) as opened:
        opened.extractall(out / "installed")
    return names, out / "installed"


def test_the_source_archive_holds_the_whole_repository_and_nothing_else(built):
    names, _ = built
    assert {name for name in names if ".egg-info/" not in name} - MADE == repository()


def test_the_wheel_holds_the_package_and_what_the_chapters_read(built):
    _, installed = built
    found = {path.relative_to(installed).as_posix() for path in installed.rglob("*") if path.is_file()}
    recorded = ("book/evidence/", "book/checkpoints/")
    expected = {name for name in repository() if name.startswith("alexnet_repro/")}
    expected |= {f"alexnet_repro/{name}" for name in repository() if name.startswith(recorded)}
    assert {name for name in found if ".dist-info/" not in name} == expected


WITHOUT_EXTRAS = """
import contextlib, importlib.machinery, io, json, sys

class Without(importlib.machinery.PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        return None if name.partition(".")[0] in foreign else super().find_spec(name, path, target)

foreign, commands = json.load(sys.stdin)
sys.meta_path = [importlib.machinery.BuiltinImporter, importlib.machinery.FrozenImporter, Without]
import alexnet_repro
from alexnet_repro.cli import main

answers = {"file": alexnet_repro.__file__}
for command in commands:
    sys.argv = ["alexnet-repro", *command]
    out, err, status = io.StringIO(), io.StringIO(), 0
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main.main()
        except SystemExit as ended:
            status = ended.code or 0
    answers[" ".join(command[:2])] = [status, out.getvalue(), err.getvalue()]
for module in ("figures", "drawings"):
    try:
        importlib.import_module(f"alexnet_repro.report.{module}")
    except ModuleNotFoundError as error:
        answers[module] = str(error)
print(json.dumps(answers))
"""


@pytest.fixture(scope="module")
def without_extras(built, tmp_path_factory) -> dict:
    """What the installed wheel answers where no package can be imported that only an extra brings."""
    _, installed = built
    folder = tmp_path_factory.mktemp("elsewhere")
    make_images(folder / "images")
    core = needed(project()["dependencies"]) | {"alexnet-repro"}
    foreign = [
        module
        for module, owners in importlib.metadata.packages_distributions().items()
        if not set(map(canonicalize_name, owners)) & core
    ]
    assert {"matplotlib", "IPython", "jupytext", "pytest", "yaml", "submitit"} <= set(foreign)
    training = ["--preset", "cifar-19pct", "--size", "32", "--set", "train.epochs=1", "--out", "run", "--threads", "1"]
    commands = [
        ["--help"],
        ["claims", "list"],
        ["claims", "verify"],
        ["claims", "status"],
        ["claims", "run", "relu"],
        ["train", "images", *training],
        ["evaluate", "run"],
    ]
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_EXTRAS],
        input=json.dumps([foreign, commands]),
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(installed)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    answers = json.loads(done.stdout)
    assert Path(answers["file"]).is_relative_to(installed)
    return answers


@pytest.mark.parametrize("command", ["--help", "claims list", "train images", "evaluate run"])
def test_the_command_line_needs_nothing_of_the_extras(command, without_extras):
    status, out, err = without_extras[command]
    assert status == 0, err
    assert out


def test_an_installed_package_has_the_records_of_the_book(without_extras):
    count = len(list(EVIDENCE_FOLDER.rglob("*.json")))
    assert without_extras["claims verify"] == [0, f"{count} records are whole and current\n", ""]
    assert "reproduced" in without_extras["claims status"][1]


def test_the_records_of_an_installed_package_are_not_added_to(without_extras):
    status, _, err = without_extras["claims run"]
    assert status == 2
    assert "name a folder with --out" in err


@pytest.mark.parametrize("module", ["figures", "drawings"])
def test_a_figure_without_matplotlib_says_what_to_install(module, without_extras):
    assert without_extras[module] == "figures need matplotlib: pip install 'alexnet_repro[book]'"
