"""Finds the tables of the sources: which table of CMP each source is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from psycopg import sql as pgsql

from omnicdc import db
from omnicdc.config.readers import table_parts
from omnicdc.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from omnicdc.config.settings import Config
    from omnicdc.registries.scanner import Scanner

Tables = dict[str, str]
"""Source to the full name of its table."""

NAME_IT = "is it this database (--dsn)? has the table another name: `tables: {SOURCE: SCHEMA.NAME}`"
"""What to do where a source's table is not the right one."""


def find_tables(conn: db.Connection, config: Config, scanners: Iterable[Scanner]) -> Tables:
    """Return source to the full name of its table, found by the connection's search_path.

    A table that does not exist keeps its name as it was written: the query that reads it reports the error.
    A source that CMP may lack, and lacks, is left out.
    """
    found: Tables = {}
    with db.translated("looking for CMP's tables"):
        for scanner in scanners:
            for source in scanner.sources:
                name = config.table_of(source)
                if source in found or (not name and (scanner.optional or not scanner.builtin)):
                    continue
                full_name = resolve(conn, name)
                if full_name or not is_optional(scanner, source, config):
                    found[source] = full_name or name
    return found


def is_optional(scanner: Scanner, source: str, config: Config) -> bool:
    """Whether CMP may lack a table of the scanner: the scanner allows it, and no setting names the table."""
    return scanner.optional and not dict(config.tables).get(source)


def resolve(conn: db.Connection, table: str) -> str | None:
    """Return a table's full name, found by the connection's search_path.

    None if there is no such table, and if the role may not use its schema: see `is_closed`.
    """
    if is_closed(conn, table):
        return None
    found: str | None = db.fetch_one(conn, "resolve", {"table": qualified(table).as_string(conn)})["target"]
    return found


def is_closed(conn: db.Connection, table: str) -> bool:
    """Return True if the name has a schema that the connection's role may not use."""
    *schema, _ = name_parts(table)
    found = db.fetch_optional(conn, "schema_is_closed", {"schema": schema[0]}) if schema else None
    return bool(found and found["closed"])


def used(scanners: Mapping[str, Scanner], tables: Tables) -> dict[str, Scanner]:
    """Return the scanners whose tables CMP has."""
    return {name: scanner for name, scanner in scanners.items() if tables.keys() >= {*scanner.sources}}


def qualified(table: str) -> pgsql.Identifier:
    """Turn NAME or SCHEMA.NAME, with or without quotes, into an identifier. Else raise ConfigError."""
    return pgsql.Identifier(*name_parts(table))


def name_parts(table: str) -> list[str]:
    """Return the parts of NAME or SCHEMA.NAME, as PostgreSQL has them. Else raise ConfigError."""
    try:
        return table_parts(table)
    except ValueError as exc:
        raise ConfigError(str(exc), hint=NAME_IT) from exc
