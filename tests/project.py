"""The project's own metadata, and what it brings along."""

import importlib.metadata
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]


def project() -> dict:
    """The table ``project`` of pyproject.toml."""
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def pythons() -> list[str]:
    """The versions that ``requires-python`` allows, all but some of their first releases, from the oldest."""
    allowed = SpecifierSet(project()["requires-python"])
    return [f"3.{minor}" for minor in range(100) if f"3.{minor}.99" in allowed]


def needed(requirements: Iterable[str], there: Mapping[str, str] | None = None) -> set[str]:
    """The distributions that these bring along, by their normalized names; here, or where these markers hold.

    What those that are not installed here bring along is not known.
    """
    walked: set[tuple[str, frozenset[str]]] = set()

    def walk(requirement: Requirement, extras: frozenset[str]) -> None:
        marker, name = requirement.marker, canonicalize_name(requirement.name)
        if marker is not None and not any(
            marker.evaluate({**(there or {}), "extra": extra}) for extra in extras | {""}
        ):
            return
        visit = name, frozenset(requirement.extras)
        if visit not in walked:
            walked.add(visit)
            try:
                brought = importlib.metadata.requires(name) or []
            except importlib.metadata.PackageNotFoundError:
                brought = []
            for further in brought:
                walk(Requirement(further), visit[1])

    for requirement in requirements:
        walk(Requirement(requirement), frozenset())
    return {name for name, _ in walked}
