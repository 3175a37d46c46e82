"""Writes to CMP as Genesis does, and reports what can be seen of it from outside: nothing is taken on trust.

The log is read in the database, the daemon's deeds in its own log, the files on the disk; the clock is the writer's.
"""

from __future__ import annotations

import os
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from omnicdc import db
from omnicdc.delivery import wait as waits
from omnicdc.demo import cast
from omnicdc.demo.diff import unified
from omnicdc.registries.scanners import scanners

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path
    from typing import LiteralString

    from omnicdc.db import Connection
    from omnicdc.delivery.verdict import Verdict
    from omnicdc.demo.daemon import Daemon, Event
    from omnicdc.demo.house import House
    from omnicdc.stop import Stop

PATIENCE_S = 10.0
TOLD: LiteralString = """
select count(*) as rows, c.op, c.fields
  from omnicdc.change c where c.xid = %(token)s::xid8
 group by c.op, c.fields order by c.op, c.fields
"""


@dataclass(frozen=True, slots=True)
class File:
    """A registry's file at one moment; another inode or time means that it was replaced or written to."""

    inode: int
    mtime_ns: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Noted:
    """What the log holds of one transaction, rows of a kind together."""

    rows: int
    op: str
    fields: tuple[str, ...] | None


@dataclass(frozen=True, slots=True)
class Seen:
    """What became of one transaction."""

    token: str
    noted: tuple[Noted, ...]
    verdict: Verdict
    milliseconds: float
    """From COMMIT (or ROLLBACK) returning to the verdict, by the writer's clock."""
    cycle: Event | None
    """The daemon's log line of the generation that published it."""
    rewritten: tuple[str, ...]
    diffs: Mapping[str, tuple[str, ...]]

    @property
    def scanners(self) -> tuple[str, ...]:
        """The scanners that ran, by the daemon's log."""
        return tuple(self.cycle["scanners"]) if self.cycle else ()


class Witness:
    """Two connections of Genesis's: one writes, the other waits, as another thread of it would."""

    def __init__(
        self, home: House, daemon: Daemon, writer: Connection, asker: Connection, stop: Stop
    ) -> None:
        self.writer = writer
        self._daemon = daemon
        self._asker = asker
        self._stop = stop
        self.paths: Mapping[str, Path] = {
            scanner.registry: home.root / scanner.path for scanner in scanners().values()
        }

    def look(self) -> dict[str, File]:
        """Return every registry's file as it is now."""
        return {name: _file(path) for name, path in self.paths.items()}

    def transact(self, work: Callable[[Connection], object]) -> Seen:
        """Do some work in one transaction, and see what becomes of it."""
        before = self.look()
        with self.writer.transaction():
            token = self.token(self.writer)
            work(self.writer)
        return self.follow(token, before)

    def give_up(self, work: Callable[[Connection], object]) -> Seen:
        """Do some work in one transaction, roll it back, and see that nothing becomes of it."""
        before = self.look()
        with self.writer.transaction(force_rollback=True):
            token = self.token(self.writer)
            work(self.writer)
        return self.follow(token, before)

    def token(self, conn: Connection) -> str:
        """Return the transaction that a connection is in."""
        return str(db.one(conn, "token")["token"])

    def time(self, work: Callable[[Connection], object]) -> float:
        """Return the milliseconds from COMMIT to the verdict, and look at nothing else."""
        with self.writer.transaction():
            token = self.token(self.writer)
            work(self.writer)
        started = time.perf_counter()
        self._wait(token)
        return (time.perf_counter() - started) * 1000

    def follow(self, token: str, before: Mapping[str, File]) -> Seen:
        """Wait for a transaction that has just ended, and compare the files with those from `before`."""
        committed = time.perf_counter()
        verdict = self._wait(token)
        milliseconds = (time.perf_counter() - committed) * 1000
        after = self.look()
        rewritten = tuple(name for name in after if after[name] != before[name])
        return Seen(
            token, self._noted(token), verdict, milliseconds, self._cycle(verdict), rewritten,
            {name: unified(_lines(before[name]), _lines(after[name])) for name in rewritten},
        )  # fmt: skip

    def _wait(self, token: str) -> Verdict:
        verdict = waits.wait(self._asker, token, timeout_s=PATIENCE_S, stop=self._stop)
        if self._stop.requested:
            raise KeyboardInterrupt
        return verdict

    def _noted(self, token: str) -> tuple[Noted, ...]:
        with db.translated("reading the log"):
            rows = self._asker.execute(TOLD, {"token": token}).fetchall()
        return tuple(
            Noted(row["rows"], row["op"], None if row["fields"] is None else tuple(row["fields"]))
            for row in rows
        )

    def _cycle(self, verdict: Verdict) -> Event | None:
        # The daemon answers first and logs then, so its line may come an instant later.
        if verdict.status != "published" or not verdict.registries:
            return None
        return self._daemon.wait_for("published", self._stop, generation=verdict.generation)


@contextmanager
def witness(home: House, daemon: Daemon, stop: Stop) -> Iterator[Witness]:
    """Connect as Genesis."""
    dsn = home.dsn(cast.WRITER)
    with db.connect(dsn) as writer, db.connect(dsn) as asker:
        yield Witness(home, daemon, writer, asker, stop)


def upsert(project: cast.Project) -> Callable[[Connection], object]:
    """Return the work of upserting a project."""
    return lambda conn: conn.execute(cast.UPSERT, project.values())


def _file(path: Path) -> File:
    # By one descriptor: the file behind the name may be another one a moment later.
    with path.open("rb") as file:
        found = os.fstat(file.fileno())
        return File(found.st_ino, found.st_mtime_ns, file.read())


def _lines(file: File) -> list[str]:
    # Not splitlines(): a registry may hold U+2028 and the like as text.
    return file.data.decode().split("\n")
