"""Tries the query of each registry in CMP, without reading a row."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from omnicdc import db
from omnicdc.errors import RegistryError
from omnicdc.registries.functions import function_fault
from omnicdc.registries.rows import select
from omnicdc.registries.tables import find_tables, qualified, used

if TYPE_CHECKING:
    from collections.abc import Mapping

    from omnicdc.config.settings import Config
    from omnicdc.registries.scanner import Scanner
    from omnicdc.registries.tables import Tables


@dataclass(frozen=True, slots=True)
class Trial:
    """What the queries showed."""

    faults: Mapping[str, str] = field(default_factory=dict)
    """Scanner to its fault."""
    full: frozenset[str] = frozenset()
    """The scanners whose first column is not the key by which changes are logged: each change scans
    everything."""


def try_queries(conn: db.Connection, config: Config, scanners: Mapping[str, Scanner]) -> Trial:
    """Run each query without reading a row. Raises DatabaseUnavailable and SchemaMismatch."""
    faults: dict[str, str] = {}
    full: set[str] = set()
    tables = find_tables(conn, config, scanners.values())
    with db.one_snapshot(conn):
        for name, scanner in used(scanners, tables).items():
            try:
                select(conn, scanner, tables, ())
            except RegistryError as exc:
                faults[name] = str(exc)
                continue
            if fault := function_fault(conn, scanner.functions):
                faults[name] = f"{fault.reason} - {fault.hint}"
            if not scanner.builtin:
                uncaptured, is_full = _capture(conn, scanner, tables)
                full |= {name} if is_full else set()
                faults |= {name: uncaptured} if uncaptured else {}
    return Trial(faults, frozenset(full))


def _capture(conn: db.Connection, scanner: Scanner, tables: Tables) -> tuple[str, bool]:
    """Return why a table of a scanner cannot be captured, and whether each change scans everything."""
    full = False
    for source in scanner.sources:
        name = tables[source]
        facts = db.fetch_one(conn, "table_facts", {"table": qualified(name).as_string(conn)})
        if not facts["ordinary"]:
            return f"{name} is no table: read the tables that it consists of", full
        if not facts["keyed"]:
            return f"table {name} has no primary key - `alter table {name} add primary key (COLUMN)`", full
        if facts["secured"]:
            return f"table {name} has row-level security, which may hide rows: read another table", full
        if twin := next((it for it, table in tables.items() if table == name and it != source), None):
            return f"{source} and {twin} are the same table, {name}: use one name in all queries", full
        full |= source == scanner.source and facts["key_column"] != scanner.main_column
    return "", full
