"""Runs the daemon's periodic tasks: it checks inputs and drift, sweeps, prunes, and writes the heartbeat."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import structlog

from omnicdc import db
from omnicdc.capture.fingerprint import look_at_capture
from omnicdc.capture.reader import check_same_relations
from omnicdc.daemon.timing import USUAL, Timing
from omnicdc.delivery.acknowledge import acknowledge
from omnicdc.delivery.retention import Retention
from omnicdc.files.publication import inspect

if TYPE_CHECKING:
    from collections.abc import Callable

    from omnicdc.daemon.canary import Canary
    from omnicdc.daemon.refresher import Refresher
    from omnicdc.state import State

log = structlog.get_logger()


class PeriodicTasks:
    """The periodic tasks of one session of the daemon. The session's loop calls `run` in each round."""

    def __init__(  # noqa: PLR0917 - the parts of a session
        self,
        conn: db.Connection,
        state: State,
        inputs: Refresher,
        canary: Canary,
        timing: Timing = USUAL,
        at_heartbeat: Callable[[db.Connection], None] = lambda _conn: None,
    ) -> None:
        self._conn = conn
        self._timing = timing
        self._canary = canary
        self._state = state
        self._inputs = inputs
        self._at_heartbeat = at_heartbeat
        self._retention = Retention(conn, state)
        now = time.monotonic()
        self._next_check = now
        self._next_capture_check = now
        self._next_heartbeat = now + timing.heartbeat_s
        self._next_sweep = now + state.config.sweep_s

    def run(self) -> bool:
        """Run the tasks that are due.

        Returns true if there were any. Then the state may contain work for the next cycle.
        """
        if self.due_in_s > 0:
            return False
        now = time.monotonic()
        if self._retention.due_in_s <= 0:
            self._retention.step()
        if now >= min(self._next_check, self._next_capture_check):
            self._next_capture_check = now + self._timing.capture_look_s
            self._check_capture()
        if now >= self._next_check:
            self._next_check = now + self._state.config.poll_s
            self._check_files_and_tables(now)
        return True

    @property
    def due_in_s(self) -> float:
        """Seconds until a task is due."""
        soonest = min(self._next_check, self._next_capture_check) - time.monotonic()
        return max(0.0, min(soonest, self._retention.due_in_s))

    def _check_files_and_tables(self, now: float) -> None:
        """Check inputs, files and tables; run the rarer tasks, sweep and heartbeat, if they are due."""
        self._state.manifest.retrying = True
        self._inputs.hand_over(self._state)
        inspect(self._state.files.values(), self._state.manifest)
        with db.translated("looking where we are"):
            found = db.fetch_one(self._conn, "relation_identity")["relation_identity"]
            check_same_relations(found, self._state.relation_identity)
        self._canary.retry()
        if now >= self._next_sweep:
            self._next_sweep = now + self._state.config.sweep_s
            self._state.sweep()
        if now >= self._next_heartbeat:
            self._next_heartbeat = now + self._timing.heartbeat_s
            self._heartbeat()

    def _check_capture(self) -> None:
        """If the capture has changed, schedule a full scan, because it may have missed changes.

        If the database no longer knows this consumer, acknowledge again.
        """
        state = self._state
        with db.translated("looking at the capture"):
            found = look_at_capture(self._conn, state.watch)
            known = db.fetch_one(self._conn, "known", {"name": state.config.consumer})["known"]
        if found != state.capture:
            state.replace_capture(found)
        if not known:
            acknowledge(self._conn, state)

    def _heartbeat(self) -> None:
        """Start a round of pruning, write the heartbeat, and request a canary."""
        self._state.capture.report()
        self._retention.begin()
        acknowledge(self._conn, self._state)
        self._canary.request()
        self._at_heartbeat(self._conn)
