"""Sleeps until the log may hold something new, and says what ended the sleep."""

from __future__ import annotations

import select
import time
from enum import Enum, auto
from typing import TYPE_CHECKING, Protocol

from omnicdc import db
from omnicdc.stop import SLICE_S

if TYPE_CHECKING:
    from collections.abc import Callable

FIRST_NAP_S = 0.001
LONGEST_NAP_S = 0.25
"""How long to sleep beside a writer that may not notify: doubling, from the first to the longest."""


class Wakeup(Enum):
    """Why a consumer reads the log now."""

    CHANGES = auto()
    """Something could be read already, so there was no sleep."""
    WRITER_OPEN = auto()
    """A transaction was open that need not notify; the sleep beside it was short."""
    RANG = auto()
    """A writer notified."""
    DUE = auto()
    """The time was up."""
    STOP = auto()
    """A signal, a reload, or new inputs."""

    @property
    def writers_busy(self) -> bool:
        """Whether there was no quiet moment before this reading.

        Without a quiet moment, only a notification could have ended the sleep.
        """
        return self in (Wakeup.CHANGES, Wakeup.WRITER_OPEN)


class GoingOn(Protocol):
    """Whatever can end a sleep."""

    def going_on(self) -> bool:
        """Whether to sleep on."""


class Doorbell:
    """Listens on one connection.

    Writers notify only while a consumer is parked. A writer that stayed silent looked before we parked, and
    still holds the writer lock, or has ended: so after parking, look for that lock, then read once more. If
    it is held, come back soon; a writer that begins later notifies.
    """

    def __init__(self, conn: db.Connection) -> None:
        self._conn = conn
        self._nap_s = FIRST_NAP_S
        conn.execute("listen omnicdc_change")

    def wait(
        self,
        last: str,
        sleep: GoingOn,
        at_most_s: float,
        when_quiet: Callable[[], float | None] = lambda: None,
    ) -> tuple[Wakeup, bool]:
        """Return when something waits already, at a notification, after `at_most_s`, or when told to.

        `when_quiet` is called just before sleeping if no writer is open and the next one will notify; it may
        set how long to listen. Returns also whether we are parked, which the next reading ends: until then
        every writer notifies.
        """
        with db.translated("waiting for the log"):
            parked = bool(db.fetch_one(self._conn, "park")["parked"])
            # If not, another session keeps our lock, or a writer is just looking: no writer will notify.
            writing = not parked or bool(db.fetch_one(self._conn, "writers")["writing"])
            if db.fetch_one(self._conn, "changes_waiting", {"last": last})["waiting"]:
                return Wakeup.CHANGES, parked
            seconds = min(at_most_s, self._nap(writing=writing))
            wakeup = self._listen(sleep, (None if writing else when_quiet()) or seconds)
            beside_writer = writing and wakeup is Wakeup.DUE
            return Wakeup.WRITER_OPEN if beside_writer else wakeup, parked

    def found(self) -> None:
        """Take note that changes were found: the next nap beside one of them is short again."""
        self._nap_s = FIRST_NAP_S

    def _nap(self, *, writing: bool) -> float:
        if not writing:
            self.found()
            return float("inf")
        nap = self._nap_s
        self._nap_s = min(nap * 2, LONGEST_NAP_S)
        return nap

    def _listen(self, sleep: GoingOn, seconds: float) -> Wakeup:
        """Wait on the connection's socket, for the driver's own way to wait wakes ten times a second."""
        arrival = select.poll()
        arrival.register(self._conn.fileno(), select.POLLIN)
        end = time.monotonic() + seconds
        while sleep.going_on():
            if list(self._conn.notifies(timeout=0)):
                self.found()
                return Wakeup.RANG
            left = end - time.monotonic()
            if left <= 0:
                return Wakeup.DUE
            # In slices: a signal's handler does not end a system call.
            arrival.poll(min(left, SLICE_S) * 1000)
        return Wakeup.STOP


class Poll:
    """Stands in for the doorbell where notifications do not arrive (`wake: poll`).

    Comes back when the time is up.
    """

    def __init__(self) -> None:
        self._again = False

    def wait(
        self,
        _last: str,
        sleep: GoingOn,
        at_most_s: float,
        when_quiet: Callable[[], float | None] = lambda: None,
    ) -> tuple[Wakeup, bool]:
        """As `Doorbell.wait`; at once if changes were found just now, or a canary is on its way."""
        at_once, self._again = bool(when_quiet()) or self._again, False
        end = time.monotonic() + (0 if at_once else at_most_s)
        while sleep.going_on() and (left := end - time.monotonic()) > 0:
            time.sleep(min(left, SLICE_S))
        return Wakeup.DUE, False

    def found(self) -> None:
        """Take note that changes were found: there may be more."""
        self._again = True
