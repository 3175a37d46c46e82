"""Detects a pooler between us and the server that lends each transaction to another client.

The daemon listens, and holds a lock that says it is alive: both belong to a session. A pooler in transaction
mode accepts LISTEN and the lock, and gives them to the next client. Nothing is left in its sessions by
looking.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import psycopg

from omnicdc import db
from omnicdc.db import sql
from omnicdc.errors import ConfigError, DatabaseUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable

    from omnicdc.db.connection import Connection

ROUNDS = 2
"""The second is for a pooler that hands its sessions out in turn."""


def check_session(conn: Connection, another: Callable[[], Connection]) -> None:
    """Raise ConfigError unless one server process answers all our transactions, and ours alone.

    DatabaseUnavailable.

    `another` opens a second connection to the same.
    """
    if not conn.pooled:
        return
    with db.translated("looking for a pooler"):
        if all(_kept(conn, another) for _ in range(ROUNDS)):
            return
    raise ConfigError(
        "a pooler in transaction mode stands between here and PostgreSQL: it loses notifications and locks",
        hint="connect to PostgreSQL itself, or to a pool in session mode (docs/install.md, A pooler)",
    )


def _kept(conn: Connection, another: Callable[[], Connection]) -> bool:
    """Whether our server process stays ours while another client works."""
    ours = _pid(conn)
    try:
        with another() as other, other.transaction():
            return _pid(other) != ours and _pid(conn) == ours
    except (psycopg.OperationalError, DatabaseUnavailable):
        # A pool of a single session, which the other client has now; or one that lends each statement. Unless
        # we are lost, too.
        _pid(conn)
        return False


def _pid(conn: Connection) -> int:
    # By itself, not in a transaction: a pooler in statement mode refuses one.
    found = conn.execute(sql.query("backend_pid")).fetchone()
    return int(found["pid"]) if found else 0
