"""Prunes the log and the history, in batches that are so small that they delay no change noticeably.

`prune.sql` decides which rows to delete. This module decides how many rows at once and when, and reports
failures.
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
"""The smallest, the first and the largest size of a batch, in rows."""

BATCH_S = 0.02
"""How many seconds a batch should take."""


def next_size(size: int, took_s: float | None) -> int:
    """Return the size of the next batch, after a batch of `size` rows took `took_s` seconds.

    `took_s` is None if the last batch was canceled.
    """
    if took_s is None or took_s > BATCH_S * 2:
        return max(FEWEST, size // 2)
    return min(MOST, size * 2) if took_s < BATCH_S / 2 else size


class Retention:
    """Prunes in rounds. A round consists of batches; between two batches the daemon can publish."""

    def __init__(self, conn: db.Connection, state: State) -> None:
        self._conn = conn
        self._state = state
        self._size = FIRST
        self._deleted = 0
        self._reached = "0"
        self._next: float | None = None
        self._failing = Repeating("prune_failed", time.monotonic)

    def begin(self) -> None:
        """Begin a round, unless one is in progress."""
        self._next = self._next or time.monotonic()

    @property
    def due_in_s(self) -> float:
        """Seconds until the next batch; infinite between two rounds."""
        return float("inf") if self._next is None else max(0.0, self._next - time.monotonic())

    def finish(self, within_s: float) -> None:
        """Do a whole round, or as many of its batches as begin within `within_s` seconds."""
        self.begin()
        end = time.monotonic() + within_s
        while self._next is not None and time.monotonic() < end:
            self.step()

    def step(self) -> None:
        """Delete one batch, in one short transaction.

        A failure is logged and stored in the state, and the next round tries again. Raises
        DatabaseUnavailable only if the connection is lost.
        """
        began = time.monotonic()
        try:
            more, took_s = self._batch(), time.monotonic() - began
        except psycopg.Error as exc:
            if self._conn.closed:
                with db.translated("pruning the log"):
                    raise
            more, took_s = self._handle_failure(exc), None
        else:
            self._succeeded()
        self._size = next_size(self._size, took_s)
        # The pause is as long as the batch took. So writers and the daemon get at least half of the time.
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

    def _handle_failure(self, exc: psycopg.Error) -> bool:
        """Return true if a smaller batch may succeed; otherwise report the failure and return false."""
        temporary = isinstance(exc, psycopg.errors.QueryCanceled | psycopg.errors.LockNotAvailable)
        if temporary and self._size > FEWEST:
            return True
        sentence = str(exc).splitlines()[0]
        fault = Fault(
            f"the log cannot be pruned, and grows: {sentence}",
            "see what locks omnicdc.change: `select * from pg_locks where relation = "
            "'omnicdc.change'::regclass`"
            if temporary
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
