"""The journal of an `apply`: the id of each transaction, on the disk before its COMMIT is sent.

After a crash it tells which batches are in CMP: PostgreSQL knows the end of each transaction by its id.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from psycopg import errors as pg

from omnicdc import db
from omnicdc.errors import ConfigError, OmnicdcError
from omnicdc.filesystem.sync import sync

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


ENDING_S, PAUSE_S = 5.0, 0.1
"""How many seconds the session of a killed process may take to end, and the pause between two looks."""


@dataclass(frozen=True, slots=True)
class Batch:
    """One transaction of an `apply`, and the projects that it changes."""

    token: str
    uuids: tuple[str, ...]


class Journal:
    """The journal of one plan. The file is created at the first batch."""

    def __init__(self, path: Path, plan: object) -> None:
        """Read the journal, if there is one; write nothing. Raises ConfigError if it is another plan's."""
        self.path = path
        self._digest = _digest(plan)
        self.finished = False
        """True if an apply noted that everything was written."""
        self._torn = 0
        """The number of bytes of an incomplete last line, which a killed process left."""
        self.batches = self._read()

    def add(self, batch: Batch) -> None:
        """Write a batch, and sync it to the disk. Call this before COMMIT."""
        self._write({"token": batch.token, "uuids": list(batch.uuids)})

    def finish(self) -> None:
        """Note that every batch is committed: a later apply of the same plan is then refused."""
        self._write({"finished": True})

    def _write(self, line: dict[str, Any]) -> None:
        if self._torn:
            os.truncate(self.path, self.path.stat().st_size - self._torn)
            self._torn = 0
        fresh = not self.path.exists()
        lines: list[dict[str, Any]] = [{"plan": self._digest}, line] if fresh else [line]
        with self.path.open("a", encoding="utf-8") as file:
            file.write("".join(json.dumps(line) + "\n" for line in lines))
            file.flush()
            os.fsync(file.fileno())
        if fresh:
            sync(self.path.parent)

    def _read(self) -> list[Batch]:
        try:
            text = self.path.read_text("utf-8")
        except FileNotFoundError:
            return []
        # The last line of a killed process may be incomplete: its COMMIT was not sent.
        complete, _, torn = text.rpartition("\n")
        self._torn = len(torn.encode())
        lines = [self._line(line) for line in complete.splitlines()]
        if lines and lines[0].get("plan") != self._digest:
            raise ConfigError(
                f"{self.path} is the journal of another plan",
                hint="name another journal, or remove it if its plan is done",
            )
        self.finished = any("finished" in line for line in lines)
        return [Batch(line["token"], tuple(line["uuids"])) for line in lines[1:] if "token" in line]

    def _line(self, line: str) -> dict[str, Any]:
        try:
            found = json.loads(line)
        except ValueError:
            found = None
        if not isinstance(found, dict):
            raise ConfigError(f"{self.path} is no journal: {line!r:.100}", hint="name another journal")
        return found


def committed(conn: db.Connection, batches: Sequence[Batch]) -> set[str]:
    """Return the projects whose batches are committed.

    Raises ConfigError while one of the transactions is open, or if PostgreSQL no longer knows its end.
    """
    done: set[str] = set()
    for batch in batches:
        status = _status(conn, batch.token)
        if status == "in progress":
            raise ConfigError(
                f"transaction {batch.token} of an earlier apply is still open",
                hint="wait until its session has ended: `select pid from pg_stat_activity`",
            )
        if status is None:
            raise ConfigError(
                f"how transaction {batch.token} of an earlier apply ended is no longer known",
                hint="plan again: a plan names only what is not done yet",
            )
        if status == "committed":
            done |= {*batch.uuids}
    return done


def _status(conn: db.Connection, token: str) -> str | None:
    """Return how a transaction ended. While it is open, this waits for a moment: its session may just end."""
    deadline = time.monotonic() + ENDING_S
    while True:
        try:
            with db.translated("asking how a transaction ended"):
                found = db.fetch_one(conn, "transaction_status", {"token": token})["status"]
        except OmnicdcError as exc:
            if isinstance(exc.__cause__, pg.InvalidParameterValue):
                raise ConfigError(
                    f"transaction {token} is not one of this cluster", hint="name another journal"
                ) from exc
            raise
        if found != "in progress" or time.monotonic() > deadline:
            return None if found is None else str(found)
        time.sleep(PAUSE_S)


def _digest(plan: object) -> str:
    return hashlib.sha256(json.dumps(plan, sort_keys=True, default=str).encode()).hexdigest()
