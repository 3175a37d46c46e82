"""Names the sessions that hold a lock which keeps even readers from tables."""

from __future__ import annotations

from typing import TYPE_CHECKING

from omnicdc import db
from omnicdc.formats.times import to_seconds
from omnicdc.model import Fault

if TYPE_CHECKING:
    from collections.abc import Iterable


def lock_holders(conn: db.Connection, tables: Iterable[str]) -> list[db.Row]:
    """Return these sessions, the oldest first. `tables` are full names; omnicdc's own tables count too."""
    with db.translated("looking for locks"), db.confined(conn):
        return db.fetch_all(conn, "table_locks", {"tables": [*tables]})


def lock_fault(row: db.Row) -> Fault:
    """Return who holds a lock on what, and how it is released."""
    since = f", since {to_seconds(row['since'])}" if row["since"] else ""
    who = ", ".join(filter(None, [row["role"], row["program"], row["state"]]))
    return Fault(
        f"another session holds a lock on {row['table']} (pid {row['pid']}{since}; {who})",
        f"end it in its program, or `select pg_terminate_backend({row['pid']})`",
    )
