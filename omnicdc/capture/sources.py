"""Finds which registries this daemon serves: those whose tables CMP has, and the capture watches."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING

from omnicdc.capture.fingerprint import captured_fields, installed_sources
from omnicdc.capture.watch_list import Watch, derive
from omnicdc.errors import ConfigError
from omnicdc.model import Fault
from omnicdc.registries.catalog import registries
from omnicdc.registries.functions import function_fault
from omnicdc.registries.tables import is_closed, is_optional, resolve

if TYPE_CHECKING:
    from collections.abc import Mapping

    from omnicdc import db
    from omnicdc.config.settings import Config
    from omnicdc.registries.scanner import Scanner
    from omnicdc.registries.tables import Tables

INSTALL = "run `omnicdc install` as the owner of the table"


@dataclass(frozen=True, slots=True)
class Sources:
    """The registries of this daemon, and what they read."""

    tables: Tables
    scanners: Mapping[str, Scanner]
    """The scanners that are served, in the order of publication."""
    broken: Mapping[str, Fault]
    """Those of them that cannot be scanned, each with the reason. Their registries are held."""
    unused: Mapping[str, Fault]
    """The registries that are not published, because CMP may lack their table, each with the reason."""
    watch: Watch


def check_sources(conn: db.Connection, config: Config, tables: Tables) -> Sources:
    """Compare what the registries read with what the capture watches.

    Raises ConfigError for a table of omnicdc's own registries that does not exist or is not watched, and
    SchemaMismatch if no table is watched.
    """
    captured = installed_sources(conn)
    served: dict[str, Scanner] = {}
    broken, unused = {}, {}
    for name, scanner in registries(config).items():
        faults = {source: _table_fault(conn, config, tables, captured, source) for source in scanner.sources}
        found = {source: fault for source, fault in faults.items() if fault is not None}
        if found and all(is_optional(scanner, source, config) for source in found):
            unused[scanner.registry] = next(iter(found.values()))
            continue
        served[name] = scanner
        if scanner.builtin and not scanner.optional:
            for fault in found.values():
                raise ConfigError(fault.reason, hint=fault.hint)
            continue
        if (
            broken_by := next(iter(found.values()), None) or function_fault(conn, scanner.functions)
        ) is not None:
            broken[name] = broken_by
        elif captured[scanner.source]["key_column"] != scanner.main_column:
            served[name] = copy.copy(scanner)
            served[name].targeted = False
    watch = derive(served.values())
    watched = {source: captured_fields(row) for source, row in captured.items()}
    for name, scanner in served.items():
        if not scanner.builtin and name not in broken and (lacking := _lacking(watch, name, watched)):
            broken[name] = lacking
    return Sources(tables, served, broken, unused, watch.limited(watched, broken))


def _lacking(watch: Watch, name: str, watched: Mapping[str, frozenset[str]]) -> Fault | None:
    """Return the fault of a declared registry that reads what the capture does not watch; else None."""
    lacking = [
        f"{source}.{field}"
        for source, fields in watch.by_scanner[name].items()
        for field in sorted(fields)
        if field not in watched[source]
    ]
    return Fault(f"the capture does not watch {', '.join(lacking)}", INSTALL) if lacking else None


def _not_found(conn: db.Connection, table: str, named: str) -> Fault:
    if is_closed(conn, table):
        return Fault(f"{conn.info.user} has no right to the schema of table {table}", INSTALL)
    return Fault(
        f"table {table} does not exist in database {conn.info.dbname}",
        f"is it this database (--dsn)? has the table another name: {named}",
    )


def _table_fault(
    conn: db.Connection, config: Config, tables: Tables, captured: Mapping[str, db.Row], source: str
) -> Fault | None:
    """Return why a source cannot be served; None if it can."""
    named = f"`tables: {{{source}: NAME}}`"
    if not config.table_of(source):
        return Fault(f"no table is configured as {source}", f"set {named}")
    if source not in tables:
        return Fault(
            f"CMP has no table {source}", f"if it has another name: set {named}, run `omnicdc install`"
        )
    table = tables[source]
    if resolve(conn, table) is None:
        return _not_found(conn, table, named)
    if source not in captured:
        return Fault(f"table {table} is not watched", INSTALL)
    if captured[source]["target"] != table:
        return Fault(
            f"table {table} is not watched, {captured[source]['target']} is",
            f"run `omnicdc install` where `tables: {{{source}: {table}}}` is set, or set it as there",
        )
    return None
