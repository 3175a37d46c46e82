"""Turns errors of psycopg during queries into omnicdc errors. Connection errors: see `connect`."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import psycopg
from psycopg import errors as pg

from omnicdc.db.connection import role_of
from omnicdc.errors import DatabaseUnavailable, OmnicdcError, SchemaMismatch

if TYPE_CHECKING:
    from collections.abc import Iterator

_NOT_INSTALLED = (pg.UndefinedTable, pg.UndefinedFunction, pg.InvalidSchemaName, pg.UndefinedColumn)

_IDLE_IN_TRANSACTION = "25P03"


def ended_idle(exc: OmnicdcError) -> bool:
    """Whether the server ended the session because it did nothing for too long within a transaction."""
    return exc.context.get("sqlstate") == _IDLE_IN_TRANSACTION


def canceled_remedy(exc: psycopg.Error) -> str:
    """Return the remedy for a statement that the server canceled."""
    return (
        "somebody canceled it, or the server does not get on with it, or the statement_timeout of the role "
        "or the database is too short: "
        f"`alter role {role_of(exc)} set statement_timeout = '5min'`"
    )


def read_only_remedy(role: str) -> str:
    """Return the remedy for a role that may only read; `role` is quoted for SQL if necessary.

    The statement works where the database's own default is read-only too.
    """
    return (
        f"`begin read write; alter role {role} set default_transaction_read_only = off; commit` in psql, "
        "or wait until the server's maintenance ends"
    )


_OR_DAEMON = " (omnicdc_daemon for a registry host's daemon)"


@contextmanager
def translated(doing: str, *, role: str = "") -> Iterator[None]:
    """Turn psycopg's errors in the `with` block into omnicdc errors.

    `doing` says what the block does; each message begins with it. `role` is the role whose rights the block
    needs; a hint names it. Without it, a client's rights are enough, and the daemon has them as well. Raises
    SchemaMismatch for a missing right or a missing object of the database, DatabaseUnavailable if a retry may
    help, and OmnicdcError otherwise.
    """
    try:
        yield
    except pg.InsufficientPrivilege as exc:
        raise SchemaMismatch(
            f"{doing}: {first_line(exc)}",
            hint=f"`grant {role or 'omnicdc_client'} to {role_of(exc)}`{'' if role else _OR_DAEMON}; "
            "`omnicdc install` as the table's owner renews the grants",
        ) from exc
    except _NOT_INSTALLED as exc:
        raise SchemaMismatch(f"{doing}: {first_line(exc)}", hint="run `omnicdc install`") from exc
    except pg.QueryCanceled as exc:
        raise DatabaseUnavailable(
            f"{doing}: {first_line(exc)}", hint=canceled_remedy(exc), again=True, sqlstate=exc.sqlstate
        ) from exc
    except pg.ReadOnlySqlTransaction as exc:
        # After a failover, the connection may still lead to a server that has become read-only.
        raise DatabaseUnavailable(
            f"{doing}: {first_line(exc)}",
            hint="is this a standby? then name all servers in the DSN (host=a,b); else "
            f"{read_only_remedy(role_of(exc))}",
            again=True,
            sqlstate=exc.sqlstate,
        ) from exc
    except (psycopg.OperationalError, psycopg.InterfaceError) as exc:
        context = {"sqlstate": exc.sqlstate} if exc.sqlstate else {}
        raise DatabaseUnavailable(f"{doing}: {first_line(exc)}", again=True, **context) from exc
    except psycopg.Error as exc:
        raise OmnicdcError(f"{doing}: {first_line(exc)}", sqlstate=exc.sqlstate) from exc


def first_line(exc: BaseException) -> str:
    """Return the first line of psycopg's message, without the prefixes that psycopg adds to libpq's text."""
    line = str(exc).strip().split("\n", 1)[0]
    return line.removeprefix("connection is bad: ").removeprefix("connection failed: ")


def with_detail(exc: psycopg.Error) -> str:
    """Return the first line of PostgreSQL's message, with its DETAIL: which key, or which row."""
    detail = " ".join((exc.diag.message_detail or "").split())
    return f"{first_line(exc)}: {detail.removesuffix('.')}" if detail else first_line(exc)
