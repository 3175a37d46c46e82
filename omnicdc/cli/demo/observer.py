"""Writes to CMP as Genesis does, and reports the effects: rows of the log, the verdict, and the files."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from omnicdc import db, verify
from omnicdc.config import settings
from omnicdc.delivery.wait import wait
from omnicdc.files.drift import signature
from omnicdc.registries.scanners import scanners
from omnicdc.verify.difference import unified, versions

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import LiteralString

    from omnicdc.cli.demo.sandbox import Sandbox
    from omnicdc.db import Connection
    from omnicdc.delivery.verdict import Verdict
    from omnicdc.stop import Stop

    File = tuple[object, bytes]
    """A registry's file at one moment: its size, time and inode, and its content."""

PATIENCE_S = 10.0
LOGGED: LiteralString = "select op from omnicdc.change where xid = %(token)s::xid8"


@dataclass(frozen=True, slots=True)
class Transaction:
    """The effects of one transaction of Genesis or of the operator."""

    token: str
    logged: tuple[str, ...]
    """The operations in the rows that it added to omnicdc's log."""
    verdict: Verdict
    milliseconds: float
    """From the end of the transaction to the verdict, measured by the writer."""
    changes: Mapping[str, tuple[str, ...]]
    """Registry to difference, for each registry whose file was replaced or written."""

    def __str__(self) -> str:
        """Return it as one line."""
        verdict = f"{self.verdict.status} after {self.milliseconds:.1f} ms ({self.verdict.detail})"
        log = f"{len(self.logged)} {self.logged[0]}" if self.logged else "nothing"
        return f"verdict: {verdict}; log: {log}; rewritten: {', '.join(self.changes) or 'no file'}"

    def as_dict(self) -> dict[str, Any]:
        """Return it for JSON."""
        return {
            "token": self.token,
            "log": list(self.logged),
            "rewritten": list(self.changes),
            "verdict": self.verdict.status,
            "generation": self.verdict.generation,
            "milliseconds": round(self.milliseconds, 2),
        }


class Observer:
    """Has two connections: one for Genesis, which writes, and one for the operator's waits and queries."""

    def __init__(self, box: Sandbox, stop: Stop, writer: Connection, operator: Connection) -> None:
        self.box, self.stop, self.writer, self.operator = box, stop, writer, operator
        self.config = settings.load({}, {"HOME": str(box.directory), **box.settings()}, uid=os.getuid())

    def files(self) -> dict[str, File]:
        """Return the registries' files as they are now, by the scanner's name."""
        paths = {name: self.box.root / scanner.path for name, scanner in scanners().items()}
        return {name: (signature(path), path.read_bytes()) for name, path in paths.items() if path.exists()}

    def transact(
        self, work: Callable[[Connection], object], conn: Connection | None = None, *, roll_back: bool = False
    ) -> Transaction:
        """Do some work in one transaction, on Genesis's connection unless `conn` is given, and follow it."""
        conn, before = conn or self.writer, self.files()
        with conn.transaction(force_rollback=roll_back):
            token = token_of(conn)
            work(conn)
        return self.follow(token, before)

    def follow(self, token: str, before: Mapping[str, File]) -> Transaction:
        """Wait for a transaction that has just ended, and compare the files with those from `before`."""
        ended = time.perf_counter()
        verdict = wait(self.operator, token, timeout_s=PATIENCE_S, stop=self.stop)
        milliseconds = (time.perf_counter() - ended) * 1000
        check(self.stop)
        changes = {
            scanners()[name].registry: difference(name, before[name][1], file[1])
            for name, file in self.files().items()
            if file != before[name]
        }
        logged = tuple(row["op"] for row in self.operator.execute(LOGGED, {"token": token}))
        return Transaction(token, logged, verdict, milliseconds, changes)

    def verify_all(self) -> bool:
        """Return True if `omnicdc verify --all` finds no difference."""
        return verify.verify_all(self.operator, self.config, *verify.known_inputs(self.config)).verified


def check(stop: Stop) -> None:
    """Raise KeyboardInterrupt if a stop was requested, because the signal handler only sets a flag."""
    if stop.requested:
        raise KeyboardInterrupt


def token_of(conn: Connection) -> str:
    """Return the token of a connection's present transaction."""
    return str(db.fetch_one(conn, "token")["token"])


def difference(scanner: str, before: bytes, after: bytes) -> tuple[str, ...]:
    """Return the difference between two versions of a registry, entry by entry."""
    found = scanners()[scanner]
    return tuple(unified(versions(found.registry, found.layout, before, after), titles=("before", "after")))
