"""Reads the log without gaps.

The algorithm is explained in docs/how-it-works.md; `doorbell` says when to read again.

The reader remembers the snapshot of its last read and takes what is visible now and was not visible
then (PgQ's pair of snapshots): a transaction that commits late is neither lost nor waited for.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from omnicdc import db
from omnicdc.errors import DatabaseUnavailable
from omnicdc.model import Change

if TYPE_CHECKING:
    from collections.abc import Iterator


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
        db.execute(conn, "begin_reading")
        if parked:
            db.execute(conn, "unpark")
        snapshot = db.start(conn, "snapshot")
        changes = db.start(conn, "changes", {"last": last, "most": most})
        db.execute(conn, "refuse_policies")
    found = changes.fetchall()
    return Reading(
        conn,
        db.single(snapshot)["snapshot"],
        tuple(_change(row) for row in found),
        min((row["waited_ms"] for row in found), default=None),
    )


def check_same_relations(found: str, before: str) -> None:
    """Raise DatabaseUnavailable if the relation identity `found` differs from `before`.

    No log says what other tables hold.

    A table that does not exist is reported by the query that reads it.
    """
    pairs = zip(found.split(), before.split(), strict=True)
    if any(now != then and "-" not in (now, then) for now, then in pairs):
        raise DatabaseUnavailable(
            "CMP's table, or the log, is another than before: dropped and created again, or restored",
            again=True,
        )


def _change(row: db.Row) -> Change:
    fields = None if row["fields"] is None else tuple(row["fields"])
    return Change(row["op"], fields, row["projects"], row["rows"])
