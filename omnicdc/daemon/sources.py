"""Checks that the tables that this daemon scans are those that the capture watches."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from omnicdc.capture.fingerprint import installed_sources
from omnicdc.errors import ConfigError
from omnicdc.model import Fault
from omnicdc.registries.scanners import scanners
from omnicdc.registries.tables import is_optional, resolve

if TYPE_CHECKING:
    from collections.abc import Mapping

    from omnicdc import db
    from omnicdc.config.settings import Config
    from omnicdc.registries.scanner import Scanner
    from omnicdc.registries.tables import Tables


@dataclass(frozen=True, slots=True)
class Sources:
    """The sources of the registries: those that this daemon serves, and the others."""

    tables: Tables
    unused: Mapping[str, Fault]
    """Source to the reason why its registries are not published."""

    @property
    def scanners(self) -> Mapping[str, Scanner]:
        """The scanners whose source is served."""
        return {name: it for name, it in scanners().items() if it.source not in self.unused}

    @property
    def unused_registries(self) -> Mapping[str, Fault]:
        """Registry to the reason why it is not published."""
        every = scanners().values()
        return {it.registry: self.unused[it.source] for it in every if it.source in self.unused}


def check_sources(conn: db.Connection, config: Config, tables: Tables) -> Sources:
    """Check that the tables that this daemon scans are those that the capture watches.

    A source that CMP may lack is not served if its table does not exist or is not watched. Raises ConfigError
    for another such source, and SchemaMismatch if no table is watched.
    """
    captured = {name: row["target"] for name, row in installed_sources(conn).items()}
    unused = {}
    for scanner in scanners().values():
        fault = _table_fault(conn, config, tables, captured, scanner)
        if fault and not is_optional(scanner, config):
            raise ConfigError(fault.reason, hint=fault.hint)
        if fault:
            unused[scanner.source] = fault
    return Sources(tables, unused)


def _table_fault(
    conn: db.Connection, config: Config, tables: Tables, captured: Mapping[str, str], scanner: Scanner
) -> Fault | None:
    """Return why a scanner's table cannot be served; None if it can."""
    source = scanner.source
    if not config.table_of(source):
        return Fault(f"no table is configured as {source}", f"set `tables: {{{source}: NAME}}`")
    if source not in tables:
        return Fault(
            f"CMP has no table {source}",
            f"if it has another name: set `tables: {{{source}: NAME}}`, run `omnicdc install`",
        )
    table = tables[source]
    if resolve(conn, table) is None:
        return Fault(
            f"table {table} does not exist in database {conn.info.dbname}",
            f"is it this database? --dsn; has the table another name? `tables: {{{source}: NAME}}`",
        )
    if source not in captured:
        return Fault(f"table {table} is not watched", "run `omnicdc install` as the table's owner")
    if captured[source] != table:
        return Fault(
            f"table {table} is not watched, {captured[source]} is",
            f"run `omnicdc install` where `tables: {{{source}: {table}}}` is set, or set it as there",
        )
    return None
