"""constraints.txt says what is installed where it is tested: the environment that make makes."""

import os
import platform
import re
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest
from packaging.utils import canonicalize_name
from project import needed, project, pythons

pytestmark = pytest.mark.skipif(
    os.environ.get("CONSTRAINTS") == "", reason="constraints.txt was left out on purpose, by make CONSTRAINTS="
)
ONLY_SOMEWHERE = {  # names of packages that are not installed everywhere -> whether they are here
    "triton|(cuda|nvidia)-.*": platform.system() == "Linux",
    "pexpect|ptyprocess": sys.platform != "win32",
    "appnope": platform.system() == "Darwin",
    "aio.*|frozenlist|multidict|propcache|yarl": sys.version_info[:2] == (3, 12),  # papermill's, there only
}


def pins() -> dict[str, str]:
    """constraints.txt, the names normalized."""
    lines = Path(__file__).parents[2].joinpath("constraints.txt").read_text(encoding="utf-8").splitlines()
    pairs = [line.split("==") for line in lines if not line.startswith("#")]
    return {canonicalize_name(name): pin for name, pin in pairs}


def installed(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def test_every_pin_is_the_version_that_is_installed():
    elsewhere = [names for names, here in ONLY_SOMEWHERE.items() if not here]
    differing = [
        f"{name}: pinned {pin}, installed {found}"
        for name, pin in pins().items()
        if (found := installed(name)) != pin
        and not (found is None and any(re.fullmatch(names, name) for names in elsewhere))
    ]
    assert differing == [], "pip install -c constraints.txt -e '.[book,test,dev]' brings what is pinned"


@pytest.mark.parametrize("system", ["Linux", "Darwin"])
@pytest.mark.parametrize("python", pythons())
def test_every_package_that_is_installed_for_the_book_is_pinned_for_every_python(python, system):
    extras = project()["optional-dependencies"].values()
    stated = [*project()["dependencies"], *(requirement for extra in extras for requirement in extra)]
    there = {"python_version": python, "python_full_version": f"{python}.9", "implementation_name": "cpython"}
    found = needed(stated, there | {"platform_system": system, "sys_platform": system.lower()})
    assert found - pins().keys() == set(), "pip freeze in a new .venv names the versions for constraints.txt"
