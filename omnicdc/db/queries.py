"""Runs statements of queries.sql by their names, and reads CMP in one snapshot."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import psycopg

from omnicdc.db import sql
from omnicdc.db.connection import Row
from omnicdc.db.errors import translated
from omnicdc.errors import OmnicdcError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from psycopg.abc import Params

    from omnicdc.db.connection import Connection

Cursor = psycopg.Cursor[Row]


def fetch_one(conn: Connection, name: str, params: Params | None = None) -> Row:
    """Run a query of queries.sql that gives exactly one row."""
    return single(start(conn, name, params))


def single(cursor: Cursor) -> Row:
    """Return the one row of a query."""
    row = cursor.fetchone()
    if row is None:
        raise OmnicdcError("a query that always gives a row gave none")
    return row


def start(conn: Connection, name: str, params: Params | None = None) -> Cursor:
    """Send a query of queries.sql; in a pipeline, its rows come when that ends.

    Where nothing is pinned for the session, it gets a transaction of its own, in which our settings hold.
    """
    if conn.unpinned:
        with conn.transaction():
            return conn.execute(sql.query(name), params)
    return conn.execute(sql.query(name), params)


def fetch_optional(conn: Connection, name: str, params: Params | None = None) -> Row | None:
    """Run a query of queries.sql that gives one row or none."""
    return start(conn, name, params).fetchone()


def fetch_all(conn: Connection, name: str, params: Params | None = None) -> list[Row]:
    """Run a query of queries.sql."""
    return start(conn, name, params).fetchall()


def execute(conn: Connection, name: str, params: Mapping[str, Any] | None = None) -> None:
    """Run a statement of queries.sql for its effect."""
    start(conn, name, params)


@contextmanager
def one_snapshot(conn: Connection) -> Iterator[None]:
    """Have all that is read of CMP inside be read in one snapshot, which is taken now.

    A row policy is an error.
    """
    with translated("reading CMP"):
        conn.execute(sql.query("begin_reading"))
        try:
            with conn.begun():
                execute(conn, "confine", {"local": True})  # PostgreSQL takes the snapshot at the first query
                execute(conn, "refuse_policies")
                yield
        finally:
            if not conn.closed:
                conn.rollback()


@contextmanager
def confined(conn: Connection) -> Iterator[None]:
    """Have what is run inside find nothing of other people's by a bare name.

    One transaction that only reads, in a pipeline.

    CMP's table is named in full there: see `rows.full_name_of`.
    """
    # The server reports a changed DateStyle at the end of a round trip, and the driver must know it before it
    # reads dates.
    first, second = (conn.transaction, conn.pipeline) if conn.unpinned else (conn.pipeline, conn.transaction)
    with first(), second():
        execute(conn, "confine", {"local": True})
        yield
