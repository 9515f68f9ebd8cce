"""Converts docstrings of the house form (CONTRIBUTING.md) for Sphinx: every section becomes fields."""

import dataclasses
import re
from functools import cached_property

from sphinx.application import Sphinx
from sphinx.pycode import ModuleAnalyzer

SECTION = re.compile(r"(Source|Differs|Args|Attributes|Shape|Returns|Raises|Warns):\s*(.*)")
ITEM = re.compile(r"    (\*{0,2}\w+(?:, \w+)*): (.*)")
KINDS = {"Args": "param", "Attributes": "ivar", "Raises": "raises"}


def fields(lines: list[str], attributes: str = "ivar") -> list[str]:
    """``Source:  text`` as ``:Source: text``; ``    a, b: text`` in ``Args:`` and the like as one field per name.

    An example does not become a field: its lines are wide, and scroll by themselves.
    """
    kinds = KINDS | {"Attributes": attributes}
    found: list[tuple[list[str], list[str]]] = [([], [])]  # first lines, one for each name; the lines after them
    kind = None
    for line in lines:
        if line == "Example:":
            kind = "example"
            found.append(([".. rubric:: Example"], [""]))
        elif section := SECTION.fullmatch(line):
            kind = None if section[2] else kinds.get(section[1])
            found.append(([f":{section[1]}: {section[2]}"] if kind is None else [""], []))
        elif line[:1].strip():
            kind = None
            found.append(([line], []))
        elif kind == "example":
            found[-1][1].append(line[4:])
        elif kind and (item := ITEM.fullmatch(line)):
            found.append(([f":{kind} {name}: {item[2]}" for name in item[1].split(", ")], []))
        else:
            found[-1][1].append(line)
    return [line for begun, after in found for first in begun or [""] for line in (first, *after)]


def members(value: object) -> list[str]:
    """The fields of a dataclass or a named tuple."""
    if dataclasses.is_dataclass(value):
        return [field.name for field in dataclasses.fields(value)]
    return list(getattr(value, "_fields", ()))


def described(value: type) -> list[str]:
    """A parameter for every field that has a ``#:`` comment, including those of base classes."""
    bases = [cls for cls in reversed(value.__mro__) if cls.__module__.startswith("alexnet_repro")]
    comments = {
        name: " ".join(comment).strip()
        for cls in bases
        for (of, name), comment in ModuleAnalyzer.for_module(cls.__module__).find_attr_docs().items()
        if of == cls.__qualname__
    }
    return [f":param {name}: {comments[name]}" for name in members(value) if name in comments]


def documented(value: object, lines: list[str]) -> list[str]:
    """The lines of a docstring as Sphinx fields; the fields of a class become its parameters."""
    if not isinstance(value, type) or not members(value):
        return fields(lines)
    lines = fields(lines, "param")
    later = (":raises", ".. rubric::")
    end = next((i for i, line in enumerate(lines) if line.lower().startswith(later)), len(lines))
    return [*lines[:end], "", *described(value), "", *lines[end:]]


def setup(app: Sphinx) -> dict[str, bool]:
    """Documents the fields of a class among its parameters, and not again among its members."""

    def convert(app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]) -> None:
        lines[:] = documented(obj, lines)

    def skip(app: Sphinx, what: str, name: str, obj: object, skipped: bool, options: object) -> bool | None:
        return None if callable(obj) or isinstance(obj, property | cached_property) else True

    app.connect("autodoc-process-docstring", convert)
    app.connect("autodoc-skip-member", skip)
    return {"parallel_read_safe": True}
