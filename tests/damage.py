"""What may have been changed in nested values, for tests."""

import copy
from collections.abc import Iterator
from typing import Any

from hypothesis import HealthCheck, settings

many = settings(max_examples=200, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))


def places(value: Any, above: tuple = ()) -> Iterator[tuple]:
    """The keys that lead to every value in nested mappings and lists."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield (*above, key)
        yield from places(item, (*above, key))


def changed(whole: Any, place: tuple, value: Any, lost: bool) -> Any:
    """A copy with another value there, or with none."""
    whole = copy.deepcopy(whole)
    at = whole
    for key in place[:-1]:
        at = at[key]
    if lost:
        del at[place[-1]]
    else:
        at[place[-1]] = value
    return whole
