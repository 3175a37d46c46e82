"""Reads the rows that a scanner asks CMP for. If PostgreSQL cannot return one row, the others are read.

Such a row holds json that the server cannot decode, bytes that are no text, or lies on a lost page. `scan`
says what is read when.
"""

from __future__ import annotations

import re
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING

import psycopg
from psycopg import errors as pg
from psycopg import sql as pgsql
from psycopg.rows import tuple_row

from omnicdc import db
from omnicdc.db.connection import role_of
from omnicdc.errors import ConfigError, Interrupted, RegistryError
from omnicdc.model import ALL

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from omnicdc.db import Connection
    from omnicdc.registries.scanners import Row, Scanner
    from omnicdc.stop import Stop

ROWS = 2000
"""How many a full scan fetches at once."""

MOST_UNREADABLE = 100
"""Finding one unreadable row takes about twelve statements. If there are more, another fault is the cause."""

NOT_AS_EXPECTED = (
    psycopg.ProgrammingError, psycopg.DataError, psycopg.NotSupportedError,
    psycopg.InternalError, pg.ProgramLimitExceeded, pg.StatementTooComplex,
)  # fmt: skip
"""What PostgreSQL answers if CMP's table is not what a scanner reads, or holds a row that cannot be read."""

_OF_THE_TABLE = {"42", "0A", "3F", "57"}
"""Classes of SQLSTATE that mean a fault of the whole table, not of one row: a column, table, function or
right is missing, or it took too long."""

STATEMENT_TIMEOUT = "45s"
"""For one statement. Longer than the lock time-out; three of them are shorter than the watchdog's limit."""

_IDENTIFIER = r'(?:"((?:[^"]|"")+)"|([A-Za-z_\u0080-\uffff][\w$]*))'
_TABLE = re.compile(rf"(?:{_IDENTIFIER}\.)?{_IDENTIFIER}")


def select(conn: Connection, scanner: Scanner, table: str, ids: Collection[str] | None) -> list[Row]:
    """Run a scanner's SELECT, for all projects or for some.

    Raises RegistryError if CMP's table is not what the scanner expects.
    """
    query = statement(scanner, table, targeted=ids is not ALL)
    # A savepoint inside a reading: a scanner that fails must not end the snapshot of the others.
    with explained(conn, scanner, table), conn.transaction(), conn.cursor(row_factory=tuple_row) as cursor:
        limit(conn)
        return cursor.execute(query, None if ids is ALL else [list(ids)]).fetchall()


def readable(
    conn: Connection, scanner: Scanner, table: str, ids: Collection[str] | None
) -> tuple[list[Row], dict[str, str]]:
    """Do as `select`, and return the reason for each project whose row PostgreSQL cannot give.

    The other rows are returned. Raises RegistryError as `select`, and if there are too many of them.
    """
    try:
        return select(conn, scanner, table, ids), {}
    except RegistryError as exc:
        if not of_a_row(exc):
            raise
    unreadable: dict[str, str] = {}
    return list(search(conn, scanner, table, ids, unreadable)), unreadable


def of_a_row(exc: RegistryError) -> bool:
    """Whether a single row may be to blame."""
    cause = exc.__cause__
    return isinstance(cause, psycopg.Error) and (cause.sqlstate or "42")[:2] not in _OF_THE_TABLE


def search(
    conn: Connection,
    scanner: Scanner,
    table: str,
    ids: Collection[str] | None,
    unreadable: dict[str, str],
    *,
    stop: Stop | None = None,
) -> Iterator[Row]:
    """Return the rows that can be read, and note the others in `unreadable`, which is complete at the end.

    They are found by halves. Raises RegistryError, or Interrupted if a stop is asked for.
    """
    left = [sorted(_ids(conn, scanner, table) if ids is ALL else ids)]
    while left:
        if stop and stop.requested:
            raise Interrupted("stopped in the middle of a full scan")
        some = left.pop()
        try:
            if len(some) <= ROWS:
                yield from select(conn, scanner, table, some)
                continue
        except RegistryError as exc:
            if not of_a_row(exc):
                raise
            if len(some) == 1:
                unreadable[some[0]] = f"{type(exc.__cause__).__name__}: {_first_line(exc.__cause__)}"
                if len(unreadable) > MOST_UNREADABLE:
                    told = f"{exc.message} (project {some[0]}, as more than {MOST_UNREADABLE} others)"
                    raise RegistryError(told, hint=exc.hint) from exc
                continue
        left += some[: len(some) // 2], some[len(some) // 2 :]


@contextmanager
def explained(conn: Connection, scanner: Scanner, table: str) -> Iterator[None]:
    """Turn what PostgreSQL answers to a scanner's SELECT into RegistryError."""
    try:
        yield
    except NOT_AS_EXPECTED as exc:
        hint = "put the column or table back, or upgrade omnicdc to a version that reads CMP as it is now"
        if isinstance(exc, pg.InsufficientPrivilege):
            hint = _permission(conn, table)
        raise RegistryError(f"CMP cannot be read for {scanner.name}: {_first_line(exc)}", hint=hint) from exc
    except pg.QueryCanceled as exc:
        raise too_slow(exc) from exc


def limit(conn: Connection, timeout: str = STATEMENT_TIMEOUT, *, local: bool = True) -> None:
    """Limit the duration of each statement, for this transaction or for the session.

    A limit that the role, the database or the DSN sets is kept.
    """
    db.execute(conn, "limit_statements", {"limit": timeout, "local": local})


def too_slow(exc: pg.QueryCanceled) -> RegistryError:
    """Explain a statement that was cut off."""
    return RegistryError(
        f"CMP cannot be read in time: {_first_line(exc)}",
        hint=f"look at the server; the limit is {STATEMENT_TIMEOUT}, unless `alter role {role_of(exc)} set "
        f"statement_timeout = '5min'` says otherwise",
    )


def _permission(conn: Connection, table: str) -> str:
    found = db.fetch_one(conn, "hidden", {"table": qualified(table).as_string(conn)})
    if found["hidden"]:
        return f"as a superuser: `{found['remedy']}`"
    return "run `omnicdc install` as the table's owner: it renews the grants"


@cache
def statement(scanner: Scanner, table: str, *, targeted: bool) -> pgsql.Composed:
    """Return a scanner's SELECT; the targeted form is the same, wrapped.

    PostgreSQL pushes the condition down.
    """
    query = pgsql.SQL(scanner.query).format(table=qualified(table))
    return (
        pgsql.SQL("select * from ({}) s where s.id = any (%s::uuid[])").format(query) if targeted else query
    )


def located(conn: Connection, table: str) -> str:
    """Return a table's full name, found by the search_path of whoever connects; as given if there is none."""
    with db.translated("looking for CMP's table"):
        found: str | None = db.fetch_one(conn, "resolve", {"table": qualified(table).as_string(conn)})[
            "target"
        ]
    return found or table


def qualified(table: str) -> pgsql.Identifier:
    """Return NAME or SCHEMA.NAME, with or without quotes, as an identifier; raises ConfigError."""
    found = _TABLE.fullmatch(table)
    if not found:
        raise ConfigError(f"not a table's name: {table}", hint="--table NAME or --table SCHEMA.NAME")
    schema_quoted, schema, name_quoted, name = found.groups()
    parts = [_unquoted(schema_quoted, schema), _unquoted(name_quoted, name)]
    return pgsql.Identifier(*(part for part in parts if part))


def _unquoted(quoted: str | None, plain: str | None) -> str | None:
    """PostgreSQL folds what is not quoted to lower case."""
    return quoted.replace('""', '"') if quoted else plain and plain.lower()


def _ids(conn: Connection, scanner: Scanner, table: str) -> list[str]:
    with explained(conn, scanner, table), conn.transaction(), conn.cursor(row_factory=tuple_row) as cursor:
        limit(conn)
        query = pgsql.SQL("select id from {table}").format(table=qualified(table))
        return [project for (project,) in cursor.execute(query)]


def _first_line(exc: BaseException | None) -> str:
    return str(exc).split("\n", 1)[0]
