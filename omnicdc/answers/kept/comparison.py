"""Compares two versions of the registries, entry by entry. Blocks that both have are not read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from omnicdc.answers.kept.reference import path_of
from omnicdc.files.contents import NOT_PARSED
from omnicdc.model import Fault
from omnicdc.registries.catalog import registries
from omnicdc.verify.difference import RegistryDifference, versions

if TYPE_CHECKING:
    from collections.abc import Sequence

    from omnicdc.answers.kept.version import Blocks, Version
    from omnicdc.config.settings import Config
    from omnicdc.formats.item import Differences
    from omnicdc.formats.layout import Layout
    from omnicdc.verify.difference import EntryDifference

State = Literal["changed", "added", "removed"]


@dataclass(frozen=True, slots=True)
class RegistryComparison:
    """A registry that differs."""

    path: str
    state: State
    """`added` and `removed`: only one of the versions has the file."""
    difference: RegistryDifference

    @property
    def counts(self) -> dict[str, int]:
        """How many entries differ, by kind."""
        found = self.difference
        return {"changed": len(found.changed), "added": len(found.added), "removed": len(found.removed)}

    def as_dict(self, *, entries: bool) -> dict[str, Any]:
        """Return it for JSON, with or without the entries."""
        found = self.difference
        answer = {
            "registry": found.name,
            "path": self.path,
            "state": self.state,
            "note": found.fault.reason if found.fault else None,
            **self.counts,
        }
        if not entries:
            return answer
        header = {name: {"before": old, "after": new} for name, (new, old) in found.header.items()}
        return answer | {"header": header, "entries": [_entry(entry) for entry in found.entries]}


def compare(
    config: Config, before: Version, after: Version, wanted: Sequence[str] = ()
) -> list[RegistryComparison]:
    """Return the registries that differ, in the order of `before`. `generated_at` is ignored.

    `wanted` are the registries to compare; by default all. Raises ConfigError for one that neither has, and
    RegistryError if a version cannot be read.
    """
    scanners = registries(config)
    layouts = {scanner.path: scanner.layout for scanner in scanners.values()}
    paths = [*dict.fromkeys([*before.files, *after.files])]
    if wanted:
        known = {name: scanner.path for name, scanner in scanners.items()}
        paths = [*dict.fromkeys(path_of(registry, paths, known) for registry in wanted)]
    found = (_compared(path, layouts.get(path), before, after) for path in paths)
    return [comparison for comparison in found if comparison]


def _compared(path: str, layout: Layout | None, before: Version, after: Version) -> RegistryComparison | None:
    name, old, new = path.rsplit("/", 1)[-1], before.files.get(path), after.files.get(path)
    if old == new:
        return None
    if old is None or new is None:
        state: State = "added" if old is None else "removed"
        where = after.title if old is None else before.title
        return RegistryComparison(path, state, _noted(name, f"only {where} has this registry"))
    if layout is None:
        why = f"the configuration has no such registry now - `omnicdc show GENERATION:{name}` prints it"
        return RegistryComparison(path, "changed", _noted(name, why))
    ours, theirs = (_differing(each, path, old, new) for each in (before, after))
    try:
        if ours.replace(_stamp(layout, ours), _stamp(layout, theirs)) == theirs:
            return None
        return RegistryComparison(path, "changed", versions(name, layout, ours, theirs))
    except NOT_PARSED:
        why = "its layout is not that of omnicdc, so its entries are not compared"
        return RegistryComparison(path, "changed", _noted(name, why))


def _differing(version: Version, path: str, old: Blocks, new: Blocks) -> bytes:
    """Return a file without the blocks of entries that both versions have.

    The last block of entries is always there, because it has no separator at its end, and because a file
    without entries has another frame.
    """
    common = {digest for _, digest in old[1:-2]} & {digest for _, digest in new[1:-2]}
    wanted = {digest for _, digest in version.files[path]} - common
    return b"".join(data for _, data in version.data(path, wanted))


def _stamp(layout: Layout, data: bytes) -> bytes:
    return layout.stamp(layout.split(data).head).encode() or b"\0"


def _noted(name: str, reason: str) -> RegistryDifference:
    return RegistryDifference(name, 0, 0, rewritten=True, fault=Fault(reason))


def _entry(entry: EntryDifference) -> dict[str, Any]:
    kind = "changed" if entry.expected and entry.found else "added" if entry.expected else "removed"
    differences: Differences = entry.fields
    if entry.expected is None or entry.found is None:
        ours, theirs = (side.item.fields if side else {} for side in (entry.expected, entry.found))
        differences = {name: (ours.get(name), theirs.get(name)) for name in {**ours, **theirs}}
    fields = {name: {"before": old, "after": new} for name, (new, old) in differences.items()}
    return {"key": entry.entry_key, "title": entry.title, "kind": kind, "fields": fields}
