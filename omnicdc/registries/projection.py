"""The content that one registry should have: entries, which projects each one shows, and quarantine. No I/O.

`document` keeps the bytes in order. `files` writes them to disk.
"""

from __future__ import annotations

import time
from functools import cached_property
from itertools import groupby
from types import MappingProxyType
from typing import TYPE_CHECKING

from omnicdc.errors import RegistryError
from omnicdc.registries.document import Document
from omnicdc.registries.hold import Hold
from omnicdc.registries.scanner import check_entry, first, rows_by_key

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

    from omnicdc.model import Entry, Frame, Inputs
    from omnicdc.registries.scanners import Row, Scanner


FULL_SCAN_PAUSE = 5.0
"""Changes cause a full scan at most once in so many times the duration of the last one."""

NOTHING: Mapping[str, str] = MappingProxyType({})


class Projection:
    """What one scanner's registry should hold. Each change updates it.

    It keeps rows of CMP only for grouped scanners, because there an entry depends on several projects.
    A *key* here is what `Scanner.key` returns for a project's row. If the scanner is grouped, it is also the
    entry key.
    """

    def __init__(self, scanner: Scanner, inputs: Inputs) -> None:
        self.scanner = scanner
        self.hold = Hold(scanner.registry)
        self.dirty = True
        """True if the file may differ from this projection."""
        self.scan_due = True
        """True if a full scan is needed."""
        self.waited = False
        """True if work was left to a later cycle."""
        self._next_full_scan = 0.0
        """Time of the next full scan that a change may cause, by `time.monotonic`."""
        self.as_of = ""
        """The snapshot that the file shows; empty if it shows none."""
        self.document = Document()
        self.quarantined: dict[str, str] = {}
        """Entry key to the reason why it has no entry."""
        self.unreadable: dict[str, str] = {}
        """Project to the reason why PostgreSQL cannot give its row; its entry key is not known."""
        self._quarantined_projects: dict[str, str] | None = None
        """Cached result of `quarantined_projects`; None if it may have changed."""
        self._arrived: set[str] | None = None
        """Keys that got a project since the last `take_arrived`; None after a rebuild."""
        self._inputs = inputs
        self._key_of: dict[str, str] = {}
        """Project to its key, if it has one: the result of `Scanner.key`, not always the entry key."""
        self._rows_by_key: dict[str, dict[str, Row] | Row] = {}
        """Grouped scanners only. Key to its one row, or, if several projects share it, {project: row}."""

    @property
    def name(self) -> str:
        """The registry's name in logs and answers: its file's."""
        return self.scanner.registry

    def mark_published(self) -> None:
        """Record that the file is up to date."""
        self.dirty = self.waited = False
        self.hold.end()

    @property
    def joins(self) -> bool:
        """True if a change may cause a full scan, because of a joined source or of the form of the query."""
        return len(self.scanner.sources) > 1 or not self.scanner.targeted

    @property
    def pause_s(self) -> float:
        """Seconds until the next full scan that a change may cause."""
        return max(0.0, self._next_full_scan - time.monotonic()) if self.scan_due or not self.waited else 0.0

    def mark_scanned(self, *, full_scan_s: float | None = None) -> None:
        """Record a successful scan, and the duration of a full one."""
        self.scan_due = self.waited = False
        if full_scan_s is not None:
            self._next_full_scan = time.monotonic() + FULL_SCAN_PAUSE * full_scan_s

    def mark_scan_failed(self) -> None:
        """Record that a scan failed: a full one is needed, when `hold` allows the next attempt."""
        self.scan_due, self.waited = True, False

    def mark_writing(self) -> None:
        """Record that the writing of the file is no longer postponed: it is tried now."""
        self.waited = False

    @property
    def postponed(self) -> bool:
        """True if changes wait for a later cycle: for a full scan, or for a check. The file lacks them."""
        return self.waited and not self.hold.backing_off

    def postpone(self, *, scan: bool) -> None:
        """Leave changes to a later cycle: to a full scan, or only the writing of the file."""
        self.scan_due |= scan
        self.waited = True

    def sweep(self) -> None:
        """Make the next cycle scan everything for this registry."""
        self.scan_due = True
        self.hold.retry_now()

    def rebuild(self, rows: Iterable[Row], unreadable: Mapping[str, str] = NOTHING) -> None:
        """Replace the content by all rows of CMP.

        If it fails midway, the projection is incomplete until another rebuild succeeds. `unreadable` is read
        after the last row, so the caller may fill it while `rows` is consumed.
        """
        self.document = Document()  # free the old document's memory first
        self._quarantined_projects = None
        self._arrived = None
        self._key_of.clear()
        self._rows_by_key.clear()
        self.quarantined.clear()
        keys_and_rows = self._grouped(rows) if self.scanner.grouped else self._single(rows)
        self.document = Document.from_entries(
            (entry_key, entry)
            for entry_key, found in keys_and_rows
            if (entry := self._render(entry_key, found)) is not None
        )
        self.unreadable = dict(unreadable)

    def update(
        self, ids: Iterable[str], rows: Iterable[Row], unreadable: Mapping[str, str] = NOTHING
    ) -> bool:
        """Install the present rows of these projects. A project without a row is removed.

        Returns False if no entry changed.
        """
        fresh = rows_by_key(rows)
        if self.unreadable or unreadable:
            self._quarantined_projects = None
        for project in ids if self.unreadable else ():
            self.unreadable.pop(project, None)
        self.unreadable |= unreadable
        if self.scanner.grouped:
            keys = {key for project in ids for key in self._reassign(project, first(fresh, project))}
            keys_and_rows = [(key, self._rows(key)) for key in sorted(keys)]
        else:
            keys_and_rows = [(it, fresh.get(it, [])) for it in sorted(ids)]
            for project, found in keys_and_rows:
                self._reassign(project, found[0] if found else None)
        return self._render_and_store(keys_and_rows)

    def take_inputs(self, inputs: Inputs) -> tuple[bool, Collection[str]]:
        """Install new inputs.

        Returns whether an entry changed, and the projects that must be scanned.
        """
        before, self._inputs = self._inputs, inputs
        inputs_for, static_keys = self.scanner.inputs_for, self.scanner.static_keys
        keys = {*self._key_of.values(), *static_keys(before), *static_keys(inputs)}
        concerned = {key for key in keys if inputs_for(before, key) != inputs_for(inputs, key)}
        if self.scanner.grouped:
            return self._render_and_store((key, self._rows(key)) for key in sorted(concerned)), ()
        return False, [project for project, key in self._key_of.items() if key in concerned]

    def frame(self, stamp: str) -> Frame:
        """Return header and footer for the present entries, with the time `stamp`.

        Raises RegistryError if the scanner cannot render them.
        """
        try:
            frame = self.scanner.frame(len(self.document), self.document.counters, stamp)
            if not all(isinstance(it, bytes) for it in (frame.header, frame.footer, frame.separator)):
                raise TypeError(f"not a frame of bytes: {frame!r:.200}")  # noqa: TRY301 - as any other error
        except Exception as exc:
            raise RegistryError(
                f"its header cannot be rendered: {type(exc).__name__}: {exc}",
                hint="repair its template or plug-in",
            ) from exc
        return frame

    def take_arrived(self) -> set[str] | None:
        """Return the keys that got a project since the last call.

        None after a rebuild, when it may be any key.
        """
        arrived, self._arrived = self._arrived, set()
        return arrived if self.scanner.uses_inputs else set()

    def known_keys(self) -> Collection[str]:
        """Return the keys of all projects. Any thread may call this."""
        return list(self._key_of.values())

    def entry_key_of(self, project: str) -> str | None:
        """Return the key of a project's entry, even if there is no such entry; None if it cannot have one."""
        return self._key_of.get(project) if self.scanner.grouped else project

    def name_of(self, project: str) -> str | None:
        """Return a project's name if the registry sorts by it; else None."""
        return self.document.name_of(project) if self.scanner.named else None

    def knows(self, project: str) -> bool:
        """Return True if the project has a key or an entry. A project in quarantine may have neither."""
        return project in self._key_of or project in self.document

    def quarantined_projects(self) -> dict[str, str]:
        """Return project id to the reason why it is in quarantine. The same object until that changes."""
        if self._quarantined_projects is None:
            rows = (
                (row, why) for entry_key, why in self.quarantined.items() for row in self._rows(entry_key)
            )
            quarantined = (
                {str(row[0]): why for row, why in rows} if self.scanner.grouped else self.quarantined
            )
            self._quarantined_projects = quarantined | self.unreadable
        return self._quarantined_projects

    def _single(self, rows: Iterable[Row]) -> Iterator[tuple[str, Sequence[Row]]]:
        if self.scanner.multiple:
            # The rows of a key follow each other: see `rows.statement`.
            yield from ((key, list(found)) for key, found in groupby(rows, lambda row: str(row[0])))
            return
        for row in rows:
            self._assign(str(row[0]), row)
            yield str(row[0]), [row]

    def _grouped(self, rows: Iterable[Row]) -> Iterator[tuple[str, Sequence[Row]]]:
        for row in rows:
            self._assign(str(row[0]), row)
        for key in {*self._rows_by_key, *self.scanner.static_keys(self._inputs)}:
            yield key, self._rows(key)

    def _rows(self, key: str) -> list[Row]:
        found = self._rows_by_key.get(key, {})
        return list(found.values()) if isinstance(found, dict) else [found]

    def _assign(self, project: str, row: Row) -> str:
        if key := self.scanner.key(row):
            self._key_of[project] = key
            if self.scanner.grouped:
                self._join(key, project, row)
        return key

    def _join(self, key: str, project: str, row: Row) -> None:
        found = self._rows_by_key.setdefault(key, row)
        if found is row:
            return
        if not isinstance(found, dict):
            found = self._rows_by_key[key] = {str(found[0]): found}
        found[project] = row

    def _leave(self, key: str, project: str) -> None:
        found = self._rows_by_key[key]
        if isinstance(found, dict):
            del found[project]
        if not isinstance(found, dict) or not found:
            del self._rows_by_key[key]

    def _reassign(self, project: str, row: Row | None) -> set[str]:
        """Assign a project to the key of its present row; return its old and its new key."""
        left = self._key_of.pop(project, "")
        if left and self.scanner.grouped:
            self._leave(left, project)
        came = self._assign(project, row) if row is not None else ""
        if came and came != left and self._arrived is not None:
            self._arrived.add(came)
        return {key for key in (left, came) if key}

    def _render_and_store(self, keys_and_rows: Iterable[tuple[str, Sequence[Row]]]) -> bool:
        entries: dict[str, Entry | None] = {}
        for entry_key, rows in keys_and_rows:
            before = self.quarantined.pop(entry_key, None)
            entries[entry_key] = self._render(entry_key, rows) if rows or self.scanner.grouped else None
            now = self.quarantined.get(entry_key)
            if before != now or (now and self.scanner.grouped):
                self._quarantined_projects = None
        return self.document.update(entries)

    def _render(self, entry_key: str, rows: Sequence[Row]) -> Entry | None:
        try:
            entry = self.scanner.render(entry_key, rows, self._inputs)
            if entry is not None and not self.scanner.builtin:
                check_entry(entry, self._separator)
        except Exception as exc:  # noqa: BLE001 - any error of a row puts only its entry in quarantine
            self.quarantined[entry_key] = f"{type(exc).__name__}: {exc}"
            return None
        return entry

    @cached_property
    def _separator(self) -> bytes:
        # Of a file with an entry: without entries, it has none.
        return self.scanner.frame(1, (), "").separator
