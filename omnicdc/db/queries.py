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
    """Run a query of queries.sql that gives exactly one row, and return this row."""
    return single(start(conn, name, params))


def single(cursor: Cursor) -> Row:
    """Return the one row of a query."""
    row = cursor.fetchone()
    if row is None:
        raise OmnicdcError("a query that always gives a row gave none")
    return row


def start(conn: Connection, name: str, params: Params | None = None) -> Cursor:
    """Send a query of queries.sql. In a pipeline, its rows are there only after the pipeline ends.

    If our settings are not pinned for the session, the query runs in its own transaction with our settings.
    """
    if conn.unpinned:
        with conn.transaction():
            return conn.execute(sql.query(name), params)
    return conn.execute(sql.query(name), params)


def fetch_optional(conn: Connection, name: str, params: Params | None = None) -> Row | None:
    """Run a query of queries.sql that gives one row or none, and return this row."""
    return start(conn, name, params).fetchone()


def fetch_all(conn: Connection, name: str, params: Params | None = None) -> list[Row]:
    """Run a query of queries.sql, and return all its rows."""
    return start(conn, name, params).fetchall()


def execute(conn: Connection, name: str, params: Mapping[str, Any] | None = None) -> None:
    """Run a statement of queries.sql whose result is not needed."""
    start(conn, name, params)


@contextmanager
def one_snapshot(conn: Connection) -> Iterator[None]:
    """Read CMP in one snapshot for the whole `with` block. The snapshot is taken at the block's start.

    Raises SchemaMismatch if a row policy hides rows, and DatabaseUnavailable.
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
    """Run the `with` block with a restricted search_path, so that no other user's objects replace ours.

    One transaction that only reads, in a pipeline.

    CMP's table is named in full there: see `registries.tables`.
    """
    # The server reports a changed DateStyle at the end of a round trip, and psycopg must know the DateStyle
    # before it reads dates.
    first, second = (conn.transaction, conn.pipeline) if conn.unpinned else (conn.pipeline, conn.transaction)
    with first(), second():
        execute(conn, "confine", {"local": True})
        yield
