"""A thread that does one thing when it is asked to; `refresher` has several."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

import structlog

if TYPE_CHECKING:
    from collections.abc import Callable

log = structlog.get_logger()


class Worker:
    """A thread that does one thing when it is asked to, and again after a while.

    What is asked for while it works is done afterwards. A worker that hangs does no harm: nothing waits for
    its end.
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
        self._wanted = self._done = 0
        self._ended = False
        self._busy_since: float | None = None
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def ask(self) -> None:
        """Ask for the work to be done from its beginning on."""
        with self._bell:
            self._wanted += 1
            self._bell.notify_all()

    def end(self) -> None:
        """Have it do nothing more."""
        with self._bell:
            self._ended = True
            self._bell.notify_all()

    @property
    def pending(self) -> bool:
        """Whether something asked for is not done yet."""
        return self._done < self._wanted

    @property
    def busy_s(self) -> float:
        """How long it has been at the present work."""
        since = self._busy_since
        return time.monotonic() - since if since is not None else 0.0

    def _run(self) -> None:
        while True:
            with self._bell:
                asked = self._bell.wait_for(lambda: self._ended or self.pending, self._every_s())
                if self._ended:
                    return
                aim, self._busy_since = self._wanted, time.monotonic()
            try:
                self._work(asked)
            except Exception as exc:
                log.error("inputs_not_refreshed", worker=self.name, hint="please report it", exc_info=exc)
            with self._bell:
                self._done, self._busy_since = aim, None
                self._bell.notify_all()
