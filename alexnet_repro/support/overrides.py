"""Single fields of a configuration, changed by their names: ``train.lr=0.02``, ``net.layers.conv1.channels=48``."""

from __future__ import annotations

import dataclasses
import json
import re
import types
from collections.abc import Mapping
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from alexnet_repro.support.values import fits

Config = TypeVar("Config")

LARGEST, LARGEST_WHOLE = 3.4e38, 2**31 - 1  # of float32, which a network computes with, and of its sizes
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.IGNORECASE)  # as one types it; JSON knows fewer forms


def override(config: Config, *assignments: str) -> Config:
    """The configuration with some fields changed.

    Args:
        config: a dataclass, e.g. a ``RunConfig``.
        assignments: ``path=value``. The path goes by fields, names of layers, keys of a mapping and numbers of stages;
            the value is JSON, a number as one types it (``.5``, ``+1.``), or text that needs no quotes.

    Raises:
        ValueError: there is no such field, or it does not take that value; names what there is.
    """
    for assignment in assignments:
        path, equals, text = assignment.partition("=")
        if not equals or not path:
            raise ValueError(f"a setting is written field=value, e.g. train.lr=0.02, not {assignment!r}")
        config = _changed(config, path.split("."), _read(text, path), path)
    return config


def _read(text: str, path: str) -> Any:
    """JSON, or a number as one types it, or text."""

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


def _changed(config: Any, keys: list[str], value: Any, path: str) -> Any:
    key, *rest = keys
    if dataclasses.is_dataclass(config):
        names = [field.name for field in dataclasses.fields(config)]
        _check(key, names, path, type(config).__name__)
        old = getattr(config, key)
        new = _changed(old, rest, value, path) if rest else _typed(value, get_type_hints(type(config))[key], path)
        return dataclasses.replace(config, **{key: new})
    if isinstance(config, Mapping):
        if rest or isinstance(value, bool) or not isinstance(value, int | float):
            raise ValueError(f"{path} takes a number, not {value!r}")
        return {**config, key: value}
    if isinstance(config, tuple) and rest:
        names = [getattr(item, "name", str(i)) for i, item in enumerate(config)]
        _check(key, names, path, ".".join(path.split(".")[: -len(keys)]))
        place = names.index(key)
        return (*config[:place], _changed(config[place], rest, value, path), *config[place + 1 :])
    raise ValueError(f"{path}: {key!r} is no field of {config!r}")


def _check(key: str, names: list[str], path: str, owner: str) -> None:
    if key not in names:
        raise ValueError(f"{path}: {owner} has no {key!r}, only {', '.join(names)}")


def _typed(value: Any, hint: Any, path: str) -> Any:
    """The value if the field's type allows it; whole numbers also where fractions are, lists where tuples are."""
    for option in get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,):
        origin = get_origin(option)
        if origin is Literal and value in get_args(option):
            return value
        if origin is tuple and isinstance(value, list) and fits(tuple(value), option):
            return tuple(value)
        if option is float and isinstance(value, int | float) and not isinstance(value, bool):
            return float(value)
        if isinstance(option, type) and option in (int, bool, str, type(None)) and type(value) is option:
            return value
    raise ValueError(f"{path} does not take {value!r}: it is {_in_words(hint)}")


def _in_words(hint: Any) -> str:
    options = get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)
    words = []
    for option in options:
        if get_origin(option) is Literal:
            words += map(str, get_args(option))
        elif option is type(None):
            words.append("null")
        else:
            words.append(getattr(option, "__name__", str(option)))
    return " or ".join(words)
