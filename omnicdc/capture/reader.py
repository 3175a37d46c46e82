"""Reads the log without gaps, and sleeps until it rings. The algorithms are told in docs/design.md.

The reader remembers the snapshot of its last read and takes what is visible now and was not visible
then (PgQ's pair of snapshots): a transaction that commits late is neither lost nor waited for.
"""

from __future__ import annotations

import select
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from omnicdc import db
from omnicdc.errors import DatabaseUnavailable
from omnicdc.model import Change
from omnicdc.stop import SLICE_S

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

FIRST_NAP_S = 0.001
LONGEST_NAP_S = 0.25
"""How long to sleep beside a writer that may not have rung: doubling, from the first to the longest."""


@dataclass(frozen=True, slots=True)
class Reading:
    """One snapshot, which transactions it sees, and what it sees that the last one did not.

    The connection is in that snapshot, to scan CMP with.
    """

    conn: db.Connection
    snapshot: str
    changes: tuple[Change, ...]
    waited_ms: float | None
    """From the writing of the newest change to this reading; None without changes.

    Writing and not committing: PostgreSQL keeps no time of a commit. One upsert by itself is
    committed as soon as it is written.
    """


@contextmanager
def reading(
    conn: db.Connection, last: str, *, most: int | None = None, parked: bool = False
) -> Iterator[Reading]:
    """Read what is visible now and was not visible in `last`, and stay in this snapshot.

    A change of more than `most` projects means every project: they are not named. One REPEATABLE READ
    transaction, begun and read in one round trip, which ends a sleep if we are `parked`.
    """
    with db.translated("reading the log"):
        try:
            yield _read(conn, last, most, parked=parked)
        finally:
            if not conn.closed:
                conn.rollback()


def _read(conn: db.Connection, last: str, most: int | None, *, parked: bool) -> Reading:
    # A function of its own, so that what came from the server is not kept while CMP is scanned.
    with conn.pipeline():
        db.run(conn, "begin_reading")
        if parked:
            db.run(conn, "unpark")
        snapshot = db.start(conn, "snapshot")
        changes = db.start(conn, "changes", {"last": last, "most": most})
        db.run(conn, "refuse_policies")
    found = changes.fetchall()
    return Reading(
        conn,
        db.only(snapshot)["snapshot"],
        tuple(_change(row) for row in found),
        min((row["waited_ms"] for row in found), default=None),
    )


def insist(here: str, place: str) -> None:
    """Raise DatabaseUnavailable if `here` are other tables than those of `place`: no log tells what they hold.

    That one is not there at all is found out by whoever reads it.
    """
    pairs = zip(here.split(), place.split(), strict=True)
    if any(now != then and "-" not in (now, then) for now, then in pairs):
        raise DatabaseUnavailable(
            "CMP's table, or the log, is another than before: dropped and created again, or restored",
            again=True,
        )


def _change(row: db.Row) -> Change:
    fields = None if row["fields"] is None else tuple(row["fields"])
    return Change(row["op"], fields, row["projects"], row["rows"])


class GoingOn(Protocol):
    """Whoever can end a sleep."""

    def going_on(self) -> bool:
        """Whether to sleep on."""


class Doorbell:
    """Sleeps until the log may hold something new.

    Writers ring only while somebody is parked. A writer that stayed silent looked before we parked,
    and still holds W, or has ended: so after parking, look for W, then read once more. If someone
    held W, come back soon; whoever comes later rings.
    """

    def __init__(self, conn: db.Connection) -> None:
        self._conn = conn
        self._nap_s = FIRST_NAP_S
        self.slept = True
        """Whether there was nothing to read when we last came."""
        self.calm = True
        """Whether nobody wrote then, either, so that only the bell could wake us."""
        self.rung = False
        """Whether it was the bell that woke us."""
        conn.execute("listen omnicdc_change")

    def wait(
        self,
        last: str,
        wishes: GoingOn,
        at_most_s: float,
        when_calm: Callable[[], float | None] = lambda: None,
    ) -> bool:
        """Return when something waits already, when the bell rang, after `at_most_s`, or when told to.

        `when_calm` is called just before sleeping if nobody writes and whoever comes will ring; it may set how long
        to listen. Returns whether we are parked, which the next reading ends: until then every writer rings.
        """
        with db.translated("waiting for the log"):
            parked = bool(db.one(self._conn, "park")["parked"])
            # If not, somebody keeps our lock, or a writer is just looking: nobody will ring.
            writing = not parked or bool(db.one(self._conn, "writers")["writing"])
            self.slept = not db.one(self._conn, "changes_waiting", {"last": last})["waiting"]
            self.calm, self.rung = self.slept and not writing, False
            if self.slept:
                seconds = min(at_most_s, self._nap(writing=writing))
                self.rung = self._listen(wishes, (when_calm() if self.calm else None) or seconds)
            return parked

    def _nap(self, *, writing: bool) -> float:
        if not writing:
            self.found()
            return float("inf")
        nap = self._nap_s
        self._nap_s = min(nap * 2, LONGEST_NAP_S)
        return nap

    def _listen(self, wishes: GoingOn, seconds: float) -> bool:
        """Wait on the connection's socket, for the driver's own way to wait wakes ten times a second; whether it rang."""
        arrival = select.poll()
        arrival.register(self._conn.fileno(), select.POLLIN)
        end = time.monotonic() + seconds
        while wishes.going_on():
            if list(self._conn.notifies(timeout=0)):
                self.found()
                return True
            left = end - time.monotonic()
            if left <= 0:
                return False
            # In slices: a signal's handler does not end a system call.
            arrival.poll(min(left, SLICE_S) * 1000)
        return False

    def found(self) -> None:
        """Take it that writers are busy: the next nap beside one of them is short again."""
        self._nap_s = FIRST_NAP_S
