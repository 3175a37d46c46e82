"""Opens connections to CMP within a time limit, and explains why a connection failed."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg import errors as pg

from omnicdc.db.connection import Connection
from omnicdc.db.conninfo import PATIENCE_S, Login, describe_dsn
from omnicdc.db.dial import within
from omnicdc.db.errors import canceled_remedy, first_line
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
"""Connecting gets at least this long even if `timeout_s` is shorter: a healthy server may need a moment."""

_TEMPORARY = {"08", "53", "55", "57", "58", "XX"}
"""Classes of SQLSTATE of a server or pooler that accepts no connection now, but may accept one later."""

RETRY_S = 0.2
"""Seconds between two attempts to connect to a server that has no connection left."""


def connect(
    target: Target | str,
    *,
    connect_s: float | None = None,
    timeout_s: float | None = None,
    going_on: Callable[[], bool] | None = None,
    once_more: bool = True,
) -> Connection:
    """Open a connection in autocommit mode. The password is read now.

    Connecting ends after `connect_s` seconds, or as soon as `going_on()` returns false, even if a server, a
    name server or the password file does not answer. After `timeout_s`, waiting for query results ends too.

    Raises ConfigError if a retry cannot help: the connection string does not parse, or a server refused our
    password, role or database. Raises Interrupted if `going_on()` returns false, and DatabaseUnavailable for
    every other failure.
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
    except _AdmittedOnRetry as exc:
        if not once_more:
            raise DatabaseUnavailable(exc.message, hint=exc.hint, again=exc.again, **exc.context) from exc
        # The server accepts connections now: it had just started.
        conn = within(limit_s, going_on, lambda: _open(login, where), where)
    conn.sources = login.sources
    conn.deadline = None if timeout_s is None else began + max(timeout_s, LEAST_CONNECT_S)
    return conn


class _AdmittedOnRetry(DatabaseUnavailable):
    """The first attempt failed but the second was admitted.

    The server had just started, or it is read-only.
    """


def _open(login: Login, where: str) -> Connection:
    try:
        conn = Connection.open(login.conninfo, login.silence)
        if conn.behind_pooler and not _takes_transactions(conn):
            # Try again, because the pooler may have lost its server at that moment.
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
    except UnicodeError as exc:
        # Python's IDNA encoding rejects host names with an empty label or one longer than 63 characters.
        raise ConfigError(
            f"{where} cannot be reached: no host can have such a name",
            hint=f"check the host ({login.sources})",
        ) from exc
    except psycopg.Error as exc:
        raise _refused(login, where, exc) from exc
    return conn


def _takes_transactions(conn: Connection) -> bool:
    """Whether a pooler accepts transactions. It has just answered a single statement."""
    try:
        conn.execute("begin")
        conn.execute("rollback")
    except pg.ProtocolViolation:
        return False
    return True


def _refused(login: Login, where: str, exc: psycopg.Error) -> OmnicdcError:
    """Return the error that explains, by the server's SQLSTATE, why the connection failed."""
    found = refusal(login.conninfo, exc, login.silence.probe_s)
    context: dict[str, Any] = {"sqlstate": found.sqlstate}
    settings_source = login.sources or "--dsn, OMNICDC_DSN, CMP_DB_* or PG*"
    if found.sqlstate is None:
        return _explain_without_sqlstate(found, where, first_line(exc), settings_source)
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
                hint=canceled_remedy(exc),
                again=True,
                **context,
            )
        case code if code[:2] in _TEMPORARY:
            return DatabaseUnavailable(
                f"{where} takes no connections now: {first_line(exc)}",
                hint=_why_not_now(code),
                again=True,
                **context,
            )
    return ConfigError(
        f"{where} refused the connection: {first_line(exc)}",
        hint=f"check user, password and database ({settings_source})",
        **context,
    )


def _why_not_now(code: str) -> str:
    if code == "58P01":
        return _LACKS_A_FILE
    if code[:2] == "53":
        return "the server lacks disk space or memory: see its log"
    return "is the server itself up, behind a pooler?"


def _explain_without_sqlstate(
    found: Refusal, where: str, complaint: str, settings_source: str
) -> OmnicdcError:
    """Return the error that explains why the connection failed although no server gave an SQLSTATE.

    `complaint` is libpq's message.
    """
    if found.misconfigured:
        return ConfigError(
            f"{where} cannot be connected to: {complaint}",
            hint=f"no server is at fault: check the connection string, PG* variables, service and TLS files "
            f"({settings_source})",
        )
    if found.lacks_password:
        return ConfigError(
            f"{where} asks for a password, and none is set: {complaint}",
            hint=f"set password_file, PGPASSWORD or ~/.pgpass ({settings_source})",
        )
    if found.admitted:
        return _AdmittedOnRetry(
            f"{where} cannot be used: {complaint}",
            hint="a server of this DSN may take writes soon",
            again=True,
        )
    return DatabaseUnavailable(
        f"{where} cannot be reached: {complaint}",
        hint=f"is the server up? check host and port ({settings_source})",
    )


def connect_within(target: Target | str, timeout_s: float) -> Connection:
    """Connect as `connect` does; while the server has no connection left, retry for `timeout_s` seconds."""
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            return connect(target, timeout_s=max(0.0, deadline - time.monotonic()))
        except ServerFull:
            left = deadline - time.monotonic()
            if left <= 0:
                raise
            time.sleep(min(RETRY_S, left))
