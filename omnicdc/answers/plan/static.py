"""What statements mean for the registries, judged by their text and by what the registries read. No I/O."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from omnicdc.registries.tables import name_parts

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from omnicdc.answers.plan.statement import Statement, Write
    from omnicdc.capture.watch_list import Watch
    from omnicdc.registries.scanner import Scanner


@dataclass(frozen=True, slots=True)
class Reach:
    """What one write can change in the registries."""

    write: Write
    source: str = ""
    """The source that the table is; empty if no registry reads the table."""
    watched: tuple[str, ...] | None = ()
    """The fields that registries read and that the write can change; None for all of them."""
    unwatched: tuple[str, ...] = ()
    """The fields that it sets and that no registry reads."""
    registries: tuple[str, ...] = ()
    """The registries that read one of the watched fields."""

    def as_dict(self) -> dict[str, Any]:
        """Return it for JSON."""
        return {
            "operation": self.write.operation,
            "table": ".".join(self.write.table),
            "source": self.source or None,
            "fields": None if self.write.fields is None else list(self.write.fields),
            "watched": None if self.watched is None else list(self.watched),
            "unwatched": list(self.unwatched),
            "registries": list(self.registries),
        }


@dataclass(frozen=True, slots=True)
class Readers:
    """What the registries read, and of which tables."""

    watch: Watch
    scanners: Mapping[str, Scanner]
    tables: Mapping[str, str]
    """Source to the name of its table, as the configuration or the database has it."""

    def reach(self, write: Write) -> Reach:
        """Return what a write can change. CMP's own triggers and cascades are not considered."""
        source = self._source(write.table)
        if source is None:
            return Reach(write, watched=(), unwatched=write.fields or ())
        if write.fields is None or {*write.fields} & self._keys(source):
            return Reach(write, source, None, registries=self._names(source, None))
        read = self.watch.fields_of(source)
        watched = [field for field in read if any(_overlap(field, one) for one in write.fields)]
        unwatched = [one for one in write.fields if not any(_overlap(field, one) for field in read)]
        return Reach(write, source, tuple(watched), tuple(unwatched), self._names(source, watched))

    def registries_reading(self, source: str, fields: Iterable[str] | None) -> frozenset[str]:
        """Return the registries that read one of these fields of a source; without fields, the source."""
        return frozenset(self._names(source, fields))

    def _names(self, source: str, fields: Iterable[str] | None) -> tuple[str, ...]:
        concerned = self.watch.scanners_of(source, fields)
        return tuple(it.registry for name, it in self.scanners.items() if name in concerned)

    def _source(self, table: tuple[str, ...]) -> str | None:
        """Return the source of a table. A schema decides only if both names have one."""
        for source, name in self.tables.items():
            parts = name_parts(name)
            if parts[-1] == table[-1] and (1 in (len(parts), len(table)) or parts[-2:] == [*table[-2:]]):
                return source
        return None

    def _keys(self, source: str) -> frozenset[str]:
        """Return the columns by which the registries know the rows of a source."""
        scanners = [it for it in self.scanners.values() if it.source == source]
        return frozenset(name for it in scanners for name in (it.key_column, it.main_column) if name)


def reaches(statements: Iterable[Statement], readers: Readers) -> tuple[tuple[Reach, ...], ...]:
    """Return what each statement can change."""
    return tuple(tuple(readers.reach(write) for write in one.writes) for one in statements)


def _overlap(read: str, written: str) -> bool:
    """Whether a write of one field can change another: the same, or a column and one of its keys."""
    return read == written or read.startswith(f"{written}.") or written.startswith(f"{read}.")
