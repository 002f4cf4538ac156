"""Stands for the host where there is none: in unit tests. Leave this file as it is.

A handler's own tests replace what they need: `patch("handler.config", …)`, `patch("pointsman.http.get", …)`. What
`sql`, `state` and `emit` do is here, for each test to fill and to look at:

    from pointsman import outside

    def setUp(self):
        outside.reset()
        outside.databases["main"] = sqlite3.connect(":memory:")
        outside.entries["calls"] = 41
"""

import json
import os
import sqlite3
import sys
import time
from enum import IntEnum
from types import ModuleType
from typing import Any

databases: dict[str, sqlite3.Connection] = {}
"""The databases that the handler is granted, by name: SQLite, whatever it is in production."""

entries: dict[str, Any] = {}
"""What the handler remembers. Nothing is ever over here."""

emitted: list[dict[str, Any]] = []
"""The commands that the handler emitted."""


def reset() -> None:
    """Nothing is granted, remembered or emitted any more."""
    for database in databases.values():
        database.close()
    for everything in (databases, entries, emitted):
        everything.clear()


class _Module(ModuleType):
    """Has a class for every name that is asked for."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        made = type(name, (), {"__getattr__": lambda _, name: name})
        setattr(self, name, made)
        return made


class _Err(Exception):
    def __init__(self, value: Any):
        super().__init__(value)
        self.value = value


def _module(name: str, **functions: Any) -> None:
    module = _Module(name)
    # A package, so that there can be modules in it.
    module.__path__ = []
    vars(module).update(functions)
    sys.modules[name] = module
    parent, _, child = name.rpartition(".")
    if parent:
        setattr(sys.modules[parent], child, module)


_module("componentize_py_types", Err=_Err)
_module("wit_world")
_module("wit_world.exports")
_module("wit_world.imports")
_module("wit_world.imports.clock", now=lambda: time.time_ns() // 1_000_000, sleep=lambda ms: time.sleep(ms / 1000))
_module("wit_world.imports.config", get=lambda key: None)
_module(
    "wit_world.imports.log",
    Level=IntEnum("Level", "TRACE DEBUG INFO WARN ERROR", start=0),
    log=lambda level, message: print(f"{level.name.lower()}: {message}", file=sys.stderr),
)
_module("wit_world.imports.random", number=lambda: int.from_bytes(os.urandom(8)), bytes=os.urandom)
for _name in ("monotonic_clock", "outgoing_handler", "pointsman_handler_types", "poll", "streams", "wasi_http_types"):
    _module(f"wit_world.imports.{_name}")


def _record(name: str, *fields: str) -> Any:
    """A class with these fields."""

    def init(self: Any, *values: Any) -> None:
        for field, value in zip(fields, values, strict=True):
            setattr(self, field, value)

    return type(name, (), {"__init__": init})


def _variants(name: str, *cases: str) -> dict[str, Any]:
    return {f"{name}_{case}": _record(f"{name}_{case}", *([] if case == "Null" else ["value"])) for case in cases}


_VALUES = _variants("Value", "Null", "Boolean", "Integer", "Real", "Text", "Bytes")
_SQL_ERRORS = _variants("Error", "Denied", "Refused", "Unavailable")
_STATE_ERRORS = _variants("Error", "Denied", "Invalid", "Unavailable")
_EMIT_ERRORS = _variants("Error", "Denied", "Invalid")
_Failure = _record("Failure", "message", "code")
_Page = _record("Page", "columns", "rows", "more")


def _sql(database: str, statement: str, values: Any = ()) -> sqlite3.Cursor:
    connection = databases.get(database)
    if connection is None:
        add = f'outside.databases["{database}"] = sqlite3.connect(":memory:")'
        raise _Err(_SQL_ERRORS["Error_Denied"](f"this unit test has no database `{database}`: {add}"))
    # Transactions are those that the handler opens; setting it ends one that is open.
    if connection.isolation_level is not None:
        connection.isolation_level = None
    named = {str(number): getattr(value, "value", None) for number, value in enumerate(values, 1)}
    try:
        return connection.execute(statement, named)
    except sqlite3.Error as error:
        failure = _Failure(str(error), getattr(error, "sqlite_errorname", None))
        raise _Err(_SQL_ERRORS["Error_Refused"](failure)) from None


def _given(value: Any) -> Any:
    kinds = {int: "Integer", float: "Real", str: "Text", bytes: "Bytes"}
    return _VALUES["Value_Null"]() if value is None else _VALUES[f"Value_{kinds[type(value)]}"](value)


def _query(database: str, statement: str, values: Any) -> Any:
    rows = _sql(database, statement, values)
    columns = [column[0] for column in rows.description or ()]
    return _Page(columns, [[_given(value) for value in row] for row in rows], False)


_module(
    "wit_world.imports.sql",
    **_VALUES,
    **_SQL_ERRORS,
    query=_query,
    execute=lambda database, statement, values: max(_sql(database, statement, values).rowcount, 0),
    begin=lambda database: _sql(database, "BEGIN") and None,
    commit=lambda database: _sql(database, "COMMIT") and None,
    rollback=lambda database: _sql(database, "ROLLBACK") and None,
)


def _get(key: str) -> str | None:
    return json.dumps(entries[key]) if key in entries else None


def _set(key: str, value: str, _ttl_ms: int | None) -> None:
    entries[key] = json.loads(value)


def _delete(key: str) -> bool:
    there = key in entries
    entries.pop(key, None)
    return there


def _compare_and_set(key: str, expected: str | None, value: str | None, _ttl_ms: int | None) -> bool:
    is_there = key in entries
    if is_there != (expected is not None) or (is_there and entries[key] != json.loads(expected or "")):
        return False
    if value is None:
        entries.pop(key, None)
    else:
        entries[key] = json.loads(value)
    return True


def _increment(key: str, by: int, _ttl_ms: int | None) -> int:
    before = entries.get(key, 0)
    if isinstance(before, bool) or not isinstance(before, int) or not -(2**63) <= before + by < 2**63:
        raise _Err(_STATE_ERRORS["Error_Invalid"](f"`{key}` stands for no whole number that can be added to"))
    entries[key] = before + by
    return entries[key]


def _list(prefix: str, after: str | None, limit: int) -> list[Any]:
    entry = _record("Entry", "key", "value")
    keys = sorted(key for key in entries if key.startswith(prefix) and (after is None or key > after))
    return [entry(key, json.dumps(entries[key])) for key in keys[:limit]]


_module(
    "wit_world.imports.state",
    **_STATE_ERRORS,
    get=_get,
    set=_set,
    delete=_delete,
    compare_and_set=_compare_and_set,
    increment=_increment,
    list=_list,
)


def _emit(command: str, _options: Any) -> str:
    emitted.append(json.loads(command))
    return f"emitted-{len(emitted)}"


_module(
    "wit_world.imports.emit",
    **_EMIT_ERRORS,
    Options=_record("Options", "delay_ms", "ordering_key", "priority"),
    emit=_emit,
)
