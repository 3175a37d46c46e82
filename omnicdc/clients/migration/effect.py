"""What a change of CMP would change in the registries: rendered before and after it, in one transaction.

Everything is rendered once, before the change. Then, as in the daemon, the log names the rows to look at:
only their entries are rendered again. A registry that cannot be read by key is rendered again as a whole.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from omnicdc import db
from omnicdc.errors import RegistryError
from omnicdc.model import ALL, NO_IDS, Ids
from omnicdc.registries.gc_pause import without_garbage_collection
from omnicdc.registries.projection import Projection
from omnicdc.registries.rows import readable
from omnicdc.registries.scan import most_by_name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from omnicdc.model import Inputs
    from omnicdc.registries.scanner import Scanner
    from omnicdc.registries.tables import Tables

Touched = dict[str, Ids]
"""Source to the keys of its rows that the transaction changed. A source is missing if that is not known."""


@dataclass(frozen=True, slots=True)
class Rendered:
    """One registry at one moment, or the reason why it is not known."""

    projection: Projection
    fault: str = ""

    @property
    def scanner(self) -> Scanner:
        """The registry's scanner."""
        return self.projection.scanner


@dataclass(frozen=True, slots=True)
class Effect:
    """What would change in one registry."""

    registry: str
    before: int
    """The number of entries before the change."""
    after: int
    changed: frozenset[str] = frozenset()
    """Entry keys whose entries would be another."""
    added: frozenset[str] = frozenset()
    removed: frozenset[str] = frozenset()
    projects: frozenset[str] = frozenset()
    """The projects that one of these entries shows, before or after."""
    fault: str = ""
    """Why this is not known."""

    @property
    def rewritten(self) -> bool:
        """True if the file would change."""
        return bool(self.changed or self.added or self.removed)

    def as_dict(self) -> dict[str, Any]:
        """Return it for JSON."""
        counts = {"changed": len(self.changed), "added": len(self.added), "removed": len(self.removed)}
        return {"before": self.before, "after": self.after, **counts, "fault": self.fault}


@dataclass(frozen=True, slots=True)
class Rendering:
    """Renders the registries from the rows that the transaction of a connection sees.

    `progress` is called with the name of each scanner. Every method raises DatabaseUnavailable.
    """

    conn: db.Connection
    scanners: Mapping[str, Scanner]
    tables: Tables
    inputs: Inputs
    progress: Callable[[str], None]

    def before(self) -> dict[str, Rendered]:
        """Render every registry. Returns scanner to its registry."""
        with self._confined():
            return {name: self._rendered(name, scanner) for name, scanner in self.scanners.items()}

    def touched(self) -> Touched:
        """Return what the transaction changed so far, as the log names it: CMP's own triggers are included.

        Returns nothing if the capture is broken: then everything must be rendered.
        """
        with self._confined(), db.translated("asking what the transaction changed"):
            if db.fetch_one(self.conn, "capture_fault")["fault"]:
                return {}
            sources = {row["name"]: row["target"] for row in db.fetch_all(self.conn, "sources")}
            keys = {row["source"]: row["keys"] for row in db.fetch_all(self.conn, "touched")}
        watched = [name for name, target in sources.items() if self.tables.get(name) == target]
        named = {name: ALL if found is None else frozenset(found) for name, found in keys.items()}
        return {name: named.get(name, NO_IDS) for name in watched}

    def effects(self, before: Mapping[str, Rendered], touched: Touched) -> list[Effect]:
        """Return what differs now. `touched` is what the transaction changed since `before` was rendered.

        The projections in `before` are brought up to date, so this can be called once only.
        """
        with self._confined():
            return [self._effect(name, it, _concerned(it, touched)) for name, it in before.items()]

    def _effect(self, name: str, before: Rendered, ids: Ids) -> Effect:
        if ids is ALL or before.fault:
            return effect(before, self._rendered(name, before.scanner))
        self.progress(name)
        projection = before.projection
        count = len(projection.document)
        try:
            found = readable(self.conn, projection.scanner, self.tables, ids) if ids else ([], {})
        except RegistryError as exc:
            return Effect(projection.name, count, count, fault=str(exc))
        rows, _ = found
        keys = {key for key in map(projection.entry_key_of, ids) if key}
        if projection.scanner.grouped:
            keys |= {key for row in rows if (key := projection.scanner.key(row))}
        old = _entries(projection, keys)
        projection.update(ids, *found)
        return _compared(before, old, _entries(projection, keys), count, len(projection.document))

    def _rendered(self, name: str, scanner: Scanner) -> Rendered:
        self.progress(name)
        projection = Projection(scanner, self.inputs)
        try:
            projection.rebuild(*readable(self.conn, scanner, self.tables, ALL))
        except RegistryError as exc:
            return Rendered(Projection(scanner, self.inputs), str(exc))
        return Rendered(projection)

    @contextmanager
    def _confined(self) -> Iterator[None]:
        # The settings end with this savepoint: CMP's own triggers need the search_path of the role.
        with self.conn.transaction(force_rollback=True), without_garbage_collection():
            db.execute(self.conn, "confine", {"local": True})
            db.execute(self.conn, "refuse_policies")
            yield


def _concerned(it: Rendered, touched: Touched) -> Ids:
    """Return the keys whose entries may be another; ALL if the whole registry must be rendered."""
    scanner = it.scanner
    if not touched.keys() >= {*scanner.sources}:
        return ALL
    changed = [source for source in scanner.sources if touched[source] != NO_IDS]
    if not changed:
        return NO_IDS
    ids = touched[scanner.source]
    if changed != [scanner.source] or not scanner.targeted or ids is ALL:
        return ALL
    return ids if len(ids) <= most_by_name([it.projection]) else ALL


def effect(before: Rendered, after: Rendered) -> Effect:
    """Return what differs between two renderings of one registry."""
    fault = before.fault or after.fault
    old, new = before.projection.document, after.projection.document
    if fault:
        return Effect(before.projection.name, len(old), len(old), fault=fault)
    return _compared(before, dict(old.entries()), dict(new.entries()), len(old), len(new))


def _compared(
    it: Rendered, old: Mapping[str, bytes], new: Mapping[str, bytes], before: int, after: int
) -> Effect:
    both = old.keys() & new.keys()
    changed = frozenset(key for key in both if old[key] != new[key])
    added, removed = frozenset(new.keys() - both), frozenset(old.keys() - both)
    concerned = [
        *(project for key in changed | removed for project in _projects(it, old[key])),
        *(project for key in changed | added for project in _projects(it, new[key])),
    ]
    return Effect(it.projection.name, before, after, changed, added, removed, frozenset(concerned))


def _entries(projection: Projection, keys: Iterable[str]) -> dict[str, bytes]:
    found = ((key, projection.document.get(key)) for key in keys)
    return {key: data for key, data in found if data is not None}


def _projects(it: Rendered, data: bytes) -> Iterator[str]:
    layout = it.scanner.layout
    for core in layout.cores(data):
        yield from layout.item(core).projects
