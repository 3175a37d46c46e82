"""Runs the scanners' SELECTs in the snapshot of a reading, and has the registries render what they give."""

from __future__ import annotations

import re
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING

import psycopg
from psycopg import sql as pgsql
from psycopg.rows import tuple_row

from omnicdc.errors import ConfigError, Interrupted, RegistryError
from omnicdc.garbage import uncollected
from omnicdc.model import EVERYTHING, Fault

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping

    from psycopg import ServerCursor

    from omnicdc.capture import Reading
    from omnicdc.db import Connection
    from omnicdc.model import Ids, Work
    from omnicdc.scanners import Row, Scanner
    from omnicdc.stages import Stages
    from omnicdc.state import Standing, State
    from omnicdc.stop import Stop

BULK = 1000
"""From here on a batch that names a third of a registry is a full scan, which costs a third as much an entry: 2,500
of 10,000 projects renamed took 107 ms by themselves, all 10,000 took 137."""

ROWS = 2000
"""How many a full scan fetches at once."""

_NOT_AS_EXPECTED = (psycopg.ProgrammingError, psycopg.DataError, psycopg.NotSupportedError)
"""What PostgreSQL answers if CMP's table is not what a scanner reads."""

_IDENTIFIER = r'(?:"((?:[^"]|"")+)"|([A-Za-z_\u0080-\uffff][\w$]*))'
_TABLE = re.compile(rf"(?:{_IDENTIFIER}\.)?{_IDENTIFIER}")


def scan(reading: Reading, work: Work, state: State, stages: Stages, observe: Callable[[str], None]) -> None:
    """Bring the registries up to the reading's snapshot; one that cannot be scanned is held, the others go on.

    `observe` is told `scanned NAME` after each.
    """
    conn, table = reading.conn, state.config.table
    wanted = {name: _wanted(state.standings[name], work[name]) for name in state.standings if name in work}
    with stages("scan"):
        found = _together(conn, state, {name: ids for name, ids in wanted.items() if ids is not EVERYTHING})
    for name, ids in wanted.items():
        standing = state.standings[name]
        try:
            if ids is EVERYTHING:
                _rebuild(conn, standing, table, state.stop, stages)
            else:
                if name not in found:
                    with stages("scan"):
                        found[name] = select(conn, standing.registry.scanner, table, ids)
                with stages("render"):
                    standing.pending |= standing.registry.update(ids, found.pop(name))
        except RegistryError as exc:
            standing.hold(Fault(exc.message, exc.hint))
            standing.scan_due = True
            continue
        standing.scan_due = False
        state.rescan.pop(name, None)
        observe(f"scanned {name}")


def _wanted(standing: Standing, ids: Ids) -> Ids:
    """Return which projects to look at, for those that a change named."""
    # What failed before may have missed more than this change: then these ids are not enough.
    if ids is EVERYTHING or standing.scan_due:
        return EVERYTHING
    return ids if len(ids) <= _most(standing) else EVERYTHING


def most_by_name(state: State) -> int:
    """Return how many projects a change may concern to be looked at by name; beyond, everything is."""
    return max(map(_most, state.standings.values()))


def _most(standing: Standing) -> int:
    return max(BULK, len(standing.registry.document) // 3)


def _together(conn: Connection, state: State, wanted: Mapping[str, frozenset[str]]) -> dict[str, list[Row]]:
    """Run the targeted SELECTs in one round trip; nothing if one of them fails: then each is tried by itself."""
    if not wanted:
        return {}
    cursors = {}
    try:
        with conn.pipeline():
            conn.execute("savepoint scan")
            for name, ids in wanted.items():
                query = _statement(state.standings[name].registry.scanner, state.config.table, targeted=True)
                cursors[name] = conn.cursor(row_factory=tuple_row).execute(query, [list(ids)])
            conn.execute("release scan")
    except _NOT_AS_EXPECTED:
        conn.execute("rollback to scan")
        return {}
    return {name: cursor.fetchall() for name, cursor in cursors.items()}


def _rebuild(conn: Connection, standing: Standing, table: str, stop: Stop, stages: Stages) -> None:
    """Have a registry start over from all of CMP, row by row, rendered as they come.

    Raises RegistryError, or Interrupted if a stop is asked for.
    """
    scanner = standing.registry.scanner
    query = _statement(scanner, table, targeted=False)
    with (
        stages("render"),
        _explained(scanner),
        uncollected(freeze=True),
        conn.transaction(),
        # A cursor on the server: what is not rendered yet need not be held here as well.
        conn.cursor("omnicdc_scan", row_factory=tuple_row) as cursor,
    ):
        cursor.execute(query)
        standing.registry.rebuild(_fetched(cursor, stop, stages))
    standing.pending = True


def select(conn: Connection, scanner: Scanner, table: str, ids: Collection[str] | None) -> list[Row]:
    """Run a scanner's SELECT, for all projects or for some.

    Raises RegistryError if CMP's table is not what the scanner expects.
    """
    query = _statement(scanner, table, targeted=ids is not EVERYTHING)
    # A savepoint inside a reading: a scanner that fails must not end the snapshot of the others.
    with _explained(scanner), conn.transaction(), conn.cursor(row_factory=tuple_row) as cursor:
        return cursor.execute(query, None if ids is EVERYTHING else [list(ids)]).fetchall()


@contextmanager
def _explained(scanner: Scanner) -> Iterator[None]:
    try:
        yield
    except _NOT_AS_EXPECTED as exc:
        reason = str(exc).split("\n", 1)[0]
        hint = "put the column or table back, or upgrade omnicdc to a version that reads CMP as it is now"
        if isinstance(exc, psycopg.errors.InsufficientPrivilege):
            hint = "run `omnicdc install` as the table's owner: it renews the grants"
        raise RegistryError(f"CMP cannot be read for {scanner.name}: {reason}", hint=hint) from exc


@cache
def _statement(scanner: Scanner, table: str, *, targeted: bool) -> pgsql.Composed:
    """Return a scanner's SELECT; the targeted form is the same, wrapped: PostgreSQL pushes the condition down."""
    query = pgsql.SQL(scanner.query).format(table=qualified(table))
    return (
        pgsql.SQL("select * from ({}) s where s.id = any (%s::uuid[])").format(query) if targeted else query
    )


def _fetched(cursor: ServerCursor[Row], stop: Stop, stages: Stages) -> Iterator[Row]:
    while True:
        if stop.requested:
            raise Interrupted("stopped in the middle of a full scan")
        with stages("scan"):
            rows = cursor.fetchmany(ROWS)
        if not rows:
            return
        yield from rows


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
