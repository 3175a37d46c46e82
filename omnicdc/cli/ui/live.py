"""One reader for all browsers: it reads the estate while somebody looks, and every browser gets the newest.

The reader is a thread with one connection. Without viewers there is neither. A browser that is slow misses
states, and gets the newest one: nothing queues up.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import psycopg

from omnicdc import db
from omnicdc.cli.ui.reading import Reading, read
from omnicdc.errors import OmnicdcError

if TYPE_CHECKING:
    from omnicdc.config.settings import Config

MOST_BROWSERS = 100
"""So many event streams can be open. A further one is refused, and its page stays as it was made."""

LOOK_S = 5.0
"""Seconds between two readings when nothing is published: lag and heartbeats change all the same."""

PAUSE_S = 1.0
"""At least so many seconds are between two readings, however often something is published."""

GRACE_S = 5.0
"""The reader ends so many seconds after the last browser has left, as most only go to another page."""

READ_S = 15.0
"""The longest time for one reading, in seconds."""

CONNECT_S = 10.0
LONGEST_BACK_OFF_S = 15.0
SLICE_S = 0.5


@dataclass(frozen=True, slots=True)
class State:
    """What all browsers show: the newest reading, or why there is none since when."""

    reading: Reading | None = None
    error: OmnicdcError | None = None
    lost_since: datetime | None = None
    """When the connection was found to be lost; None while there is one."""


class Board:
    """The newest state, and the browsers that wait for the next one.

    `subscribe`, `unsubscribe` and `close` are called in the event loop's thread.
    """

    def __init__(self, config: Config) -> None:
        """Store the configuration. The reader is started for the first browser."""
        self._config = config
        self._browsers: set[asyncio.Event] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._left_at = 0.0
        self._running = False
        self._guard = threading.Lock()
        self.closed = False
        self.state = State()
        self.version = 0
        """Counts the states up."""

    @property
    def reads(self) -> bool:
        """Whether the reader keeps the state current."""
        return self._running and self.state.reading is not None

    def subscribe(self) -> asyncio.Event | None:
        """Return an event that is set whenever there is a new state; None if there are too many browsers."""
        if self.closed or len(self._browsers) >= MOST_BROWSERS:
            return None
        news = asyncio.Event()
        self._browsers.add(news)
        with self._guard:
            self._loop = asyncio.get_running_loop()
            if not self._running:
                self._running = True
                threading.Thread(target=self._run, name="page-reader", daemon=True).start()
        return news

    def unsubscribe(self, news: asyncio.Event) -> None:
        """End a subscription. A repeat does nothing."""
        self._browsers.discard(news)
        self._left_at = time.monotonic()

    def close(self) -> None:
        """End all event streams, and the reader. A repeat does nothing."""
        self.closed = True
        self._wake()

    def note(self, reading: Reading) -> None:
        """Keep a reading that a page has made, so that the next one can use its generations."""
        if not self._running:
            self.state = State(reading)

    def fail(self, error: OmnicdcError) -> State:
        """Return the last state with the fault because of which a page could not make a new reading."""
        known = self.state
        found = State(known.reading, error, known.lost_since or datetime.now(UTC))
        if not self._running:
            self.state = found
        return found

    # The methods below run in the reader's thread, except `_wake`.

    def _needed(self) -> bool:
        return not self.closed and (bool(self._browsers) or time.monotonic() - self._left_at < GRACE_S)

    def _run(self) -> None:
        failures = 0
        while True:
            try:
                self._serve_session()
                failures = 0
            except Exception as exc:  # noqa: BLE001 - the reader must not end while browsers wait for it
                connected = self.state.lost_since is None
                failures = 1 if connected else failures + 1
                error = _explained(exc)
                since = datetime.now(UTC) if connected else self.state.lost_since
                self._publish(State(self.state.reading, error, since))
                self._rest(min(2.0 ** min(failures, 10) / 2, LONGEST_BACK_OFF_S))
            with self._guard:
                if not self._needed():
                    self._running = False
                    return

    def _serve_session(self) -> None:
        """Read until nobody looks any more. Raises an error when the connection is lost."""
        with db.connect(self._config.target, connect_s=CONNECT_S, going_on=self._needed) as conn:
            conn.deadline = time.monotonic() + READ_S
            db.check_schema(conn)
            listens = not conn.behind_pooler
            if listens:
                with db.translated("listening for publications"):
                    conn.execute("listen omnicdc_published")
            while self._needed():
                if listens:
                    list(conn.notifies(timeout=0))  # this reading shows what they announce
                conn.deadline = time.monotonic() + READ_S
                found = read(conn, self._config).after(self.state.reading)
                conn.deadline = None
                self._publish(State(found))
                self._rest(PAUSE_S)
                self._await_publication(conn if listens else None, LOOK_S - PAUSE_S)

    def _await_publication(self, conn: db.Connection | None, seconds: float) -> None:
        """Sleep until a daemon publishes, the time is up, or nobody looks any more."""
        until = time.monotonic() + seconds
        while self._needed() and (left := until - time.monotonic()) > 0:
            if conn is None:
                time.sleep(min(left, SLICE_S))
            elif list(conn.notifies(timeout=min(left, SLICE_S), stop_after=1)):
                return

    def _rest(self, seconds: float) -> None:
        """Sleep until the time is up, or nobody looks any more."""
        self._await_publication(None, seconds)

    def _publish(self, state: State) -> None:
        self.state = state
        self.version += 1
        loop = self._loop
        if loop and not loop.is_closed():
            loop.call_soon_threadsafe(self._wake)

    def _wake(self) -> None:
        for news in self._browsers:
            news.set()


def _explained(exc: Exception) -> OmnicdcError:
    """Return an error for the pages. An unexpected one is logged with its traceback."""
    if isinstance(exc, OmnicdcError):
        return exc
    if not isinstance(exc, psycopg.Error):
        logging.getLogger(__name__).error("the reader of the page failed", exc_info=exc)
    return OmnicdcError(str(exc).strip() or type(exc).__name__, again=True)
