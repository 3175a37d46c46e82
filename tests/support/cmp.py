"""The CMP database of a test, written as Genesis writes it."""

from __future__ import annotations

import json
import threading
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, Self

import psycopg
from psycopg import sql as pgsql
from psycopg.rows import tuple_row

from omnicdc import db
from omnicdc.delivery import wait as waits
from omnicdc.stop import Stop
from omnicdc.testing.cmp import TABLE
from support.host import DEADLINE_S

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import LiteralString

    from omnicdc.delivery.verdict import Verdict

__all__ = ["TABLE", "UPSERT", "Cmp", "undo"]

UPSERT: LiteralString = """
insert into projects as p (id, name, key, type, status, metadata_)
     values (coalesce(%(id)s::uuid, gen_random_uuid()), %(name)s, %(key)s, %(type)s, %(status)s,
             %(metadata)s::jsonb)
on conflict (id) do update
   set name = excluded.name, key = excluded.key, type = excluded.type, status = excluded.status,
       metadata_ = excluded.metadata_, updated_at = clock_timestamp()
returning id::text
"""


def undo() -> None:
    """Roll back the innermost transaction or savepoint. The code continues after its `with` block."""
    raise psycopg.Rollback


class Cmp:
    """A database with the table `projects`; `conn` is in autocommit mode."""

    def __init__(self, dsn: str) -> None:
        self.dsn = dsn
        self.conn = self.connect()
        self._waiting: db.Connection | None = None
        self._waits = threading.Lock()

    def connect(self) -> psycopg.Connection[tuple[Any, ...]]:
        """Open another connection, in autocommit mode."""
        return psycopg.connect(self.dsn, autocommit=True, row_factory=tuple_row)

    def upsert(
        self,
        name: str,
        *,
        id: str | None = None,  # noqa: A002 - the column's name
        key: str | None = None,
        type: str | None = "SERVICE",  # noqa: A002 - as above
        status: str | None = "active",
        conn: psycopg.Connection[tuple[Any, ...]] | None = None,
        **metadata: object,
    ) -> str:
        """Upsert a project as Genesis does; return its id. Other keyword arguments become `metadata_`."""
        values = {
            "id": id,
            "name": name,
            "key": key,
            "type": type,
            "status": status,
            "metadata": json.dumps(metadata),
        }
        row = (conn or self.conn).execute(UPSERT, values).fetchone()
        assert row
        return str(row[0])

    def set(self, project: str, **columns: str | None) -> None:
        """Update columns of one project. `github_url` and `domain` are keys of `metadata_`."""
        for column, value in columns.items():
            new = pgsql.SQL("{} = %s").format(pgsql.Identifier(column))
            if column in ("github_url", "domain"):
                new = pgsql.SQL("metadata_ = metadata_ || jsonb_build_object({}, %s::text)").format(column)
            self.conn.execute(
                pgsql.SQL("update projects set {}, updated_at = clock_timestamp() where id = %s").format(new),
                [value, project],
            )

    @contextmanager
    def transaction(self) -> Iterator[tuple[psycopg.Connection[tuple[Any, ...]], str]]:
        """Open a transaction on a new connection; give the connection and the token."""
        with self.connect() as conn, conn.transaction():
            row = conn.execute("select pg_current_xact_id()::text").fetchone()
            assert row
            yield conn, row[0]

    def wait(self, token: str | None = None, *, timeout_s: float = DEADLINE_S) -> Verdict:
        """Wait as `omnicdc wait` does, without a new process. The connection is used again."""
        with self._waiting_connection() as conn:
            return waits.wait(conn, token, timeout_s=timeout_s, stop=Stop())

    def arrived(self, token: str | None = None) -> Verdict:
        """Wait, and assert that the files hold the transaction."""
        verdict = self.wait(token)
        assert verdict.arrived, verdict
        return verdict

    def consumer(self, name: str) -> dict[str, Any]:
        """Return a consumer's row."""
        with db.connect(self.dsn) as conn:
            row = conn.execute("select * from omnicdc.consumer where name = %s", [name]).fetchone()
        assert row
        return row

    def fill(self, count: int) -> None:
        """Insert `count` ordinary projects in one statement."""
        self.conn.execute(
            """insert into projects (name, key, type, status, metadata_)
               select 'project-' || i, 'key-' || i, 'SERVICE', 'active',
                      jsonb_build_object('github_url', 'https://github.com/acme/project-' || i,
                                         'domain', 'd' || mod(i, 7))
                 from generate_series(1, %s) i""",
            [count],
        )

    def log(self) -> list[tuple[str | None, str, tuple[str, ...] | None]]:
        """Return key, op and fields of every row of the log, without canaries, in the order of writing."""
        rows = self.conn.execute(
            """select key, op, fields from omnicdc.change
                where source is distinct from 0 order by at"""
        ).fetchall()
        return [(project, op, None if fields is None else tuple(fields)) for project, op, fields in rows]

    def value(self, query: LiteralString, *params: object) -> Any:  # noqa: ANN401 - any type of value
        """Return the one value of a query."""
        row = self.conn.execute(query, params).fetchone()
        assert row
        return row[0]

    def close(self) -> None:
        """Close the connections. To repeat it is harmless."""
        self.conn.close()
        if self._waiting:
            self._waiting.close()

    @contextmanager
    def _waiting_connection(self) -> Iterator[db.Connection]:
        """Give the kept connection for waits, or a new one if it was lost.

        If another thread uses it, give a separate connection.
        """
        if not self._waits.acquire(blocking=False):
            with db.connect(self.dsn) as own:
                yield own
            return
        try:
            yield self._alive()
        finally:
            self._waits.release()

    def _alive(self) -> db.Connection:
        if self._waiting:
            with suppress(psycopg.Error):
                self._waiting.execute("select 1")
                return self._waiting
            self._waiting.close()
        self._waiting = db.connect(self.dsn)
        return self._waiting

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()
