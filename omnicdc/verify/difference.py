"""Compares a registry file with CMP, entry by entry, and formats the result as a diff. No I/O."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from itertools import islice, zip_longest
from typing import TYPE_CHECKING

from omnicdc.errors import RegistryError
from omnicdc.files.contents import NOT_PARSED, REMEDY, understand
from omnicdc.files.drift import stamp_of
from omnicdc.formats.item import Differences, Item, compare
from omnicdc.formats.text import shortened
from omnicdc.model import Fault

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

    from omnicdc.formats.layout import Layout, Split
    from omnicdc.registries.projection import Projection

    _Owned = tuple[str, "Side"]
    _Compared = tuple[int, tuple["EntryDifference", ...], Differences]

MAX_DIFF_LINES = 2000
"""An entry with more lines than this is not compared line by line."""

MAX_LINE_CHARS = 300
"""A longer line is cut."""

CHECK_DAEMON = "is the daemon running? `omnicdc status`"


@dataclass(frozen=True, slots=True)
class Side:
    """One side of a comparison: the bytes of an entry if we wrote the file, else the parsed entry."""

    layout: Layout
    core: bytes = b""
    parsed: Item | None = None

    @property
    def item(self) -> Item:
        """The parsed entry."""
        return self.parsed or self.layout.item(self.core)

    @property
    def data(self) -> bytes:
        """The entry's bytes; if they are not known, JSON of its fields."""
        if self.parsed is None:
            return self.layout.entry(self.core)
        return json.dumps(self.parsed.fields, indent=2, ensure_ascii=False, default=str).encode()


@dataclass(frozen=True, slots=True)
class EntryDifference:
    """A difference in one entry. `found` is None: it is missing. `expected` is None: it should not exist."""

    entry_key: str
    expected: Side | None
    found: Side | None

    @property
    def fields(self) -> Differences:
        """The fields that differ; empty if one of the sides is missing."""
        if self.expected is None or self.found is None:
            return {}
        return compare(self.expected.item.fields, self.found.item.fields)

    @property
    def name(self) -> str | None:
        """The name that the entry shows to people; None if it has none besides its key."""
        side = self.expected or self.found
        fields = side.item.fields if side else {}
        names = (fields.get("display_name"), fields.get("name"))
        return next((it for it in names if isinstance(it, str) and it and it != self.entry_key), None)

    @property
    def title(self) -> str:
        """The entry key, and the name that the entry shows, if it shows one."""
        return f"{self.entry_key} {self.name}" if self.name else self.entry_key


@dataclass(frozen=True, slots=True)
class RegistryDifference:
    """The differences between a registry as it should be and its file. `generated_at` is ignored."""

    name: str
    """Name of the file."""
    expected: int
    """Number of entries that the file should have."""
    found: int
    """Number of entries that the file has."""
    rewritten: bool = False
    """True if a rebuild would rewrite the file."""
    entries: tuple[EntryDifference, ...] = ()
    header: Differences = field(default_factory=dict)
    fault: Fault | None = None
    """Why the file does not parse. The entries that can be parsed are compared anyway."""

    @property
    def added(self) -> tuple[EntryDifference, ...]:
        """The entries that are missing in the file."""
        return tuple(entry for entry in self.entries if entry.found is None)

    @property
    def removed(self) -> tuple[EntryDifference, ...]:
        """The entries that the file should not have."""
        return tuple(entry for entry in self.entries if entry.expected is None)

    @property
    def changed(self) -> tuple[EntryDifference, ...]:
        """The entries that are in the file, but with other values."""
        return tuple(entry for entry in self.entries if entry.expected and entry.found)


def differences(registry: Projection, data: bytes | None) -> RegistryDifference:
    """Compare a registry with a file's bytes, in time linear in their number. None: there is no file.

    An error of the file is in the result's `fault`.
    """
    name, count = registry.scanner.registry, len(registry.document)
    layout, wanted = registry.scanner.layout, _rendered(registry, data or b"")
    if data == wanted:
        return RegistryDifference(name, count, count)
    expected = layout.split(wanted)
    try:
        parsed = _parsed(layout, data)
    except RegistryError as exc:
        found, entries = _by_parsable_entries(layout, expected, data or b"")
        fault = Fault(exc.message, exc.hint)
        return RegistryDifference(name, count, found, rewritten=True, entries=entries, fault=fault)
    try:
        found, entries, header = _compared(layout, expected, data or b"", parsed)
    except NOT_PARSED as exc:
        found, entries = _by_parsable_entries(layout, expected, data or b"")
        fault = Fault(f"the file holds something else than entries: {exc}", REMEDY)
        return RegistryDifference(name, count, found, rewritten=True, entries=entries, fault=fault)
    return RegistryDifference(name, count, found, rewritten=True, entries=entries, header=header)


def _compared(layout: Layout, expected: Split, data: bytes, parsed: object) -> _Compared:
    """Compare the entries: of our layout by their bytes. Raises an error of NOT_PARSED."""
    try:
        return _by_bytes(layout, expected, layout.split(data))
    except ValueError:
        return _by_value(layout, expected, parsed or layout.parse(data))


def versions(name: str, layout: Layout, before: bytes, after: bytes) -> RegistryDifference:
    """Compare two versions of a file that omnicdc wrote; raises ValueError if one has another layout."""
    expected, found = layout.split(after), layout.split(before)
    count, entries, header = _by_bytes(layout, expected, found)
    return RegistryDifference(
        name, len(expected.cores), count, rewritten=before != after, entries=entries, header=header
    )


def unified(
    difference: RegistryDifference,
    limit: int | None = 20,
    titles: tuple[str, str] = ("as it is", "as CMP has it"),
    longest: int = MAX_LINE_CHARS,
) -> Iterator[str]:
    """Yield the difference as a diff: lines of the file with `-`, lines as they should be with `+`.

    At most `limit` entries are shown, then the number of the others; None for all. Lines are cut after
    `longest` characters. Control characters are escaped, so that the lines are safe to print.
    """
    return (shortened(line, longest) for line in _unified(difference, limit, titles))


def _unified(difference: RegistryDifference, limit: int | None, titles: tuple[str, str]) -> Iterator[str]:
    if not difference.rewritten:
        return
    yield f"--- {difference.name}, {titles[0]}"
    yield f"+++ {difference.name}, {titles[1]}"
    if difference.fault:
        yield f"# {difference.fault.reason}"
    for name, (expected, found) in difference.header.items():
        yield from _header_lines(name, expected, found)
    for entry in difference.entries[:limit]:
        yield f"@@ {entry.title} @@"
        yield from _lines(entry)
    if limit is not None and len(difference.entries) > limit:
        yield f"# {len(difference.entries) - limit} more entries differ"
    if not (difference.fault or difference.header or difference.entries):
        yield "# the same entries, in another order or layout"


def _header_lines(name: str, expected: object, found: object) -> Iterator[str]:
    """Yield a value of the header that differs; of a mapping only the values that differ."""
    if isinstance(expected, dict) and isinstance(found, dict):
        for key, (ours, theirs) in compare(expected, found).items():
            yield from _header_lines(f"{name}.{key}", ours, theirs)
    else:
        yield from (f"-{name}: {found}", f"+{name}: {expected}")


def _parsed(layout: Layout, data: bytes | None) -> object:
    """Return the parsed file; None if its layout is ours. Raises RegistryError if it does not parse."""
    if data is None:
        raise RegistryError("the file does not exist", hint=CHECK_DAEMON)
    return understand(layout, data).parsed


def _rendered(registry: Projection, data: bytes) -> bytes:
    """Return the whole file as it should be, with the time of publication that the present file shows."""
    stamp = stamp_of(data, registry.scanner.layout)
    return b"".join(registry.document.parts(registry.frame(stamp)))


def _by_bytes(layout: Layout, expected: Split, found: Split) -> _Compared:
    """Compare the bytes of entries. Only entries that have no equal on the other side are parsed.

    Raises ValueError if the layout is not ours.
    """
    header: Differences = {}
    if (found.head, found.foot) != (expected.head, expected.foot):
        bare = layout.parse(layout.frame(found))
        if any(True for _ in layout.items(bare)):
            raise ValueError("entries where none should be")
        header = compare(layout.header(layout.parse(layout.frame(expected))), layout.header(bare))
    missing = Counter(expected.cores) - Counter(found.cores)
    surplus = Counter(found.cores) - Counter(expected.cores)
    ours = ((layout.entry_key(core), Side(layout, core)) for core in missing.elements())
    theirs = ((layout.item(core).entry_key, Side(layout, core)) for core in surplus.elements())
    return len(found.cores), _paired(ours, theirs), header


def _by_value(layout: Layout, expected: Split, parsed: object) -> _Compared:
    items = list(layout.items(parsed))
    header = compare(layout.header(layout.parse(layout.frame(expected))), layout.header(parsed))
    ours = (Side(layout, parsed=layout.item(core)) for core in expected.cores)
    theirs = (Side(layout, parsed=item) for item in items)
    pairs = _paired(
        ((side.item.entry_key, side) for side in ours), ((side.item.entry_key, side) for side in theirs)
    )
    differing = (pair for pair in pairs if pair.fields or not (pair.expected and pair.found))
    return len(items), tuple(differing), header


def _by_parsable_entries(
    layout: Layout, expected: Split, data: bytes
) -> tuple[int, tuple[EntryDifference, ...]]:
    """Compare the entries that can be parsed, in a file that does not parse as a whole."""
    held = set(expected.cores)
    found = {
        core: entry_key
        for core in layout.split(data).cores
        if (entry_key := _entry_key_or_empty(layout, core, held))
    }
    ours = ((layout.entry_key(core), Side(layout, core)) for core in expected.cores if core not in found)
    theirs = ((entry_key, Side(layout, core)) for core, entry_key in found.items() if core not in held)
    return len(found), _paired(ours, theirs)


def _entry_key_or_empty(layout: Layout, core: bytes, known: Collection[bytes]) -> str:
    try:
        return layout.entry_key(core) if core in known else layout.item(core).entry_key
    except ValueError:
        return ""


def _paired(expected: Iterable[_Owned], found: Iterable[_Owned]) -> tuple[EntryDifference, ...]:
    """Pair the two sides of each entry key: first the expected keys, then the other keys in the file."""
    entry_keys: dict[str, tuple[list[Side], list[Side]]] = {}
    for place, sides in enumerate((expected, found)):
        for entry_key, side in sides:
            entry_keys.setdefault(entry_key, ([], []))[place].append(side)
    return tuple(
        EntryDifference(entry_key, *pair)
        for entry_key, both in entry_keys.items()
        for pair in zip_longest(*both)
    )


def _lines(entry: EntryDifference) -> Iterable[str]:
    from difflib import unified_diff  # noqa: PLC0415 - only for output to people

    found, expected = (
        side.data.decode(errors="replace").splitlines() if side else []
        for side in (entry.found, entry.expected)
    )
    if max(len(found), len(expected)) > MAX_DIFF_LINES:
        return [f"-{len(found)} lines", f"+{len(expected)} lines"]
    compared = islice(unified_diff(found, expected, lineterm="", n=1), 2, None)
    return (line for line in compared if not line.startswith("@@"))
