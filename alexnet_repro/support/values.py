"""Configurations as plain JSON values and back, and checks of their fields."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import types
from collections.abc import Iterable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from alexnet_repro.support.files import write_atomically

T = TypeVar("T")


def as_json(config: Any) -> Any:
    """A configuration as plain JSON values; a dataclass becomes an object whose ``type`` names it."""
    if dataclasses.is_dataclass(config) and not isinstance(config, type):
        fields = {f.name: as_json(getattr(config, f.name)) for f in dataclasses.fields(config)}
        return {"type": type(config).__name__} | fields
    if isinstance(config, Mapping):
        return {key: as_json(value) for key, value in config.items()}
    if isinstance(config, list | tuple):
        return [as_json(value) for value in config]
    return config


def from_json(value: Any, types: Iterable[type]) -> Any:
    """Rebuilds the configuration that ``as_json`` converted, with lists as tuples.

    Args:
        value: plain JSON values.
        types: the dataclasses that may occur in it.

    Raises:
        ValueError: an unknown type, or a field that is unknown, missing or of the wrong type.
    """
    known = {cls.__name__: cls for cls in types}
    if isinstance(value, list):
        return tuple(from_json(item, known.values()) for item in value)
    if not isinstance(value, dict):
        return value
    fields = {key: from_json(item, known.values()) for key, item in value.items() if key != "type"}
    if "type" not in value:
        return fields
    return typed(chosen("type", value["type"], known), fields)


def typed(cls: type, fields: Mapping[str, Any]) -> Any:
    """Builds a dataclass from its fields; ``ValueError`` names one that is unknown, missing or of the wrong type."""
    hints = _hints(cls)
    for name, value in fields.items():
        if name in hints and not fits(value, hints[name]):
            raise ValueError(f"{cls.__name__}.{name} must be {in_words(hints[name])}, not {_short(value)}")
    try:
        return cls(**fields)
    except TypeError as error:
        raise ValueError(f"{cls.__name__}: {error}") from error


def check_types(config: Any, of: str = "") -> None:
    """Raises ``ValueError`` unless each field of a dataclass has its type; the message has ``of`` after the name."""
    for field in dataclasses.fields(config):
        value, hint = getattr(config, field.name), _hints(config.__class__)[field.name]
        if not fits(value, hint):
            raise ValueError(f"{field.name}{of} must be {in_words(hint)}, not {_short(value)}")


def in_words(hint: Any, in_json: bool = False) -> str:
    """The values that a type hint allows, in words: as Python's, or as they are written in JSON."""
    origin, options = get_origin(hint), get_args(hint)
    if origin is Literal:
        return f"one of {', '.join(options)}"
    inner = ["..." if option is ... else in_words(option, in_json) for option in options]
    if origin in (Union, types.UnionType):
        return " or ".join(inner)
    if in_json and origin in (tuple, Mapping):
        return f'{{"name": {inner[1]}}}' if origin is Mapping else f"[{', '.join(inner)}]"
    if origin is not None:
        return f"{origin.__name__}[{', '.join(inner)}]"
    return _IN_JSON[hint] if in_json and hint in _IN_JSON else "None" if hint is type(None) else hint.__name__


_IN_JSON = {type(None): "null", bool: "true or false", int: "a whole number", float: "a number", str: "text"}


@lru_cache
def _hints(cls: type) -> dict[str, Any]:
    hints = get_type_hints(cls)
    return {field.name: hints[field.name] for field in dataclasses.fields(cls)}  # without the ``_`` of KW_ONLY


def fits(value: object, hint: Any) -> bool:
    """Whether a value fits the type hint of a field; an int is also a float, and a bool is not a number."""
    if isinstance(hint, type) and hint is not Any:  # first, for most are
        return hint is bool if isinstance(value, bool) else isinstance(value, int | float if hint is float else hint)
    origin, inner = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return any(fits(value, option) for option in inner)
    if origin is Literal:
        return isinstance(value, str) and value in inner
    if origin is tuple and inner[-1] is not ...:
        return isinstance(value, tuple) and len(value) == len(inner) and all(map(fits, value, inner))
    if origin in (tuple, list):
        return isinstance(value, origin) and all(fits(item, inner[0]) for item in value)
    if origin in (dict, Mapping):
        return isinstance(value, Mapping) and all(fits(k, inner[0]) and fits(v, inner[1]) for k, v in value.items())
    return hint is Any


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) < 80 else f"{text[:80]} ..."


def digest(json_value: Any) -> str:
    """sha256 (hexadecimal) of a JSON value in canonical form: sorted keys, no spaces."""
    text = json.dumps(json_value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def write_sealed(path: Path, content: Mapping[str, Any], seal: str = "checksum") -> None:
    """Writes a JSON object with a checksum over all of it, so that even one digit changed by hand is detected.

    Args:
        path: the file.
        content: what the checksum is over.
        seal: name of the field with the checksum, which becomes the last.
    """
    write_atomically(path, json.dumps({**content, seal: digest(content)}, indent=1) + "\n")


def read_sealed(path: Path, seal: str = "checksum") -> dict[str, Any]:
    """Reads what ``write_sealed`` wrote, without the checksum.

    Raises:
        ValueError: the file is not a JSON object with a checksum, or was changed after it was written; names it.
        OSError: the file can't be read.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        checksum, found = content.pop(seal), digest(content)
    except (ValueError, AttributeError, TypeError, KeyError, RecursionError) as error:
        raise ValueError(f"{path} is not a JSON object with a checksum ({error})") from error
    if checksum != found:
        raise ValueError(f"{path} was changed after it was written")
    return content


def differences(recorded: Any, current: Any, name: str = "") -> list[str]:
    """Lists the differences from the recorded values in words; a missing key counts as None."""
    if isinstance(recorded, dict) and isinstance(current, dict):
        keys = dict.fromkeys((*recorded, *current))
        pairs = [(f"{name}.{key}".strip("."), recorded.get(key), current.get(key)) for key in keys]
    elif _by_name(recorded) and _by_name(current) and [*_by_name(recorded)] != [*_by_name(current)]:
        found = differences(_by_name(recorded), _by_name(current), name)
        return found or [f"{name} are in another order: {', '.join(_by_name(current))}"]
    elif isinstance(recorded, list) and isinstance(current, list) and len(recorded) == len(current):
        pairs = [(f"{name}[{i}]", *pair) for i, pair in enumerate(zip(recorded, current, strict=True))]
    else:
        return [] if recorded == current else [f"{name} went from {recorded!r} to {current!r}"]
    return [difference for label, before, now in pairs for difference in differences(before, now, label)]


def _by_name(items: Any) -> dict[str, Any]:
    """The objects of a list that all have names, such as layers, by name; empty for anything else."""
    named = isinstance(items, list) and all(isinstance(item, dict) and "name" in item for item in items)
    return {item["name"]: item for item in items} if named else {}


def check_choice(name: str, value: object, allowed: tuple[object, ...]) -> None:
    """Raises ``ValueError`` unless the value is one of those allowed."""
    if value not in allowed:
        raise ValueError(f"{name} must be one of {', '.join(map(str, allowed))}, not {value!r}")


def chosen(what: str, name: str, among: Mapping[str, T]) -> T:
    """The value of that name; ``ValueError`` lists the names if there is none."""
    check_choice(what, name, tuple(among))
    return among[name]


def check_positive(name: str, value: float) -> None:
    """Raises ``ValueError`` unless the value is greater than 0 and finite."""
    if not 0 < value < math.inf:
        raise ValueError(f"{name} must be {'finite' if value > 0 else 'greater than 0'}, not {value!r}")


def check_whole(name: str, value: Any, least: int = 1) -> None:
    """Raises ``ValueError`` unless the value is a whole number of at least ``least``."""
    if not is_whole(value, least):
        raise ValueError(f"{name} must be a whole number of at least {least}, not {value!r}")


def is_whole(value: Any, least: int = 1) -> bool:
    """Whether the value is a whole number of at least ``least``; a bool is not."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= least
