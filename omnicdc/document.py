"""One registry in memory: its entries in order, rendered, in blocks of a few hundred.

A change touches the bytes and the digest of its own block and of no other. The scanners render
entries and frames, `publish` writes the parts and records their digests; nothing here does I/O.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections import Counter
from dataclasses import dataclass, field
from hashlib import sha256
from itertools import pairwise
from operator import itemgetter
from typing import TYPE_CHECKING
from zlib import crc32

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, KeysView, Mapping, Sequence

    from omnicdc.model import Entry

BLOCK_SIZE = 256
"""Entries in a block on average: the fewer, the less is hashed after a change, the more is listed."""

_Key = tuple[str, str, str]
"""An entry's sort, and its unit, so that no two are equal."""

_Row = tuple[_Key, bytes, tuple[int, ...]]

_Edit = tuple[int, _Row | None, _Row | None]
"""A place in a block, what it holds that must go, and what must stand there instead."""


@dataclass(frozen=True, slots=True)
class Frame:
    """What surrounds the entries. Every entry's bytes end with `separator`; the file's last drops it."""

    header: bytes
    footer: bytes
    separator: bytes = b""


@dataclass(slots=True)
class _Block:
    """Neighbours, for good: their bytes joined, what else is known of each in columns, to save memory."""

    keys: list[_Key] = field(default_factory=list)
    tallies: list[tuple[int, ...]] = field(default_factory=list)
    lengths: array[int] = field(default_factory=lambda: array("L"))
    data: bytes = b""
    digests: dict[int, str] = field(default_factory=dict)
    """By how many bytes the end is trimmed."""

    def row(self, at: int) -> _Row:
        start = sum(self.lengths[:at])
        return self.keys[at], self.data[start : start + self.lengths[at]], self.tallies[at]

    def digest(self, trim: int) -> tuple[int, str]:
        """Return length and SHA-256 without the last `trim` bytes; hashed once."""
        length = len(self.data) - trim
        if trim not in self.digests:
            self.digests[trim] = sha256(memoryview(self.data)[:length]).hexdigest()
        return length, self.digests[trim]


@dataclass(slots=True)
class _Draft:
    """A block in the making: runs of older ones, and new rows between them."""

    keys: list[_Key] = field(default_factory=list)
    tallies: list[tuple[int, ...]] = field(default_factory=list)
    lengths: array[int] = field(default_factory=lambda: array("L"))
    pieces: list[bytes | memoryview] = field(default_factory=list)

    def keep(self, block: _Block, start: int, end: int, offset: int) -> int:
        """Add the block's entries from `start` to `end`; they begin at byte `offset`. Returns where they end."""
        lengths = block.lengths[start:end]
        past = offset + sum(lengths)
        self.keys += block.keys[start:end]
        self.tallies += block.tallies[start:end]
        self.lengths += lengths
        self.pieces.append(memoryview(block.data)[offset:past])
        return past

    def add(self, row: _Row) -> None:
        key, data, tally = row
        self.keys.append(key)
        self.tallies.append(tally)
        self.lengths.append(len(data))
        self.pieces.append(data)

    def finish(self) -> _Block:
        """Return the block and start over."""
        block = _Block(self.keys, self.tallies, self.lengths, b"".join(self.pieces))
        self.keys, self.tallies, self.lengths, self.pieces = [], [], array("L"), []
        return block


class Document:
    """The entries of one registry, by name and id in code point order.

    A unit is whatever owns an entry: a project's id, a repository's URL key. All tallies are equally long.

    A block ends after each entry whose unit's CRC is a multiple of `block_size`, so blocks and digests
    follow from the content alone: what many changes led to compares equal, block by block, to what a
    full scan builds. (Content-defined chunking at the entries' borders, as in Noms' prolly trees.)
    """

    def __init__(self, block_size: int = BLOCK_SIZE) -> None:
        self._block_size = block_size
        self._blocks: list[_Block] = []
        self._keys: dict[str, _Key] = {}
        self._sums: tuple[int, ...] = ()
        self._tallies: dict[tuple[int, ...], tuple[int, ...]] = {}

    @classmethod
    def from_entries(cls, entries: Iterable[tuple[str, Entry]], block_size: int = BLOCK_SIZE) -> Document:
        """Build a document; of several entries of a unit the last counts. ValueError if tallies differ in length."""
        document = cls(block_size)
        tallies = document._tallies
        by_unit = {
            # Entries are many and alike: keep one copy of an id that is also the unit, and of each tally.
            unit: ((name, unit if ident == unit else ident, unit), data, tallies.setdefault(tally, tally))
            for unit, ((name, ident), data, tally) in entries
        }
        document._keys = {unit: key for unit, (key, _, _) in by_unit.items()}
        rows = sorted(by_unit.values(), key=itemgetter(0))
        document._sums = _sums(Counter(tally for _, _, tally in rows))
        document._fill(rows)
        return document

    def update(self, entries: Mapping[str, Entry | None]) -> bool:
        """Insert or replace the entry of each unit, moving it if it now sorts elsewhere; None takes it out.

        Each block concerned is built anew once, however many of its entries change. Returns False if
        nothing differs; what is equal already is not touched. Raises ValueError, before anything
        changes, if tallies would differ in length.
        """
        self._refuse_unequal(entries)
        if places := self._places(entries):
            edits = [edit for found in places.values() for edit in found]
            gone = [old for _, old, _ in edits if old]
            came = [new for _, _, new in edits if new]
            self._count(gone, came)
            for key, _, _ in gone:
                del self._keys[key[2]]
            self._keys.update((key[2], key) for key, _, _ in came)
            self._rebuild(places)
        return bool(places)

    def put(self, unit: str, entry: Entry) -> bool:
        """Do what `update` does, for one unit."""
        return self.update({unit: entry})

    def remove(self, unit: str) -> bool:
        """Take the unit's entry out; False if there is none."""
        return self.update({unit: None})

    def get(self, unit: str) -> bytes | None:
        """Return the bytes of the unit's entry, separator included."""
        if (key := self._keys.get(unit)) is None:
            return None
        index, at = self._find(key)
        return self._blocks[index].row(at)[1]

    def units(self) -> KeysView[str]:
        """Return a live view of the units, in no particular order; it compares and subtracts like a set."""
        return self._keys.keys()

    def __len__(self) -> int:
        """Count the entries."""
        return len(self._keys)

    def __contains__(self, unit: object) -> bool:
        """Tell whether the unit has an entry."""
        return unit in self._keys

    @property
    def tally(self) -> tuple[int, ...]:
        """The sum of all tallies, place by place; `()` while there is no entry."""
        return self._sums if self._keys else ()

    def parts(self, frame: Frame) -> list[bytes | memoryview]:
        """Return the file: header, blocks, footer (even if empty). No copies; later changes leave them as they are."""
        blocks = (block.data for block in self._blocks)
        parts: list[bytes | memoryview] = [frame.header, *blocks, frame.footer]
        if trim := self._trim(frame):
            parts[-2] = memoryview(parts[-2])[:-trim]
        return parts

    def digests(self, frame: Frame) -> tuple[tuple[int, str], ...]:
        """Return length and SHA-256 of each part, in order; only blocks that changed are hashed again."""
        trims = {len(self._blocks) - 1: self._trim(frame)}
        blocks = [block.digest(trims.get(at, 0)) for at, block in enumerate(self._blocks)]
        return (_digest(frame.header), *blocks, _digest(frame.footer))

    def _trim(self, frame: Frame) -> int:
        if self._blocks and not self._blocks[-1].data.endswith(frame.separator):
            raise ValueError(f"the last entry does not end with the separator {frame.separator!r}")
        return len(frame.separator) if self._blocks else 0

    def _refuse_unequal(self, entries: Mapping[str, Entry | None]) -> None:
        others_stay = sum(unit in self._keys for unit in entries) < len(self._keys)
        lengths = {len(self._sums): ""} if others_stay else {}
        for unit, entry in entries.items():
            if entry is not None:
                lengths.setdefault(len(entry.tally), unit)
        if len(lengths) > 1:
            (expected, _), (found, unit), *_ = lengths.items()
            raise ValueError(f"a tally of {found} among tallies of {expected}: {unit}")

    def _row(self, unit: str, entry: Entry) -> _Row:
        (name, ident), data, tally = entry
        key, old = (name, unit if ident == unit else ident, unit), self._keys.get(unit)
        return old if old == key else key, data, self._tallies.setdefault(tally, tally)

    def _fill(self, rows: Sequence[_Row]) -> None:
        ends = [end for end, (key, _, _) in enumerate(rows, 1) if self._ends_block(key)]
        for start, end in pairwise([0, *ends, len(rows)]):
            if start < end:
                keys, data, tallies = zip(*rows[start:end], strict=True)
                lengths = array("L", map(len, data))
                self._blocks.append(_Block([*keys], [*tallies], lengths, b"".join(data)))

    def _find(self, key: _Key) -> tuple[int, int]:
        """Return the block whose range holds `key`, and the place in it."""
        index = bisect_left(self._blocks, key, key=_last)
        if index == len(self._blocks) and index and not self._ends_block(_last(self._blocks[-1])):
            index -= 1
        at = bisect_left(self._blocks[index].keys, key) if index < len(self._blocks) else 0
        return index, at

    def _places(self, entries: Mapping[str, Entry | None]) -> dict[int, list[_Edit]]:
        """Return what differs, in order, by the index of the block that holds the place now."""
        wanted: dict[_Key, _Row | None] = {}
        for unit, entry in entries.items():
            if old_key := self._keys.get(unit):
                wanted[old_key] = None
            if entry is not None:
                row = self._row(unit, entry)
                wanted[row[0]] = row
        places: dict[int, list[_Edit]] = {}
        for key in sorted(wanted):
            index, at = self._find(key)
            old = self._blocks[index].row(at) if self._keys.get(key[2]) == key else None
            if old != wanted[key]:
                places.setdefault(index, []).append((at, old, wanted[key]))
        return places

    def _count(self, gone: Sequence[_Row], came: Sequence[_Row]) -> None:
        counts = Counter(tally for _, _, tally in came)
        if len(gone) < len(self._keys):
            counts.subtract(tally for _, _, tally in gone)
            counts[self._sums] += 1
        self._sums = _sums(counts)

    def _rebuild(self, places: Mapping[int, Sequence[_Edit]]) -> None:
        first, last = min(places), max(places)
        index, draft, blocks = first, _Draft(), list[_Block]()
        # A block that lost its end goes on into the next one.
        while index <= last or (draft.keys and index < len(self._blocks)):
            block = self._blocks[index] if index < len(self._blocks) else _Block()
            if draft.keys or index in places:
                blocks += self._edited(draft, block, places.get(index, ()))
            else:
                blocks.append(block)
            index += 1
        if draft.keys:
            blocks.append(draft.finish())
        self._blocks[first:index] = blocks

    def _edited(self, draft: _Draft, block: _Block, edits: Iterable[_Edit]) -> Iterator[_Block]:
        """Add a block to the draft; yields the draft whenever it comes to an end. Only new rows bring new ends."""
        start = offset = 0
        for at, old, new in edits:
            offset = draft.keep(block, start, at, offset)
            if old:
                offset += len(old[1])
            start = at + bool(old)
            if new:
                draft.add(new)
                if self._ends_block(new[0]):
                    yield draft.finish()
        draft.keep(block, start, len(block.keys), offset)
        if draft.keys and self._ends_block(draft.keys[-1]):
            yield draft.finish()

    def _ends_block(self, key: _Key) -> bool:
        return crc32(key[2].encode("utf-8", "surrogatepass")) % self._block_size == 0


def _last(block: _Block) -> _Key:
    return block.keys[-1]


def _digest(part: bytes) -> tuple[int, str]:
    return len(part), sha256(part).hexdigest()


def _sums(counts: Mapping[tuple[int, ...], int]) -> tuple[int, ...]:
    # Few tallies differ: multiplying is several times faster than adding up columns of all.
    columns = zip(*([n * count for n in tally] for tally, count in counts.items()), strict=True)
    return tuple(map(sum, columns))
