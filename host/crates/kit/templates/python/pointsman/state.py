"""What the handler remembers from one call to the next; `[state]` of its settings grants it.
It is durable before a function returns. Leave this file as it is.

`Refused` rejects the command where nobody catches it; `Lost` makes it unavailable.
"""

import json as _json
from collections.abc import Iterator
from typing import Any

from componentize_py_types import Err
from wit_world.imports import state as _host

from . import Rejected, Unavailable, _amount, _text

__all__ = ["ABSENT", "Lost", "Refused", "compare_and_set", "delete", "get", "increment", "items", "set"]

ABSENT = object()
"""No entry, where `None` is a value like any other."""


class Refused(Rejected):
    """Not granted, no room is left, or it never will work."""


class Lost(Unavailable):
    """The store does not answer now."""


def _ask(call: Any, *values: Any) -> Any:
    try:
        return call(*values)
    except Err as error:
        if isinstance(error.value, _host.Error_Unavailable):
            raise Lost(error.value.value) from None
        raise Refused(error.value.value) from None


def _written(value: object) -> str:
    return _json.dumps(value, allow_nan=False)


def _ttl(ttl_ms: int | None) -> int | None:
    return None if ttl_ms is None else _amount(ttl_ms, "`ttl_ms`", 2**63 - 1)


def get(key: str, default: Any = None) -> Any:
    """The value of `key`, or `default`."""
    value = _ask(_host.get, _text(key))
    return default if value is None else _json.loads(value)


def set(key: str, value: object, ttl_ms: int | None = None) -> None:
    """Sets `key`; with `ttl_ms` it is gone once so many milliseconds are over."""
    _ask(_host.set, _text(key), _written(value), _ttl(ttl_ms))


def delete(key: str) -> bool:
    """Removes `key`; whether it was there."""
    return _ask(_host.delete, _text(key))


def compare_and_set(key: str, expected: object, value: object, ttl_ms: int | None = None) -> bool:
    """Sets `key` to `value`, or removes it, if it stands for `expected` now; `ABSENT` is no entry.
    Whether it did."""
    before = None if expected is ABSENT else _written(expected)
    after = None if value is ABSENT else _written(value)
    return _ask(_host.compare_and_set, _text(key), before, after, _ttl(ttl_ms))


def increment(key: str, by: int = 1, ttl_ms: int | None = None) -> int:
    """Adds to the whole number that `key` stands for, which is 0 where there is none. The sum."""
    if isinstance(by, bool) or not isinstance(by, int) or not -(2**63) <= by < 2**63:
        raise TypeError("what is added must be an int of 64 bits")
    return _ask(_host.increment, _text(key), int(by), _ttl(ttl_ms))


def items(prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The entries whose keys begin with `prefix`, in the order of their keys."""
    after = None
    while entries := _ask(_host.list, _text(prefix), after, 1_000):
        for entry in entries:
            yield entry.key, _json.loads(entry.value)
        after = entries[-1].key
