"""Renders the registries before and after a change of CMP, in one transaction.

Everything is rendered once, before the change. Then, as in the daemon, the log names the rows to look at, and
`route` the registries: only their entries are rendered again. A registry that cannot be read by key is
rendered again as a whole.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from omnicdc import db
from omnicdc.answers.plan.effect import Effect, Rendered, View, compared, to_render, unchanged
from omnicdc.capture.fingerprint import captured_fields
from omnicdc.capture.route import route
from omnicdc.errors import RegistryError
from omnicdc.model import ALL, NO_IDS, Change, Ids, Work
from omnicdc.registries.gc_pause import without_garbage_collection
from omnicdc.registries.projection import Projection
from omnicdc.registries.rows import readable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from omnicdc.capture.watch_list import Watch
    from omnicdc.model import Inputs
    from omnicdc.registries.scanner import Scanner
    from omnicdc.registries.tables import Tables


@dataclass(frozen=True, slots=True)
class Touched:
    """What a transaction changed so far, as the log names it: what CMP's own triggers changed is included."""

    changes: tuple[Change, ...] = ()
    watched: frozenset[str] = field(default=NO_IDS)
    """The sources of which the log names every change that registries of this configuration can show."""
    fault: str = ""
    """Why the log does not name the changes; empty if it does."""

    def work(self, watch: Watch) -> Work:
        """Return scanner to the keys that it must look at, as the daemon does."""
        work = route(self.changes, watch, trusted=True)
        blind = {name for name, reads in watch.by_scanner.items() if not self.watched >= reads.keys()}
        return work | dict.fromkeys(blind, ALL)


@dataclass(frozen=True, slots=True)
class Rendering:
    """Renders the registries from the rows that the transaction of a connection sees.

    `progress` is called with the name of each scanner. Every method raises DatabaseUnavailable.
    """

    conn: db.Connection
    scanners: Mapping[str, Scanner]
    tables: Tables
    watch: Watch
    inputs: Inputs
    progress: Callable[[str], None]
    most: int = 0
    """The effect on each registry holds the content of at most so many entries."""

    def before(self) -> dict[str, Rendered]:
        """Render every registry. Returns scanner to its registry."""
        with self._confined():
            return {name: self._rendered(name, scanner) for name, scanner in self.scanners.items()}

    def touched(self) -> Touched:
        """Return what the transaction changed so far. If the capture is broken, nothing is known of it."""
        with self._confined(), db.translated("asking what the transaction changed"):
            if fault := db.fetch_one(self.conn, "capture_fault")["fault"]:
                return Touched(fault=fault)
            sources = db.fetch_all(self.conn, "sources")
            found = db.fetch_all(self.conn, "touched")
        watched = frozenset(
            row["name"]
            for row in sources
            if self.tables.get(row["name"]) == row["target"]
            and captured_fields(row) >= {*self.watch.fields_of(row["name"])}
        )
        fields = ((row, row["fields"]) for row in found)
        changes = tuple(
            Change(
                row["op"], None if names is None else tuple(names), row["keys"], row["rows"], row["source"]
            )
            for row, names in fields
        )
        lacking = sorted({*self.watch.sources} & self.tables.keys() - watched)
        fault = f"the installed capture does not watch all of {', '.join(lacking)}" if lacking else ""
        return Touched(changes, watched, fault)

    def effects(self, before: Mapping[str, Rendered], touched: Touched) -> list[Effect]:
        """Return what differs now. `touched` is what the transaction changed since `before` was rendered.

        The projections in `before` are brought up to date, or emptied, so this can be called once only.
        """
        work = touched.work(self.watch)
        with self._confined():
            return [self._effect(name, it, work.get(name, NO_IDS)) for name, it in before.items()]

    def _effect(self, name: str, before: Rendered, ids: Ids) -> Effect:
        wanted = to_render(before, ids)
        if wanted is ALL:
            return effect(before, self._rendered(name, before.scanner), self.most)
        if not wanted:
            return unchanged(before)
        self.progress(name)
        try:
            return self._updated(before, wanted)
        except RegistryError as exc:
            return unchanged(Rendered(before.projection, str(exc)))

    def _updated(self, before: Rendered, ids: frozenset[str]) -> Effect:
        """Bring a projection up to date with these keys, and return what changed. Raises RegistryError."""
        projection = before.projection
        rows, unreadable = readable(self.conn, projection.scanner, self.tables, ids)
        keys = {key for key in map(projection.entry_key_of, ids) if key}
        if projection.scanner.grouped:
            keys |= {key for row in rows if (key := projection.scanner.key(row))}
        old = View.of(projection, keys)
        projection.update(ids, rows, unreadable)
        return compared(before, old, View.of(projection, keys), self.most)

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


def effect(before: Rendered, after: Rendered, most: int = 0) -> Effect:
    """Return what differs between two renderings of one registry, with the content of `most` entries."""
    if fault := before.fault or after.fault:
        return unchanged(Rendered(before.projection, fault))
    try:
        return compared(before, View.of(before.projection), View.of(after.projection), most)
    except RegistryError as exc:
        return unchanged(Rendered(before.projection, str(exc)))
