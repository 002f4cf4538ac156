"""Follow-up commands; `[emit]` of the handler's settings grants them. They enter the queue once
the handler has succeeded, all of them, and none if it fails. Leave this file as it is.
"""

import json as _json
from collections.abc import Mapping
from typing import Any

from componentize_py_types import Err
from wit_world.imports import emit as _host

from . import Rejected, _amount, _text

__all__ = ["Refused", "command"]


class Refused(Rejected):
    """Not granted, no valid command, or no rule matches it."""


def command(
    attributes: Mapping[str, Any],
    *,
    delay_ms: int | None = None,
    ordering_key: str | None = None,
    priority: int | None = None,
) -> str:
    """Emits a command; its id. It runs no sooner than after `delay_ms`; commands of one
    `ordering_key` run one after the other; a higher `priority` runs first."""
    if priority is not None and (isinstance(priority, bool) or not -(2**31) <= priority < 2**31):
        raise ValueError("`priority` must be an int of 32 bits")
    options = _host.Options(
        None if delay_ms is None else _amount(delay_ms, "`delay_ms`", 2**63 - 1),
        None if ordering_key is None else _text(ordering_key),
        priority,
    )
    try:
        return _host.emit(_json.dumps(dict(attributes), allow_nan=False), options)
    except Err as error:
        raise Refused(error.value.value) from None
