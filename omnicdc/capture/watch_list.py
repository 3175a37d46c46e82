"""The watched columns of each source: the union of what the registries read of it. No I/O."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from omnicdc.capture.reads import analyse
from omnicdc.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from omnicdc.registries.scanners import Scanner


@dataclass(frozen=True, slots=True)
class Watch:
    """What each scanner reads: columns, or `column.key` for a key of a json column."""

    by_scanner: Mapping[str, Mapping[str, frozenset[str]]]
    """Scanner to source to fields."""

    @property
    def sources(self) -> tuple[str, ...]:
        """Return the sources that are read, in the order of their names."""
        return tuple(sorted({source for reads in self.by_scanner.values() for source in reads}))

    def fields_of(self, source: str) -> tuple[str, ...]:
        """Return what the triggers of a source compare."""
        found = (reads[source] for reads in self.by_scanner.values() if source in reads)
        return tuple(sorted(frozenset().union(*found)))

    def scanners_of(self, source: str | None, fields: Iterable[str] | None = None) -> frozenset[str]:
        """Return the scanners that read any of these fields of a source.

        Without fields, all that read the source; without a source, all scanners.
        """
        wanted = None if fields is None else {*fields}
        return frozenset(
            name
            for name, reads in self.by_scanner.items()
            if source is None or (source in reads and (wanted is None or reads[source] & wanted))
        )


def derive(scanners: Iterable[Scanner]) -> Watch:
    """Derive the watch list from the scanners' queries.

    Raises ConfigError, with the position, for a query that must not be.
    """
    return Watch({scanner.name: _reads(scanner) for scanner in scanners})


def _reads(scanner: Scanner) -> dict[str, frozenset[str]]:
    reads = analyse(scanner.query.replace("{table}", scanner.source), scanner.name)
    if (reads.main, reads.key_column, reads.targeted) != (scanner.source, "id", True):
        raise ConfigError(f"scanner {scanner.name}: its query must return {scanner.source}.id first")
    return {source: found - {"id"} for source, found in reads.fields.items()}
