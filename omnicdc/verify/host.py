"""What a comparison on this host uses besides CMP's rows and the registry files."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from psycopg import errors
from psycopg import sql as pgsql

from omnicdc import db
from omnicdc.db import sql
from omnicdc.errors import SchemaMismatch
from omnicdc.registries.catalog import registries
from omnicdc.registries.tables import find_tables, is_closed, qualified, resolve, used

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from omnicdc.config.settings import Config
    from omnicdc.db import Connection
    from omnicdc.model import Inputs
    from omnicdc.registries.scanner import Scanner
    from omnicdc.registries.tables import Tables


@dataclass(frozen=True, slots=True)
class Host:
    """The files and the inputs of a registry host, and the tables of CMP's sources."""

    root: Path
    """The directory below which the registries are published."""
    tables: Tables
    every: Mapping[str, Scanner]
    """All scanners of the configuration, in the order of publication."""
    inputs: Inputs
    inputs_known: bool
    """False if the saved inputs cannot be read here."""

    @classmethod
    def of(cls, conn: Connection, config: Config, inputs: Inputs, inputs_known: bool) -> Host:
        """Find the tables.

        Raises ConfigError if no root is configured or it is not a directory, and DatabaseUnavailable.
        """
        known = registries(config)
        return cls(
            config.require_output_directory(),
            find_tables(conn, config, known.values()),
            known,
            inputs,
            inputs_known,
        )

    @property
    def scanners(self) -> Mapping[str, Scanner]:
        """The scanners whose table CMP has."""
        return used(self.every, self.tables)

    def require_readable(self, conn: Connection) -> None:
        """Return if the role may read one of the tables. To be asked if no registry could be compared.

        Raises SchemaMismatch, with what the role lacks for the first table, and DatabaseUnavailable.
        """
        lacking: SchemaMismatch | None = None
        for table in self.tables.values():
            try:
                _require_readable(conn, table)
            except SchemaMismatch as exc:
                lacking = lacking or exc
            else:
                return
        if lacking:
            try:
                db.check_schema(conn)
            except SchemaMismatch as exc:
                if not isinstance(exc.__cause__, errors.InsufficientPrivilege):
                    raise  # without the schema, nothing was granted yet
            raise lacking


def _require_readable(conn: Connection, table: str) -> None:
    with db.translated("reading CMP"):
        if resolve(conn, table) is None and not is_closed(conn, table):
            return  # there is no such table: the reports of its registries say so
        with db.confined(conn):
            conn.execute(pgsql.SQL(sql.query("probe_table")).format(table=qualified(table)))
