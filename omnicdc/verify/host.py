"""What a comparison on this host uses besides CMP's rows and the registry files."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from omnicdc.registries.catalog import registries
from omnicdc.registries.tables import find_tables, used

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
        """Find the tables. Raises ConfigError if no root is configured, and DatabaseUnavailable."""
        known = registries(config)
        return cls(
            config.require_output_root(),
            find_tables(conn, config, known.values()),
            known,
            inputs,
            inputs_known,
        )

    @property
    def scanners(self) -> Mapping[str, Scanner]:
        """The scanners whose table CMP has."""
        return used(self.every, self.tables)
