"""P1: while many writers commit, a consumer that sleeps misses no change and reads none twice.

The writers use every isolation level. One of them keeps its transactions open for long.
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
"""A sleep's time limit, far beyond the deadline: a change that is read in time was notified."""
DEADLINE_S = 120.0
SLEEPS = 20


class Writer(threading.Thread):
    """Commits projects at random intervals. Some transactions are rolled back, in part or as a whole."""

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
        except BaseException as exc:  # noqa: BLE001 - the test reports it
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


class FinalWriter(threading.Thread):
    """Commits a final project after all writers have ended and the reader has slept often.

    A reader that has read it had time to read the others.
    """

    def __init__(self, cmp: Cmp, writers: list[Writer]) -> None:
        super().__init__(daemon=True)
        self._cmp = cmp
        self._writers = writers
        self.project = str(uuid4())
        self.slept = threading.Event()
        """Set by the reader after enough sleeps."""
        self.while_awake: list[str] = []

    def run(self) -> None:
        for writer in self._writers:
            writer.start()
        for writer in self._writers:
            writer.join()
        with self._cmp.connect() as conn:
            while not self.slept.wait(0.02):
                self.while_awake.append(self._cmp.upsert("until it has slept", conn=conn))
            self._cmp.upsert("the end", id=self.project, conn=conn)


def consume(conn: db.Connection, final: FinalWriter) -> tuple[Counter[str | None], int]:
    """Read and sleep until the final project is read.

    Returns how often each project was read, and the number of sleeps.
    """
    found: Counter[str | None] = Counter()
    doorbell, sleeps, parked = Doorbell(conn), 0, False
    snapshot = str(db.fetch_one(conn, "snapshot")["snapshot"])
    final.start()
    deadline = time.monotonic() + DEADLINE_S
    while final.project not in found and time.monotonic() < deadline:
        with reading(conn, snapshot, parked=parked) as current:
            changes, snapshot = current.changes, current.snapshot
        parked = False
        found.update(project for change in changes for project in change.projects or (None,))
        if not changes:
            _, parked = doorbell.wait(snapshot, SignalFlags(), NEVER_S)
            sleeps += 1
            if sleeps > SLEEPS:
                final.slept.set()
    final.slept.set()
    return found, sleeps


def test_every_change_is_read_exactly_once(cmp: Cmp) -> None:
    writers = [Writer(cmp, number, open_s=0.0) for number in range(WRITERS)]
    writers.append(Writer(cmp, WRITERS, open_s=0.4))
    final = FinalWriter(cmp, writers)
    started = time.monotonic()
    with db.connect(cmp.dsn) as conn:
        found, sleeps = consume(conn, final)

    written = (
        [project for writer in writers for project in writer.committed] + final.while_awake + [final.project]
    )
    assert [writer.failed for writer in writers if writer.failed] == []
    assert found == Counter(written)
    assert len(written) > 200
    assert time.monotonic() - started < NEVER_S, "a sleep missed a commit and ended at its time limit"
    assert sleeps > SLEEPS
