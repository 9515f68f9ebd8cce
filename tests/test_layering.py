import ast
import subprocess
import sys
from pathlib import Path

import pytest

import alexnet_repro

PACKAGE = Path(alexnet_repro.__file__).parent

# Every module may import from those before it, and from no other.
ORDER = (
    "paper", "lrn", "layers", "filters", "allocator", "files", "table", "moments", "processes", "environment", "values",
    "schedules", "config", "overrides",
    "presets", "recipes",
    "weights", "nets", "features", "towers", "augment", "inputs",
    "data.dataset", "data.archives", "data.decode", "data.folders", "data.photos", "data.cifar10", "data.imagenet",
    "data.store", "data.parts", "data.prepare", "data.batches", "data",
    "optim", "training", "diagnosis", "evaluate", "checkpoint", "parallel",
    "train",
    "runs", "likeness", "logs", "speed",
    "studies", "claims", "evidence",
    "experiments", "plots", "tables", "reports",
    "chapter",
    "cli_data", "cli_train", "cli_claims", "cli", "__main__",
)  # fmt: skip


def source(module: str) -> Path:
    path = PACKAGE.joinpath(*module.split("."))
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def imported(path: Path) -> set[str]:
    """The modules of this package that a file imports, anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        found |= {name.removeprefix("alexnet_repro.") for name in names if name.startswith("alexnet_repro.")}
    return {name for name in found if name in ORDER}


def test_every_module_has_its_place():
    modules = {
        ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__")
        for path in PACKAGE.rglob("*.py")
    } - {"__init__"}
    assert modules == set(ORDER)


@pytest.mark.parametrize("module", ORDER)
def test_imports_go_downward_only(module):
    allowed = set(ORDER[: ORDER.index(module)])
    assert imported(source(module)) <= allowed


@pytest.mark.parametrize("module", ORDER)
def test_every_module_has_tests_of_its_own(module):
    # numbers of the paper are tested with the claims, the package's front door where it is used
    name = {"paper": "claims", "data": "cifar10"}.get(module, module.removeprefix("data."))
    assert Path(__file__).with_name(f"test_{name}.py").is_file()


def test_importing_is_silent_and_loads_nothing_heavy_but_torch():
    code = (
        "import sys, torch; state = torch.get_rng_state(); import alexnet_repro; "
        "assert state.equal(torch.get_rng_state()); "
        "print(sorted({'torchvision', 'skimage', 'scipy', 'matplotlib', 'typer', 'PIL.ImageFile'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("[]\n", "")


def test_public_names_exist_and_are_documented():
    for name in alexnet_repro.__all__:
        value = getattr(alexnet_repro, name)
        assert isinstance(value, dict) or value.__doc__, name
