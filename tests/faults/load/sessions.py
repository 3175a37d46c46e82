"""The database sessions of the daemons."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from support.cmp import Cmp


def terminate_daemon_sessions(cmp: Cmp) -> None:
    """Terminate the sessions of all daemons that serve this database."""
    cmp.conn.execute(
        """select pg_terminate_backend(l.pid) from pg_locks l
            where l.locktype = 'advisory' and l.classid = 1869442666
              and l.database = (select oid from pg_database where datname = current_database())"""
    )
