"""One registry as it should be: its entries, which projects belong in which, and what is held back. No I/O.

Its neighbours: `document` keeps the bytes in order, `files` puts them on disk.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

from omnicdc.registries.document import Document
from omnicdc.registries.hold import Hold

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

    from omnicdc.model import Entry, Frame, Inputs
    from omnicdc.registries.scanners import Row, Scanner


NOTHING: Mapping[str, str] = MappingProxyType({})


class Projection:
    """What one scanner's registry should hold, kept up to date change by change.

    Rows of CMP are not kept, but for grouped scanners, where one project's entry depends on others.
    """

    def __init__(self, scanner: Scanner, inputs: Inputs) -> None:
        self.scanner = scanner
        self.hold = Hold(scanner.registry)
        self.dirty = True
        """Whether its file may differ from it."""
        self.scan_due = True
        """Whether only a full scan can tell what it should hold."""
        self.as_of = ""
        """The snapshot that its file shows; empty if none."""
        self.document = Document()
        self.quarantined: dict[str, str] = {}
        """Entry key to the reason why it has no entry."""
        self.unreadable: dict[str, str] = {}
        """Project to the reason why PostgreSQL cannot give its row; its entry key is not known."""
        self._held: dict[str, str] | None = None
        """What `held_projects` returns; None when that may have changed."""
        self._arrived: set[str] | None = None
        self._inputs = inputs
        self._key_of: dict[str, str] = {}
        """Project to its key, if it has one."""
        self._sharing: dict[str, dict[str, Row] | Row] = {}
        """If grouped: key to its row, or to the rows of those that share it, by project."""

    @property
    def name(self) -> str:
        """The registry's name in logs and answers: its file's."""
        return self.scanner.registry

    def mark_published(self) -> None:
        """Take the file as holding what it should."""
        self.dirty = False
        self.hold.end()

    def sweep(self) -> None:
        """Have the next cycle scan it in full."""
        self.scan_due = True
        self.hold.retry_now()

    def rebuild(self, rows: Iterable[Row], unreadable: Mapping[str, str] = NOTHING) -> None:
        """Start over from all rows of CMP. If it fails midway, only another one makes it whole.

        `unreadable` is looked at when the rows are at their end: it may be filled while they are read.
        """
        self.document = Document()  # the old one makes room first
        self._held = None
        self._arrived = None
        self._key_of.clear()
        self._sharing.clear()
        self.quarantined.clear()
        entry_keys = self._grouped(rows) if self.scanner.grouped else self._single(rows)
        self.document = Document.from_entries(
            (entry_key, entry)
            for entry_key, found in entry_keys
            if (entry := self._render(entry_key, found)) is not None
        )
        self.unreadable = dict(unreadable)

    def update(
        self, ids: Iterable[str], rows: Iterable[Row], unreadable: Mapping[str, str] = NOTHING
    ) -> bool:
        """Take what CMP now holds of these projects; one without a row is gone. False if nothing differs."""
        fresh = {str(row[0]): row for row in rows}
        if self.unreadable or unreadable:
            self._held = None
        for project in ids if self.unreadable else ():
            self.unreadable.pop(project, None)
        self.unreadable |= unreadable
        if self.scanner.grouped:
            keys = {key for project in ids for key in self._move(project, fresh.get(project))}
            entry_keys = [(key, self._rows(key)) for key in sorted(keys)]
        else:
            entry_keys = [(project, [fresh[project]] if project in fresh else []) for project in sorted(ids)]
            for project, found in entry_keys:
                self._move(project, found[0] if found else None)
        return self._show(entry_keys)

    def take_inputs(self, inputs: Inputs) -> tuple[bool, Collection[str]]:
        """Take new inputs.

        Returns whether anything changed at once, and the projects that CMP must be asked for.
        """
        before, self._inputs = self._inputs, inputs
        inputs_for, static_keys = self.scanner.inputs_for, self.scanner.static_keys
        keys = {*self._key_of.values(), *static_keys(before), *static_keys(inputs)}
        concerned = {key for key in keys if inputs_for(before, key) != inputs_for(inputs, key)}
        if self.scanner.grouped:
            return self._show((key, self._rows(key)) for key in sorted(concerned)), ()
        return False, [project for project, key in self._key_of.items() if key in concerned]

    def frame(self, stamp: str) -> Frame:
        """Return what stands around the entries as they are now."""
        return self.scanner.frame(len(self.document), self.document.counters, stamp)

    def take_arrived(self) -> set[str] | None:
        """Return the keys that projects came to since the last call.

        None after a rebuild, for it may be any.
        """
        arrived, self._arrived = self._arrived, set()
        return arrived

    def known_keys(self) -> Collection[str]:
        """Return the keys of all projects seen; any thread may ask."""
        return list(self._key_of.values())

    def unit_of(self, project: str) -> str | None:
        """Return the key of the entry that a project is in, or would be in."""
        return self._key_of.get(project) if self.scanner.grouped else project

    def name_of(self, project: str) -> str | None:
        """Return a project's name, where the registry sorts by it."""
        return None if self.scanner.grouped else self.document.name_of(project)

    def knows(self, project: str) -> bool:
        """Whether CMP had the project, as far as this registry can tell; those held back are not counted."""
        return project in self._key_of or project in self.document

    def held_projects(self) -> dict[str, str]:
        """Return project id to the reason for which it has no entry; the same object until that changes."""
        if self._held is None:
            rows = (
                (row, why) for entry_key, why in self.quarantined.items() for row in self._rows(entry_key)
            )
            quarantined = (
                {str(row[0]): why for row, why in rows} if self.scanner.grouped else self.quarantined
            )
            self._held = quarantined | self.unreadable
        return self._held

    def _single(self, rows: Iterable[Row]) -> Iterator[tuple[str, Sequence[Row]]]:
        for row in rows:
            self._place(str(row[0]), row)
            yield str(row[0]), [row]

    def _grouped(self, rows: Iterable[Row]) -> Iterator[tuple[str, Sequence[Row]]]:
        for row in rows:
            self._place(str(row[0]), row)
        for key in {*self._sharing, *self.scanner.static_keys(self._inputs)}:
            yield key, self._rows(key)

    def _rows(self, key: str) -> list[Row]:
        found = self._sharing.get(key, {})
        return list(found.values()) if isinstance(found, dict) else [found]

    def _place(self, project: str, row: Row) -> str:
        if key := self.scanner.key(row):
            self._key_of[project] = key
            if self.scanner.grouped:
                self._join(key, project, row)
        return key

    def _join(self, key: str, project: str, row: Row) -> None:
        found = self._sharing.setdefault(key, row)
        if found is row:
            return
        if not isinstance(found, dict):
            found = self._sharing[key] = {str(found[0]): found}
        found[project] = row

    def _leave(self, key: str, project: str) -> None:
        found = self._sharing[key]
        if isinstance(found, dict):
            del found[project]
        if not isinstance(found, dict) or not found:
            del self._sharing[key]

    def _move(self, project: str, row: Row | None) -> set[str]:
        """Put a project where its row belongs now; returns the keys it left and came to."""
        left = self._key_of.pop(project, "")
        if left and self.scanner.grouped:
            self._leave(left, project)
        came = self._place(project, row) if row is not None else ""
        if came and came != left and self._arrived is not None:
            self._arrived.add(came)
        return {key for key in (left, came) if key}

    def _show(self, entry_keys: Iterable[tuple[str, Sequence[Row]]]) -> bool:
        entries: dict[str, Entry | None] = {}
        for entry_key, rows in entry_keys:
            before = self.quarantined.pop(entry_key, None)
            entries[entry_key] = self._render(entry_key, rows) if rows or self.scanner.grouped else None
            now = self.quarantined.get(entry_key)
            if before != now or (now and self.scanner.grouped):
                self._held = None
        return self.document.update(entries)

    def _render(self, entry_key: str, rows: Sequence[Row]) -> Entry | None:
        try:
            return self.scanner.render(entry_key, rows, self._inputs)
        except Exception as exc:  # noqa: BLE001 - whatever one row does to its scanner, only it is held back
            self.quarantined[entry_key] = f"{type(exc).__name__}: {exc}"
            return None
