"""Configurations as plain JSON values, and back; what is allowed in them."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from alexnet_repro.support.files import write_atomically


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
    """What ``as_json`` made JSON of, lists as tuples.

    Args:
        value: plain JSON values.
        types: the dataclasses that may occur in it.

    Raises:
        ValueError: it names another type, or a field that the type lacks.
    """
    known = {cls.__name__: cls for cls in types}
    if isinstance(value, list):
        return tuple(from_json(item, known.values()) for item in value)
    if not isinstance(value, dict):
        return value
    fields = {key: from_json(item, known.values()) for key, item in value.items() if key != "type"}
    if "type" not in value:
        return fields
    check_choice("type", value["type"], tuple(known))
    try:
        return known[value["type"]](**fields)
    except TypeError as error:
        raise ValueError(f"{value['type']}: {error}") from error


def digest(json_value: Any) -> str:
    """sha256 (hexadecimal) of a JSON value in canonical form: sorted keys, no spaces."""
    text = json.dumps(json_value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def write_sealed(path: Path, content: Mapping[str, Any]) -> None:
    """Writes a JSON object with a checksum over all of it, so that a digit changed by hand is found."""
    write_atomically(path, json.dumps({**content, "checksum": digest(content)}, indent=1) + "\n")


def read_sealed(path: Path) -> dict[str, Any]:
    """What ``write_sealed`` wrote.

    Raises:
        ValueError: it is no such file, or was changed after it was written; names it.
        OSError: it can't be read.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        checksum = content.pop("checksum")
    except (ValueError, AttributeError, TypeError, KeyError) as error:
        raise ValueError(f"{path} is no JSON object with a checksum ({error})") from error
    if checksum != digest(content):
        raise ValueError(f"{path} was changed after it was written")
    return content


def differences(recorded: Any, current: Any, name: str = "") -> list[str]:
    """What is no longer as recorded; what one of them lacks is a difference too, unless the other has None."""
    if isinstance(recorded, dict) and isinstance(current, dict):
        keys = dict.fromkeys((*recorded, *current))
        pairs = [(f"{name}.{key}".strip("."), recorded.get(key), current.get(key)) for key in keys]
    elif isinstance(recorded, list) and isinstance(current, list) and len(recorded) == len(current):
        pairs = [(f"{name}[{i}]", *pair) for i, pair in enumerate(zip(recorded, current, strict=True))]
    else:
        return [] if recorded == current else [f"{name} went from {recorded!r} to {current!r}"]
    return [difference for label, before, now in pairs for difference in differences(before, now, label)]


def check_choice(name: str, value: object, allowed: tuple[object, ...]) -> None:
    """``ValueError`` unless the value is one of those."""
    if value not in allowed:
        raise ValueError(f"{name} must be one of {', '.join(map(str, allowed))}, not {value!r}")


def check_positive(name: str, value: float) -> None:
    """``ValueError`` unless the value is above 0."""
    if not value > 0:
        raise ValueError(f"{name} must be greater than 0, not {value!r}")
