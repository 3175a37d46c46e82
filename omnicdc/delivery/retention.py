"""Prunes the log and the history, in batches so small that no change waits for one noticeably.

`prune.sql` decides what may go; here is how much at once, when, and what is reported if it fails.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import psycopg
import structlog

from omnicdc import db
from omnicdc.log.events import Repeating
from omnicdc.model import Fault

if TYPE_CHECKING:
    from omnicdc.state import State

log = structlog.get_logger()

FEWEST, FIRST, MOST = 50, 500, 5000
"""Rows in a batch."""

BATCH_S = 0.02
"""How long a batch should take."""


def next_size(size: int, took_s: float | None) -> int:
    """Return how many rows the next batch looks at, after one of `size` took so long; None.

    It was canceled.
    """
    if took_s is None or took_s > BATCH_S * 2:
        return max(FEWEST, size // 2)
    return min(MOST, size * 2) if took_s < BATCH_S / 2 else size


class Retention:
    """One round after another; between two batches the daemon reads the log, and publishes."""

    def __init__(self, conn: db.Connection, state: State) -> None:
        self._conn = conn
        self._state = state
        self._size = FIRST
        self._deleted = 0
        self._reached = "0"
        self._next: float | None = None
        self._failing = Repeating("prune_failed", time.monotonic)

    def begin(self) -> None:
        """Begin a round, unless one goes on."""
        self._next = self._next or time.monotonic()

    @property
    def due_in_s(self) -> float:
        """Seconds until the next batch; infinite between two rounds."""
        return float("inf") if self._next is None else max(0.0, self._next - time.monotonic())

    def finish(self, within_s: float) -> None:
        """Do a whole round, or as much of it as can be done in this time."""
        self.begin()
        end = time.monotonic() + within_s
        while self._next is not None and time.monotonic() < end:
            self.step()

    def step(self) -> None:
        """Delete one batch, in one short transaction.

        What fails is reported and tried again in the next round; raises DatabaseUnavailable only if the
        connection is lost.
        """
        began = time.monotonic()
        try:
            more, took_s = self._batch(), time.monotonic() - began
        except psycopg.Error as exc:
            if self._conn.closed:
                with db.translated("pruning the log"):
                    raise
            more, took_s = self._canceled(exc), None
        else:
            self._succeeded()
        self._size = next_size(self._size, took_s)
        # As long a rest as the batch took: whoever writes or publishes gets at least half of the time.
        self._next = time.monotonic() + max(BATCH_S / 2, time.monotonic() - began) if more else None
        if not more and self._deleted:
            log.info("pruned", changes=self._deleted)
            self._deleted = 0

    def _batch(self) -> bool:
        config = self._state.config
        asked = {
            "history": config.retention,
            "expiry": config.consumer_expiry,
            "most": self._size,
            "since": self._reached,
        }
        with self._conn.transaction():
            db.execute(self._conn, "limit_batch")
            found = db.fetch_one(self._conn, "prune", asked)
        self._deleted += found["changes"]
        if found["forgotten"]:
            log.info("consumer_expired", consumer=found["forgotten"])
        self._reached = found["reached"] if found["more"] else "0"
        return bool(found["more"])

    def _canceled(self, exc: psycopg.Error) -> bool:
        """Report a failure, and return whether a smaller batch may succeed."""
        passing = isinstance(exc, psycopg.errors.QueryCanceled | psycopg.errors.LockNotAvailable)
        if passing and self._size > FEWEST:
            return True
        sentence = str(exc).splitlines()[0]
        fault = Fault(
            f"the log cannot be pruned, and grows: {sentence}",
            "see what locks omnicdc.change: `select * from pg_locks where relation = "
            "'omnicdc.change'::regclass`"
            if passing
            else "a publication carries omnicdc.change with a column list or a row filter: `alter "
            "publication … set table` without them"
            if isinstance(exc, psycopg.errors.InvalidColumnReference)
            else "run `omnicdc install`",
        )
        self._failing.failed(error=fault.reason, hint=fault.hint)
        if self._state.pruning != fault:
            self._state.pruning, self._state.pruning_since = fault, datetime.now(UTC)
        return False

    def _succeeded(self) -> None:
        self._failing.recovered()
        self._state.pruning = self._state.pruning_since = None
