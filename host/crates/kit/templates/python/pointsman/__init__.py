"""What a handler needs of Pointsman. Leave this file as it is.

`export` makes every exception that a handler raises a failure: nothing that
Python can raise becomes a trap. Arguments are checked here, since the contract's
functions trap on what they do not take.
"""

import json
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from inspect import iscoroutine, iscoroutinefunction
from typing import Any, TypeVar

try:
    import wit_world.exports
except ModuleNotFoundError:
    # Not in a component: in a unit test.
    from . import outside  # noqa: F401
    import wit_world.exports
from componentize_py_types import Err
from wit_world.imports import clock, random
from wit_world.imports import config as configuration
from wit_world.imports import log as lines
from wit_world.imports import pointsman_handler_types as types

T = TypeVar("T")


class Rejected(Exception):
    """The command is wrong for this handler: it will not be tried again."""


class Unavailable(Exception):
    """It cannot be done now: it will be tried again, `retry_after_ms` from now at the earliest."""

    def __init__(self, message: str, retry_after_ms: int | None = None):
        super().__init__(message)
        self.retry_after_ms = _wait(retry_after_ms)


@dataclass(frozen=True)
class Command:
    """One command on its way to this handler."""

    id: str
    """A UUID, the same for every handler of the command."""
    attributes: dict[str, Any]
    """The command as it was sent: one JSON object."""
    attempt: int
    """Which try this is: 1 on the first."""
    delivery_id: str
    """Stable across retries: the idempotency key of side effects."""
    traceparent: str | None
    """The caller's W3C trace context, where it sent one."""

    def field(self, name: str, kind: type[T]) -> T:
        """One attribute. Rejects the command where it is missing or of another type."""
        if name not in self.attributes:
            raise Rejected(f"the command has no `{name}`")
        value = self.attributes[name]
        # JSON has one kind of number: 5 is a price as 5.0 is.
        if kind is float and type(value) is int:
            return float(value)
        # True is an int in Python, and not in JSON.
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            raise Rejected(
                f"`{name}` of the command is of type {type(value).__name__}, not {kind.__name__}"
            )
        return value


class log:
    """Log lines, one function a level."""

    @staticmethod
    def trace(message: object) -> None:
        lines.log(lines.Level.TRACE, _text(message))

    @staticmethod
    def debug(message: object) -> None:
        lines.log(lines.Level.DEBUG, _text(message))

    @staticmethod
    def info(message: object) -> None:
        lines.log(lines.Level.INFO, _text(message))

    @staticmethod
    def warn(message: object) -> None:
        lines.log(lines.Level.WARN, _text(message))

    @staticmethod
    def error(message: object) -> None:
        lines.log(lines.Level.ERROR, _text(message))


def config(key: str) -> str | None:
    """The value of `key` in this handler's configuration, if it has one."""
    return configuration.get(_text(key))


def now_ms() -> int:
    """The wall clock in milliseconds since 1970."""
    return clock.now()


def sleep_ms(duration_ms: int) -> None:
    """Waits a whole number of milliseconds. It costs no CPU time and counts towards the timeout."""
    clock.sleep(_amount(duration_ms, "the duration in milliseconds", 2**64 - 1))


def random_bytes(count: int) -> bytes:
    """Random bytes, at most 65,536 at once."""
    return random.bytes(_amount(count, "the count of bytes", 65_536))


def export(handle: Callable[[Command], Any]) -> type:
    """Makes a function from a command to an answer what the component exports. It may be `async`."""
    if not callable(handle):
        raise TypeError(f"`export` takes a function, not a {type(handle).__name__}")
    if iscoroutinefunction(handle):
        # Now, and only now: nothing can be imported when the component runs, and `asyncio` is 2 MB.
        from .loop import run
    else:
        run = None

    class CommandHandler(wit_world.exports.CommandHandler):
        def handle(self, command: types.Command) -> str | None:
            try:
                attributes = json.loads(command.attributes)
                answer = handle(
                    Command(
                        command.id,
                        attributes,
                        command.attempt,
                        command.delivery_id,
                        command.traceparent,
                    )
                )
                if iscoroutine(answer):
                    if run is None:
                        answer.close()
                        raise Rejected(
                            "the handler returned a coroutine, but is not `async`: write `async def`"
                            " and return the answer itself"
                        )
                    answer = run(answer, log.error)
                # NaN and Infinity are no JSON.
                return None if answer is None else json.dumps(answer, allow_nan=False)
            except BaseException as error:  # SystemExit and its like trap as well
                raise Err(_failure(error)) from None

    return CommandHandler


def _amount(value: object, what: str, most: int) -> int:
    """`value` where it is a whole number from 0 to `most`."""
    # True is an int in Python.
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{what} must be an int, not a {type(value).__name__}")
    if not 0 <= value <= most:
        raise ValueError(f"{what} must be from 0 to {most}")
    return int(value)


def _wait(retry_after_ms: object) -> int | None:
    """When to try again; None where the host decides."""
    if retry_after_ms is None:
        return None
    return _amount(retry_after_ms, "`retry_after_ms`", 2**64 - 1)


def _wait_of(error: Unavailable) -> int | None:
    """The wait of an exception, which may have been set to anything since it was
    made. It stays unavailable all the same."""
    try:
        return _wait(error.retry_after_ms)
    except (TypeError, ValueError) as wrong:
        log.error(wrong)
        return None


def _text(value: object) -> str:
    """A text that UTF-8 can carry: half a surrogate pair becomes `?`."""
    return str(value).encode("utf-8", "replace").decode("utf-8")


def _failure(error: BaseException) -> types.Failure:
    """What the contract knows for anything that was raised."""
    try:
        if isinstance(error, Unavailable):
            return types.Failure_Unavailable(types.RetryInfo(_text(error), _wait_of(error)))
        # What took too long, and what `urllib` says of a request that failed.
        if isinstance(error, TimeoutError) or isinstance(getattr(error, "reason", None), Unavailable):
            return types.Failure_Unavailable(types.RetryInfo(_text(str(error) or "timed out"), None))
        if isinstance(error, Rejected):
            return types.Failure_Rejected(_text(error))
        log.error("".join(traceback.format_exception(error)).rstrip())
        return types.Failure_Rejected(_text("".join(traceback.format_exception_only(error)).strip()))
    except BaseException:  # its own text can raise as well
        return types.Failure_Rejected(f"the handler raised {type(error).__name__}, which has no text")
