"""Says why an entry that Omni's scanners wrote differs from omnicdc's: the known reasons. No I/O.

A difference without a known reason must be looked at before the cutover.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from omnicdc.formats.item import ABSENT
from omnicdc.inputs.inventory import CMP, GONE

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    from omnicdc.formats.item import Differences
    from omnicdc.verify.difference import EntryDifference, RegistryDifference

LATER = "CMP was changed after Omni's scan"
DOMAIN = "omnicdc adds the key `domain`"
NOTES = "an override with empty notes gives null, not an empty text"
SHALLOWEST = "of several clones of a repository, the shallowest is shown"
IDS = "omnicdc adds the ids of the projects that use the repository: `uuid`, `uuids`"
SOURCE = "omnicdc marks a repository that GitHub does not list: `source`"
ONLY_CMP = "omnicdc also lists repositories that only CMP names"
TWICE = "of two elements for one repository, the later one's fields win"
NEW_FILE = "Omni's scanners do not write this file"
COUNTERS = "the numbers in the header follow from the entries"

_COUNTERS = ("stats", "count")


@dataclass(frozen=True, slots=True)
class Unexplained:
    """A difference without a known reason: one entry, or the header if `entry_key` is empty."""

    entry_key: str
    name: str
    kind: str
    """`only Omni`, `only omnicdc`, or `differs`."""
    fields: Differences = field(default_factory=dict)
    """Only the fields without a known reason."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """The differences of one registry: how many have each known reason, and those without one."""

    explained: Mapping[str, int]
    unexplained: tuple[Unexplained, ...]


def judge(scanner: str, found: RegistryDifference, *, present: bool, changed: frozenset[str]) -> Judgement:
    """Judge the differences of a registry.

    `present` is false if Omni has no such file. `changed` has the ids of the projects that CMP changed after
    Omni's scan.
    """
    if not present:
        return Judgement({NEW_FILE: len(found.added) or 1}, ())
    explained: dict[str, int] = {}
    unexplained = []
    twice = _twice(found)
    for entry in found.entries:
        reasons, rest = _reasons(scanner, entry, changed, twice)
        for reason in reasons:
            explained[reason] = explained.get(reason, 0) + 1
        unexplained += rest
    for name, pair in found.header.items():
        if name in _COUNTERS and found.entries:
            explained[COUNTERS] = explained.get(COUNTERS, 0) + 1
        else:
            unexplained.append(Unexplained("", name, "differs", {name: pair}))
    # The most frequent first; a set above has no order of its own.
    ordered = sorted(explained.items(), key=lambda it: (-it[1], it[0]))
    return Judgement(dict(ordered), tuple(unexplained))


def _twice(found: RegistryDifference) -> frozenset[str]:
    """Return the keys of entries that Omni's file has more than once."""
    both = {it.entry_key for it in found.entries if it.expected and it.found}
    surplus = [it.entry_key for it in found.removed]
    return frozenset(key for key in surplus if key in both or surplus.count(key) > 1)


def _reasons(
    scanner: str, entry: EntryDifference, changed: frozenset[str], twice: Collection[str]
) -> tuple[set[str], list[Unexplained]]:
    side = entry.expected or entry.found
    assert side is not None  # noqa: S101 - a difference has at least one side
    later = not changed.isdisjoint(_projects(entry))
    if later and not (entry.expected and entry.found):
        return {LATER}, []
    name = str(side.item.fields.get("display_name") or side.item.fields.get("name") or "")
    if entry.entry_key in twice:
        return {TWICE}, []
    if entry.found is None:
        if scanner == "git" and side.item.fields.get("source") == CMP:
            return {ONLY_CMP}, []
        return set(), [Unexplained(entry.entry_key, name, "only omnicdc")]
    if entry.expected is None:
        return set(), [Unexplained(entry.entry_key, name, "only Omni")]
    reasons, rest = set(), {}
    for key, pair in entry.fields.items():
        if reason := _reason(scanner, key, *pair):
            reasons.add(reason)
        else:
            rest[key] = pair
    if rest and later:
        reasons, rest = reasons | {LATER}, {}
    return reasons, [Unexplained(entry.entry_key, name, "differs", rest)] if rest else []


def _projects(entry: EntryDifference) -> Iterator[str]:
    for side in (entry.expected, entry.found):
        if side:
            yield from side.item.projects


def _reason(scanner: str, key: str, expected: object, found: object) -> str:
    """Return the known reason why a field differs; empty if there is none."""
    if scanner == "project":
        if key == "domain" and found == ABSENT:
            return DOMAIN
        if key == "notes" and expected is None and found == "":
            return NOTES
        if key == "local_paths" and _is_shallower(expected, found):
            return SHALLOWEST
    if scanner == "git":
        if key in {"uuid", "uuids"} and found == ABSENT:
            return IDS
        if key == "source" and found == ABSENT and expected in {CMP, GONE}:
            return SOURCE
    return ""


def _is_shallower(expected: object, found: object) -> bool:
    """Whether each list has one path, and the expected one has fewer directories above it."""
    if not (isinstance(expected, list) and isinstance(found, list) and len(expected) == len(found) == 1):
        return False
    return str(expected[0]).count("/") < str(found[0]).count("/")
