"""One connection that writes CMP, with at most one open transaction.

`support.commit_history` records how each transaction ends.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, LiteralString, Protocol

from psycopg import errors as pg

if TYPE_CHECKING:
    from collections.abc import Callable

    import psycopg
    from psycopg import sql as pgsql

CONFLICTS = (pg.OperationalError, pg.IntegrityError)
"""Errors that another writer may cause: a lock timeout, a duplicate key, a serialization failure."""


class Ended(Protocol):
    """Records how a transaction ended."""

    def __call__(self, token: str, *, committed: bool) -> None: ...


class Writer:
    """One connection. A statement outside of a transaction runs in its own transaction.

    A conflict rolls back what it would roll back for Genesis.
    """

    def __init__(self, connect: Callable[[], psycopg.Connection[tuple[Any, ...]]], ended: Ended) -> None:
        self._connect, self._ended = connect, ended
        self.conn = connect()
        self._reset()

    def connect(self) -> None:
        """Connect again, without an open transaction."""
        self.conn.close()
        self.conn = self._connect()
        self._reset()

    def _reset(self) -> None:
        self.token: str | None = None
        self.excludes = False
        self._savepoints = 0

    def begin(self, level: LiteralString = "read committed") -> None:
        """Open a transaction, unless one is open."""
        if self.token is None:
            self.conn.execute(f"begin isolation level {level}")
            row = self.conn.execute("select pg_current_xact_id()::text").fetchone()
            self.token = row[0] if row else None

    def run(self, statement: LiteralString | pgsql.Composed, *params: object, patience: str = "20ms") -> None:
        """Run a statement in the open transaction or in its own.

        All writers share one thread, so none waits long.
        """
        alone = self.token is None
        self.begin()
        try:
            self.conn.execute("select set_config('lock_timeout', %s, true)", [patience])
            self.conn.execute(statement, params or None)
        except CONFLICTS:
            self._roll_back_failed()
        if alone:
            self.end("commit")

    def exclude(self, statement: LiteralString) -> None:
        """Run a statement that takes an exclusive lock on CMP's table.

        Until the commit no other session can read the table, and neither can the daemon.
        """
        was_open = self.token is not None
        self.run(statement, patience="500ms")
        self.excludes = was_open and self.token is not None

    def savepoint(self) -> None:
        """Set a savepoint. Open a transaction if none is open."""
        self.begin()
        self._savepoints += 1
        self.conn.execute(f"savepoint s{self._savepoints}")

    def back(self) -> None:
        """Roll back to the last savepoint, and release it."""
        if self._savepoints:
            self.conn.execute(f"rollback to s{self._savepoints}")
            self.conn.execute(f"release s{self._savepoints}")
            self._savepoints -= 1

    def end(self, how: LiteralString) -> None:
        """Commit or roll back the open transaction, if there is one."""
        if self.token is None:
            return
        token, self.token, self.excludes, self._savepoints = self.token, None, False, 0
        try:
            self.conn.execute(how)
        except CONFLICTS:
            how = "rollback"
        self._ended(token, committed=how == "commit")

    def prepare(self) -> str | None:
        """Prepare the open transaction, so that any session can end it; return its name."""
        if self.token is None or self.excludes:
            return None
        token, self.token, self._savepoints = self.token, None, 0
        self.conn.execute(f"prepare transaction '{token}'")
        return token

    def _roll_back_failed(self) -> None:
        if self._savepoints:
            self.back()
        else:
            self.end("rollback")
