"""What a transaction would change in one registry: its entries before and after, compared. No I/O."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from hashlib import sha256
from itertools import zip_longest
from typing import TYPE_CHECKING, Any

from omnicdc.formats.item import compare
from omnicdc.model import ALL, NO_IDS
from omnicdc.registries.scan import most_by_name
from omnicdc.verify.difference import EntryDifference, RegistryDifference, Side

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from omnicdc.formats.item import Differences
    from omnicdc.model import Frame, Ids
    from omnicdc.registries.block import Key
    from omnicdc.registries.document import Document
    from omnicdc.registries.projection import Projection
    from omnicdc.registries.scanner import Scanner


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
    """Entry keys whose entries would be another, or at another place."""
    added: frozenset[str] = frozenset()
    removed: frozenset[str] = frozenset()
    projects: frozenset[str] = frozenset()
    """The projects, or other keys of rows, that one of these entries shows, before or after."""
    fault: str = ""
    """Why this is not known."""
    entries: tuple[EntryDifference, ...] = ()
    """The first of these entries, as they are (`found`) and would be (`expected`): in the order of the file,
    and the removed ones last."""
    header: Differences = field(default_factory=dict)
    """The fields of the file's header that would change: to the value that it would have, and has."""
    quarantined: Mapping[str, str] = field(default_factory=dict)
    """Projects that would be held back from now on, to the reason."""
    released: tuple[str, ...] = ()
    """Projects that are held back, and would be so no longer."""

    @property
    def rewritten(self) -> bool:
        """True if the file would change."""
        return bool(self.changed or self.added or self.removed)

    @property
    def difference(self) -> RegistryDifference:
        """The file as it would be, compared with the file as it is, as far as `entries` go."""
        return RegistryDifference(
            self.registry, self.after, self.before, self.rewritten, self.entries, self.header
        )

    def as_dict(self) -> dict[str, Any]:
        """Return it for JSON: the counts."""
        counts = {"changed": len(self.changed), "added": len(self.added), "removed": len(self.removed)}
        return {"before": self.before, "after": self.after, **counts, "fault": self.fault}


@dataclass(frozen=True, slots=True)
class View:
    """What a registry shows of some entry keys at one moment."""

    entries: Mapping[str, tuple[Key, bytes]]
    count: int
    bare: bytes
    """The file with one of its entries: it has the whole header."""
    digest: bytes
    """The SHA-256 of the whole file."""
    quarantined: Mapping[str, str]

    @classmethod
    def of(cls, projection: Projection, keys: Iterable[str] | None = None) -> View:
        """Return the view of these entry keys; without keys, of all. Raises RegistryError."""
        document = projection.document
        if keys is None:
            found = list(document.entries())
        else:
            found = [(key, data) for key in keys if (data := document.get(key)) is not None]
        places = ((key, data, document.place_of(key)) for key, data in found)
        frame = projection.frame("")
        return cls(
            {key: (place, data) for key, data, place in places if place},
            len(document),
            _bare(document, frame),
            _digest(document, frame),
            projection.quarantined_projects(),
        )


def unchanged(it: Rendered) -> Effect:
    """Return the effect of nothing."""
    count = len(it.projection.document)
    return Effect(it.projection.name, count, count, fault=it.fault)


def compared(it: Rendered, old: View, new: View, most: int) -> Effect:
    """Return what differs between two views of the same entry keys, with at most `most` entries."""
    held = {key: why for key, why in new.quarantined.items() if old.quarantined.get(key) != why}
    released = tuple(sorted(old.quarantined.keys() - new.quarantined.keys()))
    if old.digest == new.digest:  # entries that do not show their keys may be equal though the keys differ
        return Effect(it.projection.name, old.count, new.count, quarantined=held, released=released)
    both = old.entries.keys() & new.entries.keys()
    changed = frozenset(key for key in both if old.entries[key] != new.entries[key])
    added, removed = frozenset(new.entries.keys() - both), frozenset(old.entries.keys() - both)
    places = {key: (new.entries.get(key) or old.entries[key])[0] for key in changed | added | removed}
    shown = sorted(places, key=lambda key: (key in removed, places[key]))[:most]
    return Effect(
        it.projection.name,
        old.count,
        new.count,
        changed,
        added,
        removed,
        frozenset(_projects(it.scanner, old, new, changed | added | removed)),
        entries=tuple(each for key in shown for each in _differences(it.scanner, key, old, new)),
        header=_header(it.scanner, old.bare, new.bare),
        quarantined=held,
        released=released,
    )


def to_render(it: Rendered, ids: Ids) -> Ids:
    """Return the keys to render again if the changes concern `ids`; ALL if that is necessary, or quicker."""
    if ids is ALL or it.fault or not (it.scanner.targeted or ids == NO_IDS):
        return ALL
    return ids if len(ids) <= most_by_name([it.projection]) else ALL


def _differences(scanner: Scanner, key: str, old: View, new: View) -> Iterator[EntryDifference]:
    """Yield the differences of an entry. It has several if it shows several rows of its key."""
    layout, found, expected = scanner.layout, Counter[bytes](), Counter[bytes]()
    for cores, view in ((found, old), (expected, new)):
        if key in view.entries:
            cores.update(layout.cores(view.entries[key][1]))
    pairs = zip_longest((expected - found).elements(), (found - expected).elements())
    for sides in pairs:
        ours, theirs = (None if core is None else Side(layout, core) for core in sides)
        yield EntryDifference(key, ours, theirs)


def _bare(document: Document, frame: Frame) -> bytes:
    first = next(document.entries(), None)
    entry = first[1].removesuffix(frame.separator) if first else b""
    return frame.header + entry + frame.footer


def _digest(document: Document, frame: Frame) -> bytes:
    found = sha256()
    for part in document.parts(frame):
        found.update(part)
    return found.digest()


def _header(scanner: Scanner, old: bytes, new: bytes) -> Differences:
    layout = scanner.layout
    if layout.frame(layout.split(old)) == layout.frame(layout.split(new)):
        return {}
    found, expected = (layout.header(layout.parse(layout.frame(layout.split(it)))) for it in (old, new))
    return compare(expected, found)


def _projects(scanner: Scanner, old: View, new: View, keys: frozenset[str]) -> Iterator[str]:
    """Yield the projects of these entries. Only an entry that several projects share must be parsed."""
    if not scanner.grouped:
        yield from keys
        return
    layout = scanner.layout
    for view in (old, new):
        for _, data in (view.entries[key] for key in keys & view.entries.keys()):
            for core in layout.cores(data):
                yield from layout.item(core).projects
