"""Runs slow work in a few threads. Requests for the same work share it, so they cannot pile up."""

from __future__ import annotations

import asyncio
import threading
from queue import SimpleQueue
from typing import TYPE_CHECKING, TypeVar, cast

from omnicdc.errors import TransientError

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

T = TypeVar("T")

MOST_WAITING = 8
"""So many pieces of work may be under way or waiting. Further ones are refused."""


class Busy(TransientError):  # noqa: N818 - named for the state, as DatabaseUnavailable
    """Too much work is waiting."""


class TooSlow(TransientError):  # noqa: N818 - as above
    """The work did not end within its time limit."""


class Workers:
    """A few threads. They do not keep the process from ending, as a hung mount may never let one go."""

    def __init__(self, threads: int) -> None:
        """Store the number of threads. They are started with the first work."""
        self._threads = threads
        self._started = False
        self._queue: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self._running: dict[Hashable, asyncio.Future[object]] = {}

    async def run(self, key: Hashable, work: Callable[[], T], limit_s: float) -> T:
        """Return the result of `work`, or raise its error. Call this in the event loop's thread only.

        While work with the same key is under way, its result is returned instead. Raises Busy, and TooSlow
        after `limit_s` seconds; the work then continues, and a repeat waits for the same work.
        """
        if key not in self._running:
            if len(self._running) >= MOST_WAITING:
                raise Busy(f"{MOST_WAITING} other requests are being answered", again=True)
            self._start(key, work)
        future = self._running[key]
        try:
            return cast("T", await asyncio.wait_for(asyncio.shield(future), limit_s))
        except TimeoutError as exc:
            if future.done():
                raise
            raise TooSlow(
                f"no answer within {limit_s:.0f} s",
                hint="is the database busy, or the registries' file system slow? `omnicdc status`",
                again=True,
            ) from exc

    def _start(self, key: Hashable, work: Callable[[], T]) -> None:
        loop = asyncio.get_running_loop()
        future: asyncio.Future[object] = loop.create_future()
        self._running[key] = future

        def finish(result: object, error: BaseException | None) -> None:
            del self._running[key]
            if error is None:
                future.set_result(result)
            else:
                future.set_exception(error)
                future.exception()  # nobody may wait any more; then it is not an unhandled error

        def job() -> None:
            result: object = None
            error: BaseException | None = None
            try:
                result = work()
            except BaseException as exc:  # noqa: BLE001 - raised in the request
                error = exc
            if not loop.is_closed():
                loop.call_soon_threadsafe(finish, result, error)

        if not self._started:
            self._started = True
            for number in range(self._threads):
                threading.Thread(target=self._work, name=f"page-{number}", daemon=True).start()
        self._queue.put(job)

    def _work(self) -> None:
        while True:
            self._queue.get()()
