"""Connections to CMP, and the one place where the driver's errors become ours."""

from __future__ import annotations

import re
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg import errors as pg
from psycopg.types.string import TextLoader

from omnicdc import sql
from omnicdc.config import describe_dsn
from omnicdc.connection import Connection, Row
from omnicdc.errors import ConfigError, DatabaseUnavailable, OmnicdcError, SchemaMismatch

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from psycopg.abc import Params

__all__ = ["Connection", "Row"]

Cursor = psycopg.Cursor[Row]

_NOBODY_WRITES = ("session is read-only", "server is in hot standby mode")
"""What the driver says where target_session_attrs finds no server that takes writes: none is promoted yet."""

_NO_ROOM = re.compile(
    "too many (clients|connections)|connection slots are reserved|no more connections allowed"
)
"""The words of PostgreSQL and pgbouncer: of a connection that was refused, libpq gives no SQLSTATE."""

_NOT_INSTALLED = (pg.UndefinedTable, pg.UndefinedFunction, pg.InvalidSchemaName, pg.UndefinedColumn)


@contextmanager
def translated(doing: str) -> Iterator[None]:
    """Turn the driver's errors into ours, told by what was being done."""
    try:
        yield
    except pg.InsufficientPrivilege as exc:
        raise SchemaMismatch(
            f"{doing}: {_first_line(exc)}",
            hint="grant omnicdc_daemon (or omnicdc_client) to this role; `omnicdc install` as the table's owner renews the grants",
        ) from exc
    except _NOT_INSTALLED as exc:
        raise SchemaMismatch(f"{doing}: {_first_line(exc)}", hint="run `omnicdc install`") from exc
    except (psycopg.OperationalError, psycopg.InterfaceError, pg.ReadOnlySqlTransaction) as exc:
        # Only reading is allowed after a failover that left the connection where it was.
        raise DatabaseUnavailable(f"{doing}: {_first_line(exc)}", hint="it is tried again by itself") from exc
    except psycopg.Error as exc:
        raise OmnicdcError(f"{doing}: {_first_line(exc)}", sqlstate=exc.sqlstate) from exc


def connect(conninfo: str, *, once_more: bool = True) -> Connection:
    """Open a connection in autocommit mode.

    Raises ConfigError where trying again cannot help: the connection string does not parse, or a
    server that takes connections refused ours (password, role, database), twice: it may have begun to
    take them just after it had none for us, so unless told otherwise we try `once_more`. Else DatabaseUnavailable.
    """
    try:
        conn = Connection.open(conninfo)
        # An id is text everywhere here; the driver's UUID objects would be made to be unmade.
        conn.adapters.register_loader("uuid", TextLoader)
    except psycopg.ProgrammingError as exc:
        raise ConfigError(
            f"the connection string does not parse: {_first_line(exc)}", hint="see --dsn in `omnicdc --help`"
        ) from exc
    except psycopg.OperationalError as exc:
        where = describe_dsn(conninfo)
        if _NO_ROOM.search(str(exc)):
            raise DatabaseUnavailable(
                f"{where} lets nobody else in: {_first_line(exc)}",
                hint="it is tried again by itself; see max_connections, and who is there: `select usename, count(*) from pg_stat_activity group by 1`",
            ) from exc
        passing = isinstance(exc, pg.ConnectionTimeout) or any(said in str(exc) for said in _NOBODY_WRITES)
        if not passing and psycopg.pq.PGconn.ping(conninfo.encode()) == psycopg.pq.Ping.OK:
            if once_more:
                return connect(conninfo, once_more=False)
            raise ConfigError(
                f"{where} refused the connection: {_first_line(exc)}",
                hint="check user, password and database: --dsn, OMNICDC_DSN, CMP_DB_* or PG*",
            ) from exc
        raise DatabaseUnavailable(
            f"{where} cannot be reached: {_first_line(exc)}",
            hint="is the server up? check host and port: --dsn, OMNICDC_DSN, CMP_DB_* or PG*",
        ) from exc
    return conn


def one(conn: Connection, name: str, params: Params | None = None) -> Row:
    """Run a query of queries.sql that gives exactly one row."""
    return only(start(conn, name, params))


def only(cursor: Cursor) -> Row:
    """Return the one row of a query."""
    row = cursor.fetchone()
    if row is None:
        raise OmnicdcError("a query that always gives a row gave none")
    return row


def start(conn: Connection, name: str, params: Params | None = None) -> Cursor:
    """Send a query of queries.sql; in a pipeline, its rows come when that ends."""
    return conn.execute(sql.query(name), params)


def maybe(conn: Connection, name: str, params: Params | None = None) -> Row | None:
    """Run a query of queries.sql that gives one row or none."""
    return start(conn, name, params).fetchone()


def rows(conn: Connection, name: str, params: Params | None = None) -> list[Row]:
    """Run a query of queries.sql."""
    return start(conn, name, params).fetchall()


def run(conn: Connection, name: str, params: Mapping[str, Any] | None = None) -> None:
    """Run a statement of queries.sql for its effect."""
    start(conn, name, params)


@contextmanager
def one_snapshot(conn: Connection) -> Iterator[None]:
    """Have all that is read of CMP inside be read in one snapshot, which is taken now; a row policy is an error."""
    with translated("reading CMP"):
        run(conn, "begin_reading")
        try:
            run(conn, "confine", {"local": True})  # PostgreSQL takes the snapshot at the first query
            run(conn, "refuse_policies")
            yield
        finally:
            if not conn.closed:
                conn.rollback()


@contextmanager
def confined(conn: Connection) -> Iterator[None]:
    """Have what is run inside find nothing of other people's by a bare name: one transaction that only reads, in a pipeline.

    CMP's table is named in full there: see `scan.located`.
    """
    with conn.pipeline(), conn.transaction():
        run(conn, "confine", {"local": True})
        yield


def check_schema(conn: Connection) -> None:
    """Raise SchemaMismatch unless exactly this version's schema is installed."""
    with translated("looking for omnicdc's schema"):
        if not one(conn, "schema_state")["installed"]:
            raise SchemaMismatch(
                f"omnicdc is not installed in database {conn.info.dbname}", hint="run `omnicdc install`"
            )
        found = int(one(conn, "schema_version")["version"])
    wanted = sql.migrations()[-1].version
    if found < wanted:
        raise SchemaMismatch(
            f"the schema in {conn.info.dbname} is at {found}, this omnicdc needs {wanted}",
            hint="run `omnicdc install`",
        )
    if found > wanted:
        raise SchemaMismatch(
            f"the schema in {conn.info.dbname} is at {found}, newer than this omnicdc knows ({wanted})",
            hint="upgrade omnicdc on this host: `pip install --upgrade omnicdc`",
        )


def _first_line(exc: BaseException) -> str:
    line = str(exc).strip().split("\n", 1)[0]
    return line.removeprefix("connection is bad: ").removeprefix("connection failed: ")
