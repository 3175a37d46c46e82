"""Tells whether something between us and the server lends each transaction to another session.

The daemon listens, and holds a lock that says it is alive: both belong to a session. A pooler in transaction mode takes
LISTEN and the lock without a word, and gives them to whoever comes next.
"""

from __future__ import annotations

import secrets

import psycopg

from omnicdc import db
from omnicdc.connection import Connection
from omnicdc.errors import ConfigError, DatabaseUnavailable

ROUNDS = 2
"""The second is for a pooler that hands its sessions out in turn."""


def check_session(conn: Connection, conninfo: str) -> None:
    """Raise ConfigError unless what one transaction sets is there in the next."""
    if db.one(conn, "backend", {"pid": 0})["pid"] == conn.info.backend_pid:
        return  # a pooler gives out numbers of its own
    if not all(_kept(conn, conninfo) for _ in range(ROUNDS)):
        raise ConfigError(
            "a pooler in transaction mode stands between here and PostgreSQL: it loses notifications and locks",
            hint="connect to PostgreSQL itself, or to a pool in session mode (docs/install.md, A pooler)",
        )


def _kept(conn: Connection, conninfo: str) -> bool:
    """Leave a mark, have somebody else begin to work, and look whether the mark is there."""
    mark = secrets.token_hex(8)
    try:
        db.run(conn, "leave_mark", {"mark": mark})
        with Connection.open(conninfo) as other, other.transaction():
            db.one(other, "backend", {"pid": 0})
            return bool(db.one(conn, "mark")["mark"] == mark)
    except (psycopg.Error, DatabaseUnavailable):
        return False  # a pool of a single session, which the other one has now
