"""P1: beside busy writers, a consumer that sleeps misses nothing and reads nothing twice.

The writers are of every kind, and one stays open.
"""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from typing import TYPE_CHECKING
from uuid import uuid4

import psycopg
from psycopg import IsolationLevel

from omnicdc import db
from omnicdc.capture.doorbell import Doorbell
from omnicdc.capture.reader import reading
from omnicdc.daemon.signals import SignalFlags

if TYPE_CHECKING:
    from support.cmp import Cmp

WRITERS = 6
TRANSACTIONS = 40
NEVER_S = 600.0
"""The backstop is far beyond the deadline: whatever is read in time was rung for."""
DEADLINE_S = 120.0
SLEEPS = 20


class Writer(threading.Thread):
    """Commits projects at random delays; some transactions are undone, in part or as a whole."""

    def __init__(self, cmp: Cmp, number: int, *, open_s: float) -> None:
        super().__init__(daemon=True)
        self._cmp = cmp
        self._random = random.Random(number)
        self._level = list(IsolationLevel)[number % 4]
        self._open_s = open_s
        self.committed: list[str] = []
        self.failed: BaseException | None = None

    def run(self) -> None:
        try:
            with self._cmp.connect() as conn:
                conn.isolation_level = self._level
                for _ in range(TRANSACTIONS if not self._open_s else 4):
                    self._transaction(conn)
        except BaseException as exc:  # noqa: BLE001 - handed to the test
            self.failed = exc

    def _transaction(self, conn: psycopg.Connection[tuple[object, ...]]) -> None:
        time.sleep(self._random.random() * 0.01)  # so that transactions overlap
        projects: list[str] = []
        undo = self._random.random() < 0.1
        try:
            with conn.transaction(force_rollback=undo):
                projects.append(self._cmp.upsert("kept", conn=conn))
                with conn.transaction(force_rollback=True):
                    self._cmp.upsert("undone", conn=conn)
                time.sleep(self._open_s or self._random.random() * 0.02)  # as above
                projects.append(self._cmp.upsert("kept", conn=conn))
        except psycopg.errors.SerializationFailure:
            return
        if not undo:
            self.committed += projects


class Last(threading.Thread):
    """Commits one project more once all writers have ended and the reader has slept often.

    Whoever has read it has had time to read the others.
    """

    def __init__(self, cmp: Cmp, writers: list[Writer]) -> None:
        super().__init__(daemon=True)
        self._cmp = cmp
        self._writers = writers
        self.project = str(uuid4())
        self.slept = threading.Event()
        """Set by the reader."""
        self.meanwhile: list[str] = []

    def run(self) -> None:
        for writer in self._writers:
            writer.start()
        for writer in self._writers:
            writer.join()
        with self._cmp.connect() as conn:
            while not self.slept.wait(0.02):
                self.meanwhile.append(self._cmp.upsert("until it has slept", conn=conn))
            self._cmp.upsert("the end", id=self.project, conn=conn)


def consume(conn: db.Connection, last: Last) -> tuple[Counter[str | None], int]:
    """Read and sleep until the last project has come.

    Returns how often each was read, and how often it slept.
    """
    found: Counter[str | None] = Counter()
    bell, sleeps, parked = Doorbell(conn), 0, False
    snapshot = str(db.fetch_one(conn, "snapshot")["snapshot"])
    last.start()
    deadline = time.monotonic() + DEADLINE_S
    while last.project not in found and time.monotonic() < deadline:
        with reading(conn, snapshot, parked=parked) as current:
            changes, snapshot = current.changes, current.snapshot
        parked = False
        found.update(project for change in changes for project in change.projects or (None,))
        if not changes:
            _, parked = bell.wait(snapshot, SignalFlags(), NEVER_S)
            sleeps += 1
            if sleeps > SLEEPS:
                last.slept.set()
    last.slept.set()
    return found, sleeps


def test_nothing_is_lost_and_nothing_comes_twice(cmp: Cmp) -> None:
    writers = [Writer(cmp, number, open_s=0.0) for number in range(WRITERS)]
    writers.append(Writer(cmp, WRITERS, open_s=0.4))
    last = Last(cmp, writers)
    started = time.monotonic()
    with db.connect(cmp.dsn) as conn:
        found, sleeps = consume(conn, last)

    written = (
        [project for writer in writers for project in writer.committed] + last.meanwhile + [last.project]
    )
    assert [writer.failed for writer in writers if writer.failed] == []
    assert found == Counter(written)
    assert len(written) > 200
    assert time.monotonic() - started < NEVER_S, "slept through a commit until the backstop"
    assert sleeps > SLEEPS
