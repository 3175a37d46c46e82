"""A thread that does one task on request. `refresher` has several of them."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

import structlog

if TYPE_CHECKING:
    from collections.abc import Callable

log = structlog.get_logger()


class Worker:
    """A thread that does one task: on request, and also whenever `every_s()` seconds have passed.

    `work` is called with true if there was a request, and with false if the time has passed. A request that
    comes while `work` runs makes it run again afterwards. A worker that hangs does no harm, because nothing
    waits for its end. `bell` is notified after each run.
    """

    def __init__(
        self,
        name: str,
        work: Callable[[bool], None],
        every_s: Callable[[], float | None],
        bell: threading.Condition,
    ) -> None:
        self.name = name
        self._work = work
        self._every_s = every_s
        self._bell = bell
        self._requested = self._done = 0
        self._ended = False
        self._busy_since: float | None = None
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def request(self) -> None:
        """Request the task. It runs once more in full, even if it is running now."""
        with self._bell:
            self._requested += 1
            self._bell.notify_all()

    def end(self) -> None:
        """End the thread after the current run. Later requests have no effect."""
        with self._bell:
            self._ended = True
            self._bell.notify_all()

    @property
    def pending(self) -> bool:
        """Whether a request is not done yet."""
        return self._done < self._requested

    @property
    def busy_s(self) -> float:
        """How many seconds the current run has taken so far; 0 if the task is not running."""
        since = self._busy_since
        return time.monotonic() - since if since is not None else 0.0

    def _run(self) -> None:
        while True:
            with self._bell:
                requested = self._bell.wait_for(lambda: self._ended or self.pending, self._every_s())
                if self._ended:
                    return
                reached, self._busy_since = self._requested, time.monotonic()
            try:
                self._work(requested)
            except Exception as exc:
                log.error("inputs_not_refreshed", worker=self.name, hint="please report it", exc_info=exc)
            with self._bell:
                self._done, self._busy_since = reached, None
                self._bell.notify_all()
