"""Reads the log without gaps. The module `doorbell` says when to read again.

The reader remembers the snapshot of its last reading. It reads the changes that are visible now and were not
visible in that snapshot (PgQ uses the same pair of snapshots). So a transaction that commits late is not
lost, and no other change waits for it. docs/how-it-works.md explains the algorithm.
"""

from __future__ import annotations

import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from omnicdc import db
from omnicdc.errors import DatabaseUnavailable
from omnicdc.model import Change, Trace

if TYPE_CHECKING:
    from collections.abc import Iterator


MOST_TRACES = 100
"""The most traces of one reading that are followed."""


@dataclass(frozen=True, slots=True)
class Extras:
    """What a reading reads of the log besides the changes. Each costs the server a query."""

    transactions: bool = False
    """How many transactions the changes belong to, for the metrics."""
    traces: bool = False
    """The trace contexts that writers set."""


NO_EXTRAS = Extras()


@dataclass(frozen=True, slots=True)
class Reading:
    """One reading of the log: a snapshot, and the changes that are visible in it but not in the last one."""

    conn: db.Connection
    """A connection in a transaction with this snapshot. CMP can be scanned with it."""
    snapshot: str
    """PostgreSQL's `pg_snapshot` as text: it says which transactions are visible."""
    changes: tuple[Change, ...]
    transactions: int
    """How many transactions these changes belong to; 0 if that was not asked for."""
    traces: tuple[Trace, ...]
    """The trace contexts that writers set; none if that was not asked for."""
    waited_ms: float | None
    """Milliseconds from the write of the newest change to this reading; None without changes.

    The time of the write is used, because PostgreSQL does not keep the time of the commit. A single upsert is
    committed as soon as it is written.
    """


@contextmanager
def reading(
    conn: db.Connection,
    last: str,
    *,
    most: int | None = None,
    parked: bool = False,
    extras: Extras = NO_EXTRAS,
) -> Iterator[Reading]:
    """Read the changes that are visible now but were not visible in the snapshot `last`.

    The `with` block runs in the same REPEATABLE READ transaction, so it sees the same snapshot. Beginning the
    transaction and reading take one round trip. If changes of one kind concern more than `most` projects,
    these projects are not listed, and the changes count as changes of every project. With `parked`, this also
    ends our parking: writers no longer notify. `extras` says what else to read.

    Raises DatabaseUnavailable and SchemaMismatch.
    """
    with db.translated("reading the log"):
        try:
            yield _read(conn, last, most, extras, parked=parked)
        finally:
            if not conn.closed:
                conn.rollback()


def limit_reading_idle(conn: db.Connection, seconds: float) -> None:
    """Let the server end this session if it does nothing for so long within a transaction."""
    db.execute(conn, "limit_reading_idle", {"milliseconds": round(seconds * 1000)})


def _read(conn: db.Connection, last: str, most: int | None, extras: Extras, *, parked: bool) -> Reading:
    # A separate function, so that the server's results are freed before CMP is scanned.
    with conn.pipeline():
        db.execute(conn, "begin_reading")
        if parked:
            db.execute(conn, "unpark")
        snapshot = db.start(conn, "snapshot")
        changes = db.start(conn, "changes", {"last": last, "most": most})
        counted = db.start(conn, "transactions", {"last": last}) if extras.transactions else None
        traced = db.start(conn, "traces", {"last": last, "most": MOST_TRACES}) if extras.traces else None
        db.execute(conn, "refuse_policies")
    found, now = changes.fetchall(), time.monotonic()
    return Reading(
        conn,
        db.single(snapshot)["snapshot"],
        tuple(_change(row) for row in found),
        db.single(counted)["transactions"] if counted else 0,
        tuple(Trace(it["traceparent"], now - it["age_s"]) for it in traced) if traced else (),
        min((row["waited_ms"] for row in found), default=None),
    )


def check_same_relations(found: str, before: str) -> None:
    """Raise DatabaseUnavailable if CMP's table or the log is not the same relation as before.

    `found` and `before` are relation identities. The log says nothing about the content of a new table, so
    everything must be scanned again. A table that does not exist is not an error here: the query that reads
    it reports the error.
    """
    now, then = _parts(found), _parts(before)
    if now.keys() != then.keys():
        raise DatabaseUnavailable("other tables are captured than before", again=True)
    if any(now[name] != then[name] and "-" not in (now[name], then[name]) for name in now):
        raise DatabaseUnavailable(
            "CMP's table, or the log, is another than before: dropped and created again, or restored",
            again=True,
        )


def _parts(identity: str) -> dict[str, str]:
    """Return the parts of a relation identity by name; a source's name is its number."""
    log, sources, started = identity.split(" ")
    tables = (source.partition(":")[::2] for source in sources.split(",") if source)
    return {"log": log, "started": started, **dict(tables)}


def _change(row: db.Row) -> Change:
    fields = None if row["fields"] is None else tuple(row["fields"])
    return Change(row["op"], fields, row["projects"], row["rows"], row["source"])
