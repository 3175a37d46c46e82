"""Connections to CMP, and the one place where the driver's errors become ours."""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg import errors as pg
from psycopg.types.string import TextLoader

from omnicdc.db import sql
from omnicdc.db.connection import PROBE_S, Connection, Row, role_of
from omnicdc.db.conninfo import PATIENCE_S, Login, describe_dsn
from omnicdc.db.dial import within
from omnicdc.db.refusal import Refusal, refusal
from omnicdc.errors import ConfigError, DatabaseUnavailable, OmnicdcError, SchemaMismatch, ServerFull

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from psycopg.abc import Params

    from omnicdc.db.conninfo import Target

__all__ = ["Connection", "Row"]

Cursor = psycopg.Cursor[Row]

_WHO_IS_CONNECTED = (
    "see max_connections, the CONNECTION LIMIT of role and database, and who is connected: "
    "`select usename, count(*) from pg_stat_activity group by 1`"
)

_LACKS_A_FILE = (
    "the server lacks a file: see session_preload_libraries and local_preload_libraries of the role and the database, "
    "with psql's \\drds"
)

LEAST_CONNECT_S = 1.0
"""A shorter time-out is one for the answer: a healthy server may take a moment to connect."""

_PASSING = {"08", "53", "55", "57", "58", "XX"}
"""Classes of SQLSTATE of a server, or a pooler, that takes no connection now, and may take it later."""

RETRY_S = 0.2
"""Between two attempts to get into a server that is full."""

_NOT_INSTALLED = (pg.UndefinedTable, pg.UndefinedFunction, pg.InvalidSchemaName, pg.UndefinedColumn)


def too_short(exc: psycopg.Error) -> str:
    """Return the remedy for a statement that was cut off."""
    return (
        "somebody canceled it, or the server does not get on with it, or the statement_timeout of the role or the database is too short: "
        f"`alter role {role_of(exc)} set statement_timeout = '5min'`"
    )


def read_only(exc: psycopg.Error) -> str:
    """Return the remedy for a role that may only read."""
    return f"`alter role {role_of(exc)} set default_transaction_read_only = off`, or wait until the server's maintenance ends"


@contextmanager
def translated(doing: str, *, role: str = "omnicdc_daemon (or omnicdc_client)") -> Iterator[None]:
    """Turn the driver's errors into ours, told by what was being done; `role` is the one whose rights that takes."""
    try:
        yield
    except pg.InsufficientPrivilege as exc:
        raise SchemaMismatch(
            f"{doing}: {_first_line(exc)}",
            hint=f"grant {role} to {role_of(exc)}; `omnicdc install` as the table's owner renews the grants; "
            "`omnicdc status` names a row policy in the way",
        ) from exc
    except _NOT_INSTALLED as exc:
        raise SchemaMismatch(f"{doing}: {_first_line(exc)}", hint="run `omnicdc install`") from exc
    except pg.QueryCanceled as exc:
        raise DatabaseUnavailable(
            f"{doing}: {_first_line(exc)}", hint=too_short(exc), again=True, sqlstate=exc.sqlstate
        ) from exc
    except pg.ReadOnlySqlTransaction as exc:
        # Only reading is allowed after a failover that left the connection where it was.
        raise DatabaseUnavailable(
            f"{doing}: {_first_line(exc)}",
            hint=f"is this a standby? then name all servers in the DSN (host=a,b); else {read_only(exc)}",
            again=True,
            sqlstate=exc.sqlstate,
        ) from exc
    except (psycopg.OperationalError, psycopg.InterfaceError) as exc:
        context = {"sqlstate": exc.sqlstate} if exc.sqlstate else {}
        raise DatabaseUnavailable(f"{doing}: {_first_line(exc)}", again=True, **context) from exc
    except psycopg.Error as exc:
        raise OmnicdcError(f"{doing}: {_first_line(exc)}", sqlstate=exc.sqlstate) from exc


def connect(
    target: Target | str,
    *,
    connect_s: float | None = None,
    timeout_s: float | None = None,
    going_on: Callable[[], bool] | None = None,
    once_more: bool = True,
) -> Connection:
    """Open a connection in autocommit mode; the password is read now.

    Whatever the servers, the name servers and the password file do, connecting ends after `connect_s`, or as soon as it need not go on. After
    `timeout_s` the waiting for the connection's answers ends as well. Raises ConfigError where trying again cannot help:
    the connection string does not parse, or a server refused ours (password, role, database); Interrupted if connecting
    need not go on; else DatabaseUnavailable.
    """
    began = time.monotonic()
    limit_s = connect_s if timeout_s is None else max(timeout_s, LEAST_CONNECT_S)
    if isinstance(target, str):
        login = Login(target)
    else:
        login = target.login(PATIENCE_S if limit_s is None else limit_s, going_on)
        if limit_s is not None and target.password_file:
            limit_s = max(0.0, limit_s - (time.monotonic() - began))
    where = describe_dsn(login.conninfo)
    try:
        conn = within(limit_s, going_on, lambda: _open(login, where), where)
    except _Admitted as exc:
        if not once_more:
            raise DatabaseUnavailable(exc.message, hint=exc.hint, again=exc.again, **exc.context) from exc
        # It lets us in now: it had just begun to take connections.
        conn = within(limit_s, going_on, lambda: _open(login, where), where)
    conn.sources = login.sources
    conn.deadline = None if timeout_s is None else began + max(timeout_s, LEAST_CONNECT_S)
    return conn


class _Admitted(DatabaseUnavailable):
    """The server refused a connection, and then let the next one in; or it is one that takes no writes."""


def _open(login: Login, where: str) -> Connection:
    try:
        conn = Connection.open(login.conninfo)
        if conn.pooled and not _takes_transactions(conn):
            # Once more: it may have lost its server just then.
            conn = Connection.open(login.conninfo)
            if not _takes_transactions(conn):
                conn.close()
                raise ConfigError(
                    "a pooler stands between here and PostgreSQL and refuses transactions, as in statement mode",
                    hint="connect to PostgreSQL itself, or to a pool in session mode; for all commands but `run`, transaction mode will do "
                    "(docs/install.md, A pooler)",
                )
    except psycopg.ProgrammingError as exc:
        raise ConfigError(
            f"the connection string does not parse: {_first_line(exc)}", hint="see --dsn in `omnicdc --help`"
        ) from exc
    except UnicodeError as exc:  # of Python's own encoding of names: a part of more than 63 letters, or empty
        raise ConfigError(
            f"{where} cannot be reached: no host can have such a name",
            hint=f"check the host ({login.sources})",
        ) from exc
    except psycopg.Error as exc:
        raise _refused(login, where, exc) from exc
    # An id is text everywhere here; the driver's UUID objects would be made to be unmade.
    conn.adapters.register_loader("uuid", TextLoader)
    return conn


def _takes_transactions(conn: Connection) -> bool:
    """Whether a pooler, which has just answered a single statement, answers a transaction as well."""
    try:
        conn.execute("begin")
        conn.execute("rollback")
    except pg.ProtocolViolation:
        return False
    return True


def _refused(login: Login, where: str, exc: psycopg.Error) -> OmnicdcError:
    """Tell why there is no connection, by the SQLSTATE with which the server refused it."""
    found = refusal(login.conninfo, exc, PROBE_S)
    context: dict[str, Any] = {"sqlstate": found.sqlstate}
    written = login.sources or "--dsn, OMNICDC_DSN, CMP_DB_* or PG*"
    if found.sqlstate is None:
        return _not_refused(found, where, _first_line(exc), written)
    match found.sqlstate:
        case "53300":
            return ServerFull(
                f"{where} has no connection left: {_first_line(exc)}",
                hint=_WHO_IS_CONNECTED,
                again=True,
                **context,
            )
        case "57014":
            return DatabaseUnavailable(
                f"{where} ended our first query: {_first_line(exc)}",
                hint=too_short(exc),
                again=True,
                **context,
            )
        case code if code[:2] in _PASSING:
            return DatabaseUnavailable(
                f"{where} takes no connections now: {_first_line(exc)}",
                hint=_why_not_now(code),
                again=True,
                **context,
            )
    return ConfigError(
        f"{where} refused the connection: {_first_line(exc)}",
        hint=f"check user, password and database ({written})",
        **context,
    )


def _why_not_now(code: str) -> str:
    if code == "58P01":
        return _LACKS_A_FILE
    if code[:2] == "53":
        return "the server lacks disk space or memory: see its log"
    return "is the server itself up, behind a pooler?"


def _not_refused(found: Refusal, where: str, said: str, written: str) -> OmnicdcError:
    """Tell why there is no connection although no server refused it."""
    if found.misconfigured:
        return ConfigError(
            f"{where} cannot be connected to: {said}",
            hint=f"no server is at fault: check the connection string, PG* variables, service and TLS files ({written})",
        )
    if found.lacks_password:
        return ConfigError(
            f"{where} asks for a password, and none is set: {said}",
            hint=f"set password_file, PGPASSWORD or ~/.pgpass ({written})",
        )
    if found.admitted:
        return _Admitted(
            f"{where} cannot be used: {said}",
            hint="a server of this DSN may take writes soon",
            again=True,
        )
    return DatabaseUnavailable(
        f"{where} cannot be reached: {said}", hint=f"is the server up? check host and port ({written})"
    )


def connect_within(target: Target | str, timeout_s: float) -> Connection:
    """Do as `connect`; as long as the server has no connection left, try again until the time is up."""
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            return connect(target, timeout_s=max(0.0, deadline - time.monotonic()))
        except ServerFull:
            left = deadline - time.monotonic()
            if left <= 0:
                raise
            time.sleep(min(RETRY_S, left))


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
    """Send a query of queries.sql; in a pipeline, its rows come when that ends.

    Where nothing is pinned for the session, it gets a transaction of its own, in which our settings hold.
    """
    if conn.unpinned:
        with conn.transaction():
            return conn.execute(sql.query(name), params)
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
        conn.execute(sql.query("begin_reading"))
        try:
            with conn.begun():
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
    # The server reports a changed DateStyle at the end of a round trip, and the driver must know it before it reads dates.
    first, second = (conn.transaction, conn.pipeline) if conn.unpinned else (conn.pipeline, conn.transaction)
    with first(), second():
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
        if not found and one(conn, "hidden_schema")["hidden"]:
            check_row_security(conn)
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


def check_row_security(conn: Connection) -> None:
    """Raise SchemaMismatch if a row policy hides omnicdc's own rows: then nothing that is read of its tables counts."""
    if found := maybe(conn, "row_security_fault"):
        raise SchemaMismatch(found["fault"], hint=found["remedy"])


def _first_line(exc: BaseException) -> str:
    line = str(exc).strip().split("\n", 1)[0]
    return line.removeprefix("connection is bad: ").removeprefix("connection failed: ")
