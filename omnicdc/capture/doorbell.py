"""Sleeps until the log may hold new changes, and says what ended the sleep.

docs/how-it-works.md explains the locks of writers and sleepers.
"""

from __future__ import annotations

import select
import time
from dataclasses import dataclass
from enum import Enum, auto
from typing import TYPE_CHECKING, Protocol

from omnicdc import db
from omnicdc.model import Fault
from omnicdc.stop import SLICE_S

if TYPE_CHECKING:
    from collections.abc import Callable

FIRST_NAP_S = 0.001
LONGEST_NAP_S = 0.25
"""Sleep while a transaction is open that may end without a notification. The time doubles from FIRST_NAP_S to
LONGEST_NAP_S."""

QUEUE_FULL_SHARE = 0.5
"""If more than this share of the server's notification queue is in use, writers do not notify.
sql/functions/notify_consumers.sql has the same number."""

QUEUE_FULL = Fault(
    "writers cannot ring: the server's queue of notifications is more than half full; changes arrive by "
    "polling",
    "a session that uses LISTEN has a long open transaction: `select pid, xact_start, query from "
    "pg_stat_activity "
    "order by xact_start`",
)
NOT_RECEIVING = Fault(
    "notifications do not arrive here; changes arrive by polling",
    "connect to PostgreSQL itself, or to a pool in session mode; or set `wake: poll`",
)


class Wakeup(Enum):
    """Why a consumer reads the log now."""

    CHANGES = auto()
    """Changes were already waiting, so there was no sleep."""
    WRITER_OPEN = auto()
    """A transaction was open that may end without a notification, so the sleep was short."""
    RANG = auto()
    """A writer notified."""
    DUE = auto()
    """The time was up."""
    STOP = auto()
    """A stop or reload signal, or new inputs."""

    @property
    def writers_busy(self) -> bool:
        """True if changes were already waiting, or a writer was open."""
        return self in (Wakeup.CHANGES, Wakeup.WRITER_OPEN)


@dataclass(frozen=True, slots=True)
class Backlog:
    """What a look at the log found, for the metrics."""

    changes: int
    oldest_at: float
    """When the oldest of these changes was written, by `time.monotonic`. Without changes: when it looked."""


class GoingOn(Protocol):
    """What can end a sleep besides a notification and the time limit."""

    def going_on(self) -> bool:
        """Whether to continue sleeping."""


class Doorbell:
    """Waits for notifications on one connection.

    Writers notify only while a consumer is parked. A writer that did not notify checked for a consumer before
    we parked. It has ended, or still holds the writer lock. So, after parking, check the writer lock, then
    read the log again. If the lock is held, sleep only for a short time. A writer that begins later notifies.
    """

    def __init__(self, conn: db.Connection) -> None:
        self._conn = conn
        self._nap_s = FIRST_NAP_S
        self.backlog = Backlog(0, 0.0)
        """What the last look found. Any thread may read it, as the next two."""
        self.asleep = False
        """Whether it waits for a notification: the last look found nothing."""
        self.notifications = 0
        """How many notifications arrived: one for each transaction that had to notify."""
        conn.execute("listen omnicdc_change")

    def wait(
        self,
        last: str,
        sleep: GoingOn,
        at_most_s: float,
        when_quiet: Callable[[], float | None] = lambda: None,
    ) -> tuple[Wakeup, bool]:
        """Return at once if changes are waiting.

        Otherwise return at a notification, after `at_most_s` seconds, or when `sleep.going_on()` is false.

        `last` is the snapshot of the last reading. `when_quiet` is called just before the sleep if no writer
        is open and the next writer will notify; it may return another time limit, in seconds.

        The second result is true if we are parked. We stay parked until the next reading; until then every
        writer notifies.
        """
        with db.translated("waiting for the log"):
            parked = bool(db.fetch_one(self._conn, "park")["parked"])
            # Not parked: another session holds the sleeper lock, or a writer is checking it at this moment.
            # So no writer will notify us.
            writing = not parked or bool(db.fetch_one(self._conn, "writers")["writing"])
            if self._look(last):
                return Wakeup.CHANGES, parked
            limit_s = min(at_most_s, self._next_nap_s(writing=writing))
            if not writing:
                limit_s = when_quiet() or limit_s
            wakeup = self._listen(sleep, limit_s)
            if writing and wakeup is Wakeup.DUE:
                wakeup = Wakeup.WRITER_OPEN
            return wakeup, parked

    def reset_nap(self) -> None:
        """Make the next sleep short if a writer is open. The caller has just found changes."""
        self._nap_s = FIRST_NAP_S

    def _look(self, last: str) -> bool:
        """Whether changes are waiting that the snapshot `last` does not show."""
        looked_at = time.monotonic()
        found = db.fetch_one(self._conn, "changes_waiting", {"last": last})
        self.backlog = Backlog(found["waiting"], looked_at - (found["oldest_s"] or 0.0))
        return bool(found["waiting"])

    def _next_nap_s(self, *, writing: bool) -> float:
        """Return the time limit for the next sleep; infinite if no writer is open."""
        if not writing:
            self.reset_nap()
            return float("inf")
        nap = self._nap_s
        self._nap_s = min(nap * 2, LONGEST_NAP_S)
        return nap

    def _listen(self, sleep: GoingOn, seconds: float) -> Wakeup:
        self.asleep = True
        try:
            return self._await_notification(sleep, seconds)
        finally:
            # While it slept, nothing waited: the next writer would have notified.
            self.backlog, self.asleep = Backlog(0, time.monotonic()), False

    def _await_notification(self, sleep: GoingOn, seconds: float) -> Wakeup:
        """Wait with poll() on the socket, because psycopg's own wait wakes ten times a second."""
        arrival = select.poll()
        arrival.register(self._conn.fileno(), select.POLLIN)
        end = time.monotonic() + seconds
        while sleep.going_on():
            if arrived := len(list(self._conn.notifies(timeout=0))):
                self.notifications += arrived
                self.reset_nap()
                return Wakeup.RANG
            left = end - time.monotonic()
            if left <= 0:
                return Wakeup.DUE
            # Wait in slices, because Python continues poll() after a signal handler.
            arrival.poll(min(left, SLICE_S) * 1000)
        return Wakeup.STOP


class Poll:
    """Replaces `Doorbell` where notifications do not arrive (`wake: poll`): it sleeps for a fixed time."""

    def __init__(self) -> None:
        self._read_again = False
        self.backlog = Backlog(0, 0.0)
        self.asleep = False
        self.notifications = 0

    def wait(
        self,
        _last: str,
        sleep: GoingOn,
        at_most_s: float,
        when_quiet: Callable[[], float | None] = lambda: None,
    ) -> tuple[Wakeup, bool]:
        """Return after `at_most_s` seconds, or when `sleep.going_on()` is false.

        Return at once if the last reading found changes, or `when_quiet` has just sent a canary. The second
        result is always false: see `Doorbell.wait`.
        """
        at_once, self._read_again = bool(when_quiet()) or self._read_again, False
        end = time.monotonic() + (0 if at_once else at_most_s)
        while sleep.going_on() and (left := end - time.monotonic()) > 0:
            time.sleep(min(left, SLICE_S))
        return Wakeup.DUE, False

    def reset_nap(self) -> None:
        """Make the next `wait` return at once. The caller has just found changes, and there may be more."""
        self._read_again = True
