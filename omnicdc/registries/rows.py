"""Reads the rows of a scanner's SELECT. If PostgreSQL cannot return one row, the other rows are read.

Such a row contains json that the server cannot decode, or bytes that are not text, or its page is damaged.
`scan` decides what is read, and when.
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
from omnicdc.errors import Interrupted, RegistryError
from omnicdc.model import ALL
from omnicdc.registries.tables import NAME_IT, qualified

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

    from omnicdc.db import Connection
    from omnicdc.registries.scanners import Row, Scanner
    from omnicdc.registries.tables import Tables
    from omnicdc.stop import Stop

ROWS = 2000
"""Rows that a full scan fetches at once."""

_ESCAPED, _ESCAPE = re.compile(r'(["\\])'), r"\\\1"
"""What must be escaped in the text of an array, and how."""

GRANT = "run `omnicdc install` as the table's owner: it renews the grants"

MOST_UNREADABLE = 100
"""Finding one unreadable row takes about twelve statements. If there are more, another fault is the cause."""

NOT_AS_EXPECTED = (
    psycopg.ProgrammingError, psycopg.DataError, psycopg.NotSupportedError,
    psycopg.InternalError, pg.ProgramLimitExceeded, pg.StatementTooComplex,
)  # fmt: skip
"""Errors of PostgreSQL if CMP's table is not as the scanner expects it, or has a row that cannot be read."""

_TABLE_FAULTS = {"42", "0A", "3F", "57"}
"""Classes of SQLSTATE that mean a fault of the whole table, not of one row: a column, table, function or
right is missing, or it took too long."""

STATEMENT_TIMEOUT = "45s"
"""Limit for one statement. It is longer than the lock time-out, and three of it are shorter than the
watchdog's limit."""


def select(conn: Connection, scanner: Scanner, tables: Tables, ids: Collection[str] | None) -> list[Row]:
    """Run a scanner's SELECT, for all projects or for some.

    Raises RegistryError if CMP's table is not what the scanner expects.
    """
    targeted = ids is not ALL and scanner.targeted
    query = statement(scanner, tables, targeted=targeted)
    # Inside a reading, the transaction is a savepoint: if this scanner fails, the others keep their snapshot.
    with (
        select_errors(conn, scanner, tables, query),
        conn.transaction(),
        conn.cursor(row_factory=tuple_row) as cursor,
    ):
        limit(conn)
        found: list[Row] = cursor.execute(
            query, [keys(ids)] if targeted and ids is not ALL else ()
        ).fetchall()
    return found if targeted or ids is ALL else [row for row in found if row[0] in ids]


def rows_of_key(
    conn: Connection, scanner: Scanner, tables: Tables, key: str
) -> tuple[list[Row], dict[str, str]]:
    """As `readable`, for one key that may be of another type than the scanner's: then it has no rows."""
    if scanner.builtin or not scanner.targeted:
        return readable(conn, scanner, tables, [key])
    by_text = pgsql.SQL("select * from ({}) t where t.{} = %s").format(
        statement(scanner, tables, targeted=False), pgsql.Identifier(scanner.output)
    )
    try:
        with (
            select_errors(conn, scanner, tables),
            conn.transaction(),
            conn.cursor(row_factory=tuple_row) as cursor,
        ):
            limit(conn)
            return cursor.execute(by_text, [key]).fetchall(), {}
    except RegistryError as exc:
        if not may_be_one_row(exc):
            raise
    return readable(conn, scanner, tables, [key])


def readable(
    conn: Connection, scanner: Scanner, tables: Tables, ids: Collection[str] | None
) -> tuple[list[Row], dict[str, str]]:
    """As `select`, but also return {project: reason} for the rows that PostgreSQL cannot return.

    Raises RegistryError as `select` does, and if there are too many such rows.
    """
    try:
        return select(conn, scanner, tables, ids), {}
    except RegistryError as exc:
        if not (may_be_one_row(exc) and scanner.targeted):
            raise
    unreadable: dict[str, str] = {}
    return list(search(conn, scanner, tables, ids, unreadable)), unreadable


def may_be_one_row(exc: RegistryError) -> bool:
    """Return True if the cause may be a single row."""
    cause = exc.__cause__
    return isinstance(cause, psycopg.Error) and (cause.sqlstate or "42")[:2] not in _TABLE_FAULTS


def search(
    conn: Connection,
    scanner: Scanner,
    tables: Tables,
    ids: Collection[str] | None,
    unreadable: dict[str, str],
    *,
    stop: Stop | None = None,
) -> Iterator[Row]:
    """Yield the rows that can be read. Add the others to `unreadable`, which is complete after the last row.

    This divides the projects in halves until one row is left. Raises RegistryError, or Interrupted if a stop
    is requested.
    """
    left = [sorted(_ids(conn, scanner, tables) if ids is ALL else ids)]
    while left:
        if stop and stop.requested:
            raise Interrupted("stopped in the middle of a full scan")
        some = left.pop()
        try:
            if len(some) <= ROWS:
                yield from select(conn, scanner, tables, some)
                continue
        except RegistryError as exc:
            if not may_be_one_row(exc):
                raise
            if len(some) == 1:
                unreadable[some[0]] = f"{type(exc.__cause__).__name__}: {_first_line(exc.__cause__)}"
                if len(unreadable) > MOST_UNREADABLE:
                    told = f"{exc.message} (project {some[0]}, as more than {MOST_UNREADABLE} others)"
                    raise RegistryError(told, hint=exc.hint) from exc
                continue
        left += some[: len(some) // 2], some[len(some) // 2 :]


@contextmanager
def select_errors(
    conn: Connection, scanner: Scanner, tables: Tables, query: pgsql.Composed | None = None
) -> Iterator[None]:
    """Turn the errors of PostgreSQL in a scanner's SELECT into RegistryError.

    With `query`, which was sent, the message has the place in the query of a declared registry.
    """
    try:
        yield
    except NOT_AS_EXPECTED as exc:
        what = f"CMP cannot be read for {scanner.name}"
        if place := _place(conn, scanner, tables, query, exc):
            what = f"{place}: registry {scanner.name}"
        hint = _remedy(conn, scanner, tables, exc)
        raise RegistryError(f"{what}: {_first_line(exc)}", hint=hint) from exc
    except pg.QueryCanceled as exc:
        raise too_slow(exc) from exc


def _remedy(conn: Connection, scanner: Scanner, tables: Tables, exc: psycopg.Error) -> str:
    is_own = not scanner.place_in_query()
    match exc:
        case pg.InsufficientPrivilege():
            return _permission(conn, scanner, tables)
        case pg.UndefinedTable():
            first = "put the table back" if is_own else "fix the query"
            return f"{first}, or `grant usage on schema … to {role_of(exc)}`; {NAME_IT}"
        case _ if is_own:
            return "put the column or table back, or upgrade omnicdc to a version that reads CMP as it is now"
        case pg.UndefinedFunction():
            return "fix the query: it can use what is PostgreSQL's own"
        case pg.DataError():
            return "fix the query, or the row in CMP"
    return "fix the query, or put back what it reads"


def _place(
    conn: Connection, scanner: Scanner, tables: Tables, query: pgsql.Composed | None, exc: psycopg.Error
) -> str:
    """Return the place of an error in the query of a declared registry; empty text for any other."""
    if query is None or not exc.diag.statement_position:
        return scanner.place_in_query()
    sent, inner = (part.as_string(conn).replace("%%", "%") for part in (query, _inner(scanner, tables)))
    names = {source: qualified(table).as_string(conn) for source, table in tables.items()}
    return scanner.place_in_query(names, int(exc.diag.statement_position) - 1 - sent.index(inner))


def limit(conn: Connection, timeout: str = STATEMENT_TIMEOUT, *, local: bool = True) -> None:
    """Limit the duration of each statement, in this transaction (`local`) or in the database session.

    A limit that is set by the role, the database or the DSN is kept.
    """
    db.execute(conn, "limit_statements", {"limit": timeout, "local": local})


def too_slow(exc: pg.QueryCanceled) -> RegistryError:
    """Return the error for a statement that reached the time limit."""
    return RegistryError(
        f"CMP cannot be read in time: {_first_line(exc)}",
        hint=f"look at the server; the limit is {STATEMENT_TIMEOUT}, unless `alter role {role_of(exc)} set "
        f"statement_timeout = '5min'` says otherwise",
    )


def _permission(conn: Connection, scanner: Scanner, tables: Tables) -> str:
    table = qualified(tables[scanner.source]).as_string(conn)
    found = db.fetch_one(conn, "hidden", {"table": table})
    if found["hidden"]:
        return f"as a superuser: `{found['remedy']}`"
    return GRANT if scanner.builtin else f"{GRANT}; a client needs `omnicdc install --grant-clients`"


def statement(scanner: Scanner, tables: Tables, *, targeted: bool) -> pgsql.Composed:
    """Return a scanner's SELECT. The targeted form wraps it in a condition on the rows' keys (see `keys`).

    PostgreSQL moves the condition into the inner SELECT.
    """
    return _statement(
        scanner, tuple((source, tables[source]) for source in scanner.sources), targeted=targeted
    )


@cache
def _statement(scanner: Scanner, tables: tuple[tuple[str, str], ...], *, targeted: bool) -> pgsql.Composed:
    query = _inner(scanner, dict(tables))
    if scanner.builtin and not targeted:
        return query
    key = pgsql.Identifier(scanner.output)
    parts = [pgsql.SQL("select {} from ({}\n) s").format(_selected(scanner, key), query)]
    # An outer join may give rows without a row of the main table. They have no key.
    parts += [pgsql.SQL("where s.{} = any (%s)" if targeted else "where s.{} is not null").format(key)]
    if scanner.multiple:
        parts += [pgsql.SQL("order by s.{}::text collate {}").format(key, pgsql.Identifier("C"))]
    return pgsql.SQL(" ").join(parts)


def _selected(scanner: Scanner, key: pgsql.Identifier) -> pgsql.Composable:
    """Return what is selected of the scanner's query."""
    if not scanner.columns:
        return pgsql.SQL("*")
    values = (pgsql.SQL("to_json(s.{})::text").format(pgsql.Identifier(name)) for name in scanner.columns)
    return pgsql.SQL(", ").join([pgsql.SQL("s.{}::text as {}").format(key, key), *values])


def keys(ids: Iterable[str]) -> str:
    """Return keys as the text of an array, for the targeted form.

    The server reads it as an array of the key's own type, because a text has no type until then.
    """
    return "{" + ",".join(f'"{_ESCAPED.sub(_ESCAPE, each)}"' for each in ids) + "}"


def _inner(scanner: Scanner, tables: Tables) -> pgsql.Composed:
    names = {source: qualified(table) for source, table in tables.items()}
    return pgsql.SQL(scanner.query).format(**names)


def _ids(conn: Connection, scanner: Scanner, tables: Tables) -> list[str]:
    with (
        select_errors(conn, scanner, tables),
        conn.transaction(),
        conn.cursor(row_factory=tuple_row) as cursor,
    ):
        limit(conn)
        key = pgsql.Identifier(scanner.output)
        distinct = pgsql.SQL("select distinct s.{}::text from ({}\n) s where s.{} is not null")
        query = distinct.format(key, _inner(scanner, tables), key)
        return [project for (project,) in cursor.execute(query, ())]


def _first_line(exc: BaseException | None) -> str:
    return str(exc).split("\n", 1)[0]
