"""Detects a pooler that gives our server session to another client after each transaction.

The daemon uses LISTEN, and it holds a lock that shows that it is alive. Both belong to a server session. A
pooler in transaction mode accepts LISTEN and the lock, and then gives the session, with both, to the next
client. This check leaves nothing behind in the pooler's sessions.
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
"""Number of checks. One check can pass by luck when the pooler assigns sessions round-robin."""


def check_session(conn: Connection, another: Callable[[], Connection]) -> None:
    """Raise ConfigError unless all our transactions run in one server process that serves no other client.

    `another` opens a second connection to the same database. Raises DatabaseUnavailable if the server does
    not answer.
    """
    if not conn.behind_pooler:
        return
    with db.translated("looking for a pooler"):
        if all(_keeps_its_session(conn, another) for _ in range(ROUNDS)):
            return
    raise ConfigError(
        "a pooler in transaction mode stands between here and PostgreSQL: it loses notifications and locks",
        hint="connect to PostgreSQL itself, or to a pool in session mode (docs/install.md, A pooler)",
    )


def _keeps_its_session(conn: Connection, another: Callable[[], Connection]) -> bool:
    """Whether `conn` keeps its server process while another client runs a transaction."""
    ours = _pid(conn)
    try:
        with another() as other, other.transaction():
            return _pid(other) != ours and _pid(conn) == ours
    except (psycopg.OperationalError, DatabaseUnavailable):
        # Either the pool has one session and the other connection has it now, or the pooler changes the
        # session after each statement. If our own connection is broken too, the next line raises.
        _pid(conn)
        return False


def _pid(conn: Connection) -> int:
    # Run outside a transaction, because a pooler in statement mode refuses transactions.
    found = conn.execute(sql.query("backend_pid")).fetchone()
    return int(found["pid"]) if found else 0
