"""Changes single fields of a configuration by name: ``train.lr=0.02``, ``net.layers.conv1.channels=48``."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Mapping
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from alexnet_repro.support.values import fits, in_words

Config = TypeVar("Config")

LARGEST, LARGEST_WHOLE = 3.4e38, 2**31 - 1  # of float32, in which networks compute, and of sizes
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.IGNORECASE)  # as people type it; JSON allows fewer forms


def override(config: Config, *assignments: str) -> Config:
    """The configuration with some fields changed; all are set before they are checked for contradictions.

    Args:
        config: a dataclass, e.g. a ``RunConfig``.
        assignments: ``path=value``. The path consists of fields, layer names, keys of a mapping and indices of stages;
            the value is JSON, a number in any usual form (``.5``, ``+1.``), or text, which needs no quotes.

    Raises:
        ValueError: there is no such field, or it does not accept the value; says what is allowed.
    """
    opened = _opened(config)
    for assignment in assignments:
        path, equals, text = assignment.partition("=")
        if not equals or not path:
            raise ValueError(f"a setting is written field=value, e.g. train.lr=0.02, not {assignment!r}")
        _set(opened, path.split("."), read(text, path), path)
    return _closed(opened)


@dataclasses.dataclass
class _Open:
    """A dataclass whose fields may contradict each other until all of them are set."""

    kind: type
    fields: dict[str, Any]


def _opened(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        return _Open(type(value), {f.name: _opened(getattr(value, f.name)) for f in dataclasses.fields(value)})
    if isinstance(value, Mapping):
        return dict(value)
    return [_opened(item) for item in value] if isinstance(value, tuple) else value


def _closed(value: Any) -> Any:
    if isinstance(value, _Open):
        return value.kind(**{name: _closed(field) for name, field in value.fields.items()})
    return tuple(map(_closed, value)) if isinstance(value, list) else value


def read(text: str, path: str) -> Any:
    """Parses JSON, a number in any usual form, or text."""

    def number(digits: str) -> float:
        whole = digits.lstrip("+-").isdigit()
        if not abs(value := float(digits)) <= (LARGEST_WHOLE if whole else LARGEST):
            raise ValueError(f"{path} takes finite numbers, not {digits}")
        return int(digits) if whole else value

    if NUMBER.fullmatch(text):
        return number(text)
    try:
        return json.loads(text, parse_int=number, parse_float=number, parse_constant=number)
    except (json.JSONDecodeError, RecursionError):
        return text


def _set(within: Any, keys: list[str], value: Any, path: str) -> None:
    key, *rest = keys
    owner = ".".join(path.split(".")[: -len(keys)])
    if isinstance(within, _Open):
        _check(key, list(within.fields), path, within.kind.__name__)
        if not rest:
            within.fields[key] = _typed(value, get_type_hints(within.kind)[key], path)
            return
        found = within.fields[key]
    elif isinstance(within, dict):
        if rest or isinstance(value, bool) or not isinstance(value, int | float):
            raise ValueError(f"{path} takes a number, not {value!r}")
        within[key] = value
        return
    elif isinstance(within, list):
        names = [
            item.fields.get("name", str(i)) if isinstance(item, _Open) else str(i) for i, item in enumerate(within)
        ]
        _check(key, names, path, owner)
        if not rest:
            raise ValueError(f"{path} takes no value: set a field of it, {path}.FIELD=..., or all of {owner}")
        found = within[names.index(key)]
    else:
        raise ValueError(f"{path}: {key!r} is no field of {within!r}")
    _set(found, rest, value, path)


def _check(key: str, names: list[str], path: str, owner: str) -> None:
    if key not in names:
        raise ValueError(f"{path}: {owner} has no {key!r}, only {', '.join(names)}")


def _typed(value: Any, hint: Any, path: str) -> Any:
    """The value converted to the field's type, int to float and list to tuple; ``ValueError`` if it does not fit."""
    value = tuple(value) if isinstance(value, list) else value
    if not fits(value, hint):
        if get_origin(hint) is not tuple and any(map(dataclasses.is_dataclass, (hint, *get_args(hint)))):
            null = " but null" * fits(None, hint)
            raise ValueError(f"{path} takes no value{null}: set a field of it, {path}.FIELD=...")
        raise ValueError(f"{path} does not take {value!r}: it must be {in_words(hint, in_json=True)}")
    return float(value) if type(value) is int and float in (hint, *get_args(hint)) else value
