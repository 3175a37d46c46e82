"""Loads the scanners that other packages bring, by the entry point group `omnicdc.scanners`.

docs/add-a-registry.md describes the contract. A plug-in that cannot be loaded is a fault, and holds nothing
else.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib.metadata import entry_points
from typing import TYPE_CHECKING

from omnicdc.config.declared import is_path_below
from omnicdc.errors import ConfigError
from omnicdc.formats.layout import Layout
from omnicdc.registries.scanner import Scanner
from omnicdc.registries.scanners import clash
from omnicdc.registries.scanners import scanners as builtin

if TYPE_CHECKING:
    from collections.abc import Sequence
    from importlib.metadata import EntryPoint

GROUP = "omnicdc.scanners"

RANK = 500
"""Plug-ins' registries are published after omnicdc's own, and before the declared ones."""


@dataclass(frozen=True, slots=True)
class Plugins:
    """The scanners of all installed plug-ins, and a line for each plug-in that cannot be used."""

    scanners: tuple[Scanner, ...]
    faults: tuple[str, ...]


@cache
def plugins() -> Plugins:
    """Load all plug-ins, once in a process."""
    scanners: list[Scanner] = []
    faults: list[str] = []
    own = builtin()
    for point in sorted(entry_points(group=GROUP), key=lambda each: each.name):
        try:
            scanners.append(_loaded(point, [*own.values(), *scanners]))
        except Exception as exc:  # noqa: BLE001 - whatever a plug-in raises concerns only itself
            reason = exc.message if isinstance(exc, ConfigError) else f"{type(exc).__name__}: {exc}"
            package = f" of {point.dist.name} {point.dist.version}" if point.dist else ""
            faults.append(f"plug-in {point.name}{package} cannot be used: {reason} - repair or uninstall it")
    return Plugins(tuple(scanners), tuple(faults))


def _loaded(point: EntryPoint, others: Sequence[Scanner]) -> Scanner:
    """Load one plug-in, and find what its query reads. Raises whatever it raises, or ConfigError."""
    # Imported here: without plug-ins and declared registries nothing but the capture needs the parser.
    from omnicdc.registries.reads import analyse  # noqa: PLC0415

    found = point.load()
    scanner = found() if isinstance(found, type) else found
    if not isinstance(scanner, Scanner):
        raise ConfigError(f"{point.value} is no omnicdc.registries.scanner.Scanner")
    if not isinstance(scanner.layout, Layout):
        raise ConfigError(f"{point.value} has no layout")
    if not is_path_below(scanner.path):
        raise ConfigError(f"its path {scanner.path} is not below the root")
    if scanner.grouped or scanner.uses_inputs:
        raise ConfigError("it must not set `grouped` or define `key`: an entry is the rows of one key of CMP")
    reads = analyse(scanner.query, scanner.name)
    if reads.key_column is None:
        raise ConfigError(f"the first column of its query must be a column of {reads.main}")
    scanner.query = reads.template.replace("%", "%%")
    scanner.source, scanner.sources = reads.main, tuple(sorted(reads.fields))
    scanner.functions = reads.functions
    scanner.output, scanner.main_column, scanner.key_column = reads.columns[0], reads.key_column, None
    scanner.targeted, scanner.multiple = reads.targeted, True
    scanner.builtin, scanner.rank = False, RANK + len(others)
    if taken := clash(scanner, others):
        raise ConfigError(taken)
    return scanner
