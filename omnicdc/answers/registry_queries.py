"""Tries the query of each registry in CMP, without reading a row."""

from __future__ import annotations

import os
import shutil
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from psycopg import errors as pg

from omnicdc import db
from omnicdc.errors import ConfigError, OmnicdcError, RegistryError
from omnicdc.registries.functions import function_fault
from omnicdc.registries.rows import select
from omnicdc.registries.tables import find_tables, qualified, resolve, used

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from omnicdc.config.settings import Config
    from omnicdc.registries.scanner import Scanner
    from omnicdc.registries.tables import Tables


SERVICE_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin"
"""Where systemd looks for the programs of a service; a user may look in fewer directories."""


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
            uncaptured, is_full = ("", False) if scanner.builtin else _capture(conn, scanner, tables)
            full |= {name} if is_full else set()
            if fault := uncaptured or _query_fault(conn, scanner, tables):
                faults[name] = fault
    return Trial(faults, frozenset(full))


@contextmanager
def naming_registries(conn: db.Connection, config: Config, scanners: Mapping[str, Scanner]) -> Iterator[None]:
    """Where declared registries are the cause of a ConfigError, raise one that names their lines instead."""
    try:
        yield
    except ConfigError as exc:
        if _lacks_right(exc):
            raise
        declared = {name: it for name, it in scanners.items() if it.place_in_query()}
        faults: Mapping[str, str] = {}
        with suppress(OmnicdcError):
            faults = try_queries(conn, config, declared).faults
        if faults:
            raise ConfigError("\n".join(faults.values())) from exc
        raise


def _lacks_right(exc: BaseException | None) -> bool:
    """Whether the cause is a right that the role lacks: then its queries would show nothing else."""
    return exc is not None and (isinstance(exc, pg.InsufficientPrivilege) or _lacks_right(exc.__cause__))


def untabled(config: Config, scanners: Mapping[str, Scanner]) -> dict[str, str]:
    """Return the declared registries that read a source of which the configuration says that CMP lacks it."""
    lacking = {source for source, table in config.tables if not table}
    return {
        name: f"{config.origins['tables']}: {source} has no table, but registry {name} reads it - "
        f"`tables: {{{source}: SCHEMA.NAME}}`, or remove the registry"
        for name, scanner in scanners.items()
        if not scanner.builtin
        for source in scanner.sources
        if source in lacking
    }


def programless(config: Config, scanners: Mapping[str, Scanner]) -> dict[str, str]:
    """Return the registries, and `on_publish`, whose command names a program that this host does not have."""
    commands = [("on_publish", config.origins.get("on_publish", ""), "on_publish", config.on_publish)]
    for name, scanner in scanners.items():
        place = f"{scanner.place_in_query()}: registry {name}"
        commands += [(name, place, "check", scanner.validator), (name, place, "on_publish", scanner.hook)]
    return {
        name: f"{place}: {setting} names a program that does not exist here: {command[0]}"
        for name, place, setting, command in commands
        if command and not _exists(command[0])
    }


def _exists(program: str) -> bool:
    if "/" in program:
        return os.path.exists(program)  # noqa: PTH110 - never raises
    return shutil.which(program, path=f"{os.environ.get('PATH', os.defpath)}:{SERVICE_PATH}") is not None


def _query_fault(conn: db.Connection, scanner: Scanner, tables: Tables) -> str:
    try:
        select(conn, scanner, tables, ())
    except RegistryError as exc:
        return str(exc)
    if fault := function_fault(conn, scanner.functions):
        return _located(scanner, f"{fault.reason} - {fault.hint}")
    return ""


def _located(scanner: Scanner, fault: str) -> str:
    place = scanner.place_in_query()
    return f"{place}: registry {scanner.name}: {fault}" if place else fault


def _capture(conn: db.Connection, scanner: Scanner, tables: Tables) -> tuple[str, bool]:
    """Return why a table of a scanner cannot be captured, and whether each change scans everything.

    The query reports a table that does not exist.
    """
    full = False
    for source in scanner.sources:
        name = tables[source]
        if not resolve(conn, name):
            continue
        facts = db.fetch_one(conn, "table_facts", {"table": qualified(name).as_string(conn)})
        if fault := _table_fault(name, facts):
            return _located(scanner, fault), full
        if twin := next((it for it, table in tables.items() if table == name and it != source), None):
            return _located(
                scanner, f"{source} and {twin} are the same table, {name}: use one name in all queries"
            ), full
        full |= source == scanner.source and facts["key_column"] != scanner.main_column
    return "", full


def _table_fault(name: str, facts: db.Row) -> str:
    """Return why a table cannot be a source; empty text if it can."""
    if not facts["ordinary"]:
        kind = "a view" if facts["view"] else "no table"
        return f"{name} is {kind}: a source must be a table with a primary key - read the tables behind it"
    if not facts["keyed"]:
        return f"table {name} has no primary key - `alter table {name} add primary key (COLUMN)`"
    if facts["secured"]:
        return f"table {name} has row-level security, which may hide rows: read another table"
    return ""
