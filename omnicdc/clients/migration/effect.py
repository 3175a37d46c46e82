"""What a change of CMP would change in the registries: rendered before and after it, in one transaction."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from omnicdc import db
from omnicdc.errors import RegistryError
from omnicdc.model import ALL
from omnicdc.registries.gc_pause import without_garbage_collection
from omnicdc.registries.projection import Projection
from omnicdc.registries.rows import readable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from omnicdc.model import Inputs
    from omnicdc.registries.scanner import Scanner
    from omnicdc.registries.tables import Tables


@dataclass(frozen=True, slots=True)
class Rendered:
    """The entries of one registry at one moment, or the reason why they are not known."""

    scanner: Scanner
    entries: Mapping[str, bytes]
    fault: str = ""


@dataclass(frozen=True, slots=True)
class Effect:
    """What would change in one registry."""

    registry: str
    before: int
    """The number of entries before the change."""
    after: int
    changed: tuple[str, ...] = ()
    """Entry keys whose entries would be another."""
    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
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


def rendered(
    conn: db.Connection,
    scanners: Mapping[str, Scanner],
    tables: Tables,
    inputs: Inputs,
    progress: Callable[[str], None],
) -> dict[str, Rendered]:
    """Render every registry from the rows that the transaction of `conn` sees. Returns scanner to entries.

    `progress` is called with the name of each scanner. Raises DatabaseUnavailable.
    """
    found = {}
    # The settings end with this savepoint: CMP's own triggers need the search_path of the role.
    with conn.transaction(force_rollback=True), without_garbage_collection():
        db.execute(conn, "confine", {"local": True})
        db.execute(conn, "refuse_policies")
        for name, scanner in scanners.items():
            progress(name)
            found[name] = _rendered(conn, scanner, tables, inputs)
    return found


def _rendered(conn: db.Connection, scanner: Scanner, tables: Tables, inputs: Inputs) -> Rendered:
    projection = Projection(scanner, inputs)
    try:
        projection.rebuild(*readable(conn, scanner, tables, ALL))
    except RegistryError as exc:
        return Rendered(scanner, {}, str(exc))
    document = projection.document
    return Rendered(scanner, {key: document.get(key) or b"" for key in document.entry_keys()})


def effect(before: Rendered, after: Rendered) -> Effect:
    """Return what differs between two renderings of one registry."""
    old, new = before.entries, after.entries
    changed = tuple(key for key, data in new.items() if key in old and old[key] != data)
    added = tuple(key for key in new if key not in old)
    removed = tuple(key for key in old if key not in new)
    concerned = [*_projects(before, (*changed, *removed)), *_projects(after, (*changed, *added))]
    return Effect(
        before.scanner.registry,
        len(old),
        len(new),
        changed,
        added,
        removed,
        frozenset(concerned),
        before.fault or after.fault,
    )


def _projects(it: Rendered, keys: tuple[str, ...]) -> Iterator[str]:
    layout = it.scanner.layout
    for key in keys:
        for core in layout.cores(it.entries[key]):
            yield from layout.item(core).projects
