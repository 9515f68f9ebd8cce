"""constraints.txt says what is installed where it is tested: the environment that make makes."""

import os
import platform
import re
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest
from packaging.utils import canonicalize_name
from project import needed, project

pytestmark = pytest.mark.skipif(
    os.environ.get("CONSTRAINTS") == "", reason="constraints.txt was left out on purpose, by make CONSTRAINTS="
)
ONLY_SOMEWHERE = {  # names of packages that are not installed everywhere -> whether they are here
    "triton|(cuda|nvidia)-.*": platform.system() == "Linux",
    "pexpect|ptyprocess": sys.platform != "win32",
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


def test_every_package_that_is_installed_for_the_book_is_pinned():
    extras = project()["optional-dependencies"].values()
    found = needed([*project()["dependencies"], *(requirement for extra in extras for requirement in extra)])
    assert found - pins().keys() == set(), "pip freeze in a new .venv names the versions for constraints.txt"
