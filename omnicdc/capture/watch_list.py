"""The watched columns of each source: the union of what the registries read of it. No I/O."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from omnicdc.errors import ConfigError
from omnicdc.registries.query import sources_named
from omnicdc.registries.reads import analyse

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from omnicdc.registries.scanners import Scanner


@dataclass(frozen=True, slots=True)
class Watch:
    """What each scanner reads: columns, or `column.key` for a key of a json column."""

    by_scanner: Mapping[str, Mapping[str, frozenset[str]]]
    """Scanner to source to fields."""
    main: Mapping[str, str]
    """Scanner to its main source, whose keys are the scanner's."""

    @property
    def sources(self) -> tuple[str, ...]:
        """Return the sources that are read, in the order of their names."""
        return tuple(sorted({source for reads in self.by_scanner.values() for source in reads}))

    def is_main(self, scanner: str, source: str | None) -> bool:
        """Return True if the keys of a source are those of a scanner."""
        return self.main[scanner] == source

    def limited(self, installed: Mapping[str, Iterable[str]], scanners: Iterable[str]) -> Watch:
        """Return the watch list without what is not installed of these scanners; they are held."""
        known = {source: frozenset(fields) for source, fields in installed.items()}
        limited = {
            name: {
                source: fields & known[source]
                for source, fields in self.by_scanner[name].items()
                if source in known
            }
            for name in scanners
        }
        return Watch({**self.by_scanner, **limited}, self.main)

    def fields_of(self, source: str) -> tuple[str, ...]:
        """Return what the triggers of a source compare."""
        found = [reads[source] for reads in self.by_scanner.values() if source in reads]
        return tuple(sorted(frozenset[str]().union(*found)))

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


def derive(scanners: Collection[Scanner]) -> Watch:
    """Derive the watch list from the scanners' queries.

    Raises ConfigError, with the position, for a query that must not be.
    """
    return Watch(
        {scanner.name: _reads(scanner) for scanner in scanners},
        {scanner.name: scanner.source for scanner in scanners},
    )


def _reads(scanner: Scanner) -> dict[str, frozenset[str]]:
    reads = analyse(sources_named(scanner.query), scanner.name)
    if reads.main != scanner.source:
        raise ConfigError(f"scanner {scanner.name}: its query reads {reads.main} before {scanner.source}")
    # A change of the key is logged in any case.
    return {
        source: found - {scanner.key_column} if source == scanner.source else found
        for source, found in reads.fields.items()
    }
