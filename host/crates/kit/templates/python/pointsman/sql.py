"""Databases that the operator granted, under `[sql.<name>]` of the handler's settings.
Leave this file as it is.

    main = sql.connection("main")
    with main.transaction():
        main.execute("UPDATE customer SET name = $1 WHERE id = $2", ["Ada", 7])
    rows = main.query("SELECT id, name FROM customer")

`Refused` and `Denied` reject the command where nobody catches them; `Lost` makes it
unavailable: it is tried again.
"""

import datetime as _datetime
import decimal as _decimal
import uuid as _uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from componentize_py_types import Err
from wit_world.imports import sql as _host

from . import Rejected, Unavailable, _text

__all__ = ["Connection", "Denied", "Lost", "Refused", "connection"]


class Denied(Rejected):
    """Not granted, or over one of the operator's limits."""

    code = None


class Refused(Rejected):
    """It never will work as it is: a wrong statement, a constraint. `code` is the SQLSTATE of
    PostgreSQL, such as "23505", or the name of SQLite's code, such as "SQLITE_CONSTRAINT_UNIQUE"."""

    def __init__(self, message: str, code: str | None):
        super().__init__(f"{message} ({code})" if code else message)
        self.code = code


class Lost(Unavailable):
    """It may work later: no connection, a deadlock, a timeout."""

    def __init__(self, message: str, code: str | None):
        super().__init__(f"{message} ({code})" if code else message)
        self.code = code


# How many statements were sent: rows that are on their way end with another one.
_statements = 0


def _begin() -> int:
    global _statements
    _statements += 1
    return _statements


def _ask(call: Any, *values: Any) -> Any:
    try:
        return call(*values)
    except Err as error:
        said = error.value
        if isinstance(said, _host.Error_Denied):
            raise Denied(said.value) from None
        if isinstance(said, _host.Error_Refused):
            raise Refused(said.value.message, said.value.code) from None
        raise Lost(said.value.message, said.value.code) from None


def _parameter(value: object) -> Any:
    if value is None:
        return _host.Value_Null()
    # True is an int in Python.
    if isinstance(value, bool):
        return _host.Value_Boolean(value)
    if isinstance(value, int):
        if not -(2**63) <= value < 2**63:
            raise ValueError("a whole number of a parameter has at most 64 bits")
        return _host.Value_Integer(int(value))
    if isinstance(value, float):
        return _host.Value_Real(float(value))
    if isinstance(value, str):
        return _host.Value_Text(_text(value))
    if isinstance(value, (bytes, bytearray, memoryview)):
        return _host.Value_Bytes(bytes(value))
    if isinstance(value, (_datetime.datetime, _datetime.date, _datetime.time)):
        return _host.Value_Text(value.isoformat())
    if isinstance(value, (_decimal.Decimal, _uuid.UUID)):
        return _host.Value_Text(str(value))
    raise TypeError(f"a parameter cannot be a {type(value).__name__}: `json.dumps` makes a text of it")


def _value(value: Any) -> Any:
    return None if isinstance(value, _host.Value_Null) else value.value


class Connection:
    """A database that the operator granted. It connects with the first statement, and what is
    open at the end of the call is rolled back."""

    def __init__(self, database: str):
        self._database = _text(database)

    def query(self, statement: str, parameters: Sequence[object] = ()) -> list[dict[str, Any]]:
        """All rows of a query, by the names of the columns. Parameters are `$1`, `$2` and so on."""
        return list(self.each(statement, parameters))

    def each(self, statement: str, parameters: Sequence[object] = ()) -> Iterator[dict[str, Any]]:
        """The rows of a query one by one: at most a thousand, or a mebibyte, are in memory at a time."""
        values = [_parameter(value) for value in parameters]
        page = _ask(_host.query, self._database, _text(statement), values)
        mine = _begin()
        while True:
            for row in page.rows:
                yield dict(zip(page.columns, map(_value, row)))
            if not page.more:
                return
            if mine != _statements:
                raise Refused("another statement ended the rows of this one: `query` reads them all first", None)
            page = _ask(_host.next, self._database)

    def execute(self, statement: str, parameters: Sequence[object] = ()) -> int:
        """Runs a statement; how many rows it changed."""
        values = [_parameter(value) for value in parameters]
        _begin()
        return _ask(_host.execute, self._database, _text(statement), values)

    @contextmanager
    def transaction(self) -> Iterator["Connection"]:
        """A transaction, which is kept where the block ends and undone where it raises."""
        _begin()
        _ask(_host.begin, self._database)
        try:
            yield self
        except BaseException:
            try:
                _host.rollback(self._database)
            except Err:
                pass  # The reason that counts is that of the block; what is open ends with the call.
            raise
        _ask(_host.commit, self._database)


def connection(database: str) -> Connection:
    """A database by the name that the operator gave it."""
    return Connection(database)
