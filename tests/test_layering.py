import ast
import importlib.util
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import alexnet_repro

PACKAGE = Path(alexnet_repro.__file__).parent

# A room imports from those before it, and from itself; ``paper`` may be imported everywhere.
ROOMS = ("paper", "support", "networks", "data", "training", "claims", "report", "cli")
MODULES = sorted(path for path in PACKAGE.rglob("*.py") if path.parent != PACKAGE)
LONGEST_MODULE, LONGEST_FUNCTION = 300, 50  # lines


def room(module: str) -> str:
    """Of a module's full name."""
    return module.split(".")[1]


def imported(path: Path) -> Iterator[str]:
    """The full names of what a file imports of this package, anywhere in it."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            whole = node.module == "alexnet_repro"
            names = [f"{node.module}.{alias.name}" for alias in node.names] if whole else [node.module]
        yield from (name for name in names if name.startswith("alexnet_repro."))


def test_every_file_is_in_a_room():
    outside = {path.stem for path in PACKAGE.glob("*.py")}
    assert outside == {"__init__", "__main__", "paper"}
    assert {path.relative_to(PACKAGE).parts[0] for path in MODULES} == set(ROOMS) - {"paper"}


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_imports_between_rooms_go_one_way(path):
    own = path.relative_to(PACKAGE).parts[0]
    allowed = {*ROOMS[: ROOMS.index(own) + 1], "__version__"}
    assert {room(name) for name in imported(path)} <= allowed


def full_name(path: Path) -> str:
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(("alexnet_repro", *parts)).removesuffix(".__init__")


def test_no_two_modules_need_each_other_to_be_loaded():
    """Imports within functions apart, which wait until they are called."""
    names = {full_name(path) for path in MODULES}
    needs = {}
    for path in MODULES:
        body = ast.parse(path.read_text(encoding="utf-8")).body
        needs[full_name(path)] = {node.module for node in body if isinstance(node, ast.ImportFrom)} & names
    loaded: set[str] = set()
    while ready := {name for name in names - loaded if needs[name] <= loaded}:
        loaded |= ready
    assert names - loaded == set()


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_modules_and_functions_are_short(path):
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= LONGEST_MODULE
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef):
            start = node.body[1] if ast.get_docstring(node) and len(node.body) > 1 else node.body[0]
            assert node.end_lineno - start.lineno < LONGEST_FUNCTION, node.name


def test_every_room_has_a_folder_of_tests():
    here = Path(__file__).parent
    for name in ROOMS[1:]:
        assert list((here / name).glob("test_*.py")), name


def test_importing_is_silent_and_loads_nothing_heavy_but_torch():
    heavy = {"torchvision", "skimage", "scipy", "matplotlib", "pandas", "typer", "PIL.ImageFile"}
    assert all(importlib.util.find_spec(name.partition(".")[0]) for name in heavy)
    code = (
        "import sys, torch; state = torch.get_rng_state(); import alexnet_repro; "
        "assert state.equal(torch.get_rng_state()); "
        f"print(sorted({heavy!r} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("[]\n", "")


def test_public_names_exist_and_are_documented():
    for name in alexnet_repro.__all__:
        value = getattr(alexnet_repro, name)
        assert isinstance(value, dict) or value.__doc__, name
