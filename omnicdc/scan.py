"""Runs the scanners' SELECTs in the snapshot of a reading, and has the registries render what they give."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import psycopg
from psycopg import sql as pgsql
from psycopg.rows import tuple_row

from omnicdc.errors import ConfigError, Interrupted, RegistryError
from omnicdc.model import EVERYTHING, Fault

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator

    from omnicdc.capture import Reading
    from omnicdc.db import Connection
    from omnicdc.model import Work
    from omnicdc.scanners import Row, Scanner
    from omnicdc.state import Standing, State
    from omnicdc.stop import Stop

BULK = 1000
"""From here on a batch that names a quarter of a registry is a full scan: replacing an entry in its block costs
about ten times what building it into a new one does (34 to 3 microseconds among 100,000)."""

_IDENTIFIER = r'(?:"((?:[^"]|"")+)"|([A-Za-z_\u0080-\uffff][\w$]*))'
_TABLE = re.compile(rf"(?:{_IDENTIFIER}\.)?{_IDENTIFIER}")


def scan(reading: Reading, work: Work, state: State, observe: Callable[[str], None]) -> None:
    """Bring the registries up to the reading's snapshot; one that cannot be scanned is held, the others go on.

    `observe` is told `scanned NAME` after each.
    """
    for name, standing in state.standings.items():
        if name not in work:
            continue
        # What failed before may have missed more than this change: then these ids are not enough.
        wanted = EVERYTHING if standing.scan_due else work[name]
        try:
            changed = look(reading.conn, standing, state.config.table, wanted, state.stop)
        except RegistryError as exc:
            standing.hold(Fault(exc.message, exc.hint))
            standing.scan_due = True
            continue
        standing.scan_due = False
        standing.pending |= changed
        state.rescan.pop(name, None)
        observe(f"scanned {name}")


def look(conn: Connection, standing: Standing, table: str, ids: Collection[str] | None, stop: Stop) -> bool:
    """Have one registry take what CMP now holds of these projects; returns whether it may differ.

    Raises RegistryError, or Interrupted if a stop is asked for in the middle of a full scan.
    """
    registry = standing.registry
    if ids is not EVERYTHING and len(ids) > BULK and 4 * len(ids) > len(registry.document):
        ids = EVERYTHING
    rows = select(conn, registry.scanner, table, ids)
    if ids is EVERYTHING:
        registry.rebuild(_until(stop, rows))
        return True
    return registry.update(ids, rows)


def select(conn: Connection, scanner: Scanner, table: str, ids: Collection[str] | None) -> list[Row]:
    """Run a scanner's SELECT, for all projects or for some.

    The targeted form is the same SELECT, wrapped: PostgreSQL pushes the condition down. Raises
    RegistryError if CMP's table is not what the scanner expects.
    """
    query = pgsql.SQL(scanner.query).format(table=qualified(table))
    if ids is not EVERYTHING:
        query = pgsql.SQL("select * from ({}) s where s.id = any (%s::uuid[])").format(query)
    try:
        # A savepoint inside a reading: a scanner that fails must not end the snapshot of the others.
        with conn.transaction(), conn.cursor(row_factory=tuple_row) as cursor:
            return cursor.execute(query, None if ids is EVERYTHING else [list(ids)]).fetchall()
    except (psycopg.ProgrammingError, psycopg.DataError, psycopg.NotSupportedError) as exc:
        reason = str(exc).split("\n", 1)[0]
        hint = "put the column or table back, or upgrade omnicdc to a version that reads CMP as it is now"
        if isinstance(exc, psycopg.errors.InsufficientPrivilege):
            hint = "run `omnicdc install` as the table's owner: it renews the grants"
        raise RegistryError(f"CMP cannot be read for {scanner.name}: {reason}", hint=hint) from exc


def _until(stop: Stop, rows: Iterable[Row]) -> Iterator[Row]:
    for row in rows:
        if stop.requested:
            raise Interrupted("stopped in the middle of a full scan")
        yield row


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
