"""Opens connections to CMP, within a budget of time, and explains why there is none."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg import errors as pg

from omnicdc.db.connection import Connection
from omnicdc.db.conninfo import PATIENCE_S, Login, describe_dsn
from omnicdc.db.dial import within
from omnicdc.db.errors import first_line, too_short
from omnicdc.db.refusal import Refusal, refusal
from omnicdc.errors import ConfigError, DatabaseUnavailable, OmnicdcError, ServerFull

if TYPE_CHECKING:
    from collections.abc import Callable

    from omnicdc.db.conninfo import Target

_WHO_IS_CONNECTED = (
    "see max_connections, the CONNECTION LIMIT of role and database, and who is connected: "
    "`select usename, count(*) from pg_stat_activity group by 1`"
)

_LACKS_A_FILE = (
    "the server lacks a file: see session_preload_libraries and local_preload_libraries of the role and the "
    "database, "
    "with psql's \\drds"
)

LEAST_CONNECT_S = 1.0
"""A shorter time-out is one for the answer: a healthy server may take a moment to connect."""

_PASSING = {"08", "53", "55", "57", "58", "XX"}
"""Classes of SQLSTATE of a server, or a pooler, that takes no connection now, and may take it later."""

RETRY_S = 0.2
"""Between two attempts to get into a server that is full."""


def connect(
    target: Target | str,
    *,
    connect_s: float | None = None,
    timeout_s: float | None = None,
    going_on: Callable[[], bool] | None = None,
    once_more: bool = True,
) -> Connection:
    """Open a connection in autocommit mode; the password is read now.

    Whatever the servers, the name servers and the password file do, connecting ends after `connect_s`, or as
    soon as it need not go on. After `timeout_s` the waiting for the connection's answers ends as well. Raises
    ConfigError where trying again cannot help: the connection string does not parse, or a server refused ours
    (password, role, database); Interrupted if connecting need not go on; else DatabaseUnavailable.
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
        conn = Connection.open(login.conninfo, login.silence)
        if conn.pooled and not _takes_transactions(conn):
            # Once more: it may have lost its server just then.
            conn = Connection.open(login.conninfo, login.silence)
            if not _takes_transactions(conn):
                conn.close()
                raise ConfigError(
                    "a pooler stands between here and PostgreSQL and refuses transactions, as in statement "
                    "mode",
                    hint="connect to PostgreSQL itself, or to a pool in session mode; for all commands but "
                    "`run`, transaction mode will do "
                    "(docs/install.md, A pooler)",
                )
    except psycopg.ProgrammingError as exc:
        raise ConfigError(
            f"the connection string does not parse: {first_line(exc)}", hint="see --dsn in `omnicdc --help`"
        ) from exc
    except UnicodeError as exc:  # of Python's own encoding of names: a part of more than 63 letters, or empty
        raise ConfigError(
            f"{where} cannot be reached: no host can have such a name",
            hint=f"check the host ({login.sources})",
        ) from exc
    except psycopg.Error as exc:
        raise _refused(login, where, exc) from exc
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
    found = refusal(login.conninfo, exc, login.silence.probe_s)
    context: dict[str, Any] = {"sqlstate": found.sqlstate}
    written = login.sources or "--dsn, OMNICDC_DSN, CMP_DB_* or PG*"
    if found.sqlstate is None:
        return _not_refused(found, where, first_line(exc), written)
    match found.sqlstate:
        case "53300":
            return ServerFull(
                f"{where} has no connection left: {first_line(exc)}",
                hint=_WHO_IS_CONNECTED,
                again=True,
                **context,
            )
        case "57014":
            return DatabaseUnavailable(
                f"{where} ended our first query: {first_line(exc)}",
                hint=too_short(exc),
                again=True,
                **context,
            )
        case code if code[:2] in _PASSING:
            return DatabaseUnavailable(
                f"{where} takes no connections now: {first_line(exc)}",
                hint=_why_not_now(code),
                again=True,
                **context,
            )
    return ConfigError(
        f"{where} refused the connection: {first_line(exc)}",
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
            hint=f"no server is at fault: check the connection string, PG* variables, service and TLS files "
            f"({written})",
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
