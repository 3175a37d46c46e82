"""One connection of CMP's, and the transaction that is open on it, if any.

`world` takes down how each ends.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, LiteralString, Protocol

from psycopg import errors as pg

if TYPE_CHECKING:
    from collections.abc import Callable

    import psycopg
    from psycopg import sql as pgsql

CONFLICTS = (pg.OperationalError, pg.IntegrityError)
"""What another writer's work may answer: a lock, a key, a serialization failure."""


class Ended(Protocol):
    """Is told how a transaction ended."""

    def __call__(self, token: str, *, committed: bool) -> None: ...


class Writer:
    """A statement outside a transaction is one of its own.

    A conflict undoes what it would undo for Genesis.
    """

    def __init__(self, connect: Callable[[], psycopg.Connection[tuple[Any, ...]]], ended: Ended) -> None:
        self._connect, self._ended = connect, ended
        self.conn = connect()
        self._forget()

    def connect(self) -> None:
        """Start anew, with nothing open."""
        self.conn.close()
        self.conn = self._connect()
        self._forget()

    def _forget(self) -> None:
        self.token: str | None = None
        self.excludes = False
        self._savepoints = 0

    def begin(self, level: LiteralString = "read committed") -> None:
        """Open a transaction, if none is."""
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
            self._give_up()
        if alone:
            self.end("commit")

    def exclude(self, statement: LiteralString) -> None:
        """Run what takes CMP's table for itself.

        Until it is committed nobody reads the table, the daemon neither.
        """
        kept = self.token is not None
        self.run(statement, patience="500ms")
        self.excludes = kept and self.token is not None

    def savepoint(self) -> None:
        """Set a savepoint, in a transaction opened for it if need be."""
        self.begin()
        self._savepoints += 1
        self.conn.execute(f"savepoint s{self._savepoints}")

    def back(self) -> None:
        """Roll back to the last savepoint, and let go of it."""
        if self._savepoints:
            self.conn.execute(f"rollback to s{self._savepoints}")
            self.conn.execute(f"release s{self._savepoints}")
            self._savepoints -= 1

    def end(self, how: LiteralString) -> None:
        """Commit or roll back what is open, if anything is."""
        if self.token is None:
            return
        token, self.token, self.excludes, self._savepoints = self.token, None, False, 0
        try:
            self.conn.execute(how)
        except CONFLICTS:
            how = "rollback"
        self._ended(token, committed=how == "commit")

    def prepare(self) -> str | None:
        """Prepare what is open, to be ended by anybody; returns its name."""
        if self.token is None or self.excludes:
            return None
        token, self.token, self._savepoints = self.token, None, 0
        self.conn.execute(f"prepare transaction '{token}'")
        return token

    def _give_up(self) -> None:
        if self._savepoints:
            self.back()
        else:
            self.end("rollback")
