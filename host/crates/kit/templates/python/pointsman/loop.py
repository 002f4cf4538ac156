"""The event loop of `asyncio`, over `wasi:io/poll`. Leave this file as it is.

It is part of a handler that has an `async def handle`, and of no other.
"""

import asyncio
import asyncio.base_events
from collections.abc import Callable, Coroutine
from typing import Any

from wit_world.imports import monotonic_clock, poll

# Longer than any call: the loop looks again after it.
_WAIT_SECONDS_MAX = 3600.0


class Loop(asyncio.base_events.BaseEventLoop):
    """Timers and callbacks are those of `asyncio`; only the wait is ours."""

    def __init__(self) -> None:
        super().__init__()
        self._selector = self
        self._waits: list[tuple[poll.Pollable, asyncio.Future[None]]] = []

    async def wait_for(self, pollable: poll.Pollable) -> None:
        """Returns when `pollable` is ready, and drops it in any case: before what it belongs to."""
        future: asyncio.Future[None] = self.create_future()
        wait = (pollable, future)
        self._waits.append(wait)
        try:
            await future
        finally:
            self._waits.remove(wait)
            pollable.__exit__(None, None, None)

    def select(self, timeout: float | None) -> list[asyncio.Future[None]]:
        """Waits for the first of all, at most `timeout` seconds; gives what is ready."""
        waits = [(pollable, future) for pollable, future in self._waits if not future.done()]
        if not waits and timeout is None:
            raise RuntimeError("the handler waits for what nothing can finish any more")
        pollables = [pollable for pollable, _ in waits]
        timer = None
        if timeout is not None:
            nanoseconds = int(min(max(timeout, 0.0), _WAIT_SECONDS_MAX) * 1e9)
            timer = monotonic_clock.subscribe_duration(nanoseconds)
            pollables.append(timer)
        ready = poll.poll(pollables)
        if timer:
            timer.__exit__(None, None, None)
        return [waits[index][1] for index in ready if index < len(waits)]

    def _process_events(self, ready: list[asyncio.Future[None]]) -> None:
        for future in ready:
            if not future.done():
                future.set_result(None)

    def _write_to_self(self) -> None:
        """Nobody else could wake the loop: there are no threads."""

    def end(self) -> None:
        """Cancels what is left, so that it drops what it holds."""
        tasks = asyncio.all_tasks(self)
        for task in tasks:
            task.cancel()
        if tasks:
            self.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
        self.run_until_complete(self.shutdown_asyncgens())
        self.close()


def run(work: Coroutine[Any, Any, Any], report: Callable[[object], None]) -> Any:
    """What `work` comes to. `report` gets the errors of tasks that nobody awaited."""
    loop = Loop()

    def handler(_: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        report(f"{context['message']}: {context.get('exception')!r}")

    loop.set_exception_handler(handler)
    asyncio.set_event_loop(loop)
    try:
        return loop.run_until_complete(work)
    finally:
        try:
            loop.end()
        finally:
            asyncio.set_event_loop(None)
