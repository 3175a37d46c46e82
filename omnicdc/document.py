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
from operator import add, itemgetter, sub
from typing import TYPE_CHECKING
from zlib import crc32

if TYPE_CHECKING:
    from collections.abc import Iterable, KeysView, Sequence

    from omnicdc.model import Entry

BLOCK_SIZE = 256
"""Entries in a block on average: the fewer, the less is hashed after a change, the more is listed."""

_Key = tuple[str, str, str]
"""An entry's sort, and its unit, so that no two are equal."""

_Row = tuple[_Key, bytes, tuple[int, ...]]


@dataclass(frozen=True, slots=True)
class Frame:
    """What surrounds the entries. Every entry's bytes end with `separator`; the file's last drops it."""

    header: bytes
    footer: bytes
    separator: bytes = b""


@dataclass(slots=True)
class _Block:
    """Neighbours: their bytes joined, what else is known of each in columns, to save memory."""

    keys: list[_Key] = field(default_factory=list)
    tallies: list[tuple[int, ...]] = field(default_factory=list)
    lengths: array[int] = field(default_factory=lambda: array("L"))
    data: bytes = b""
    digests: dict[int, str] = field(default_factory=dict)
    """By how many bytes the end is trimmed."""

    def entry(self, at: int) -> bytes:
        start = sum(self.lengths[:at])
        return self.data[start : start + self.lengths[at]]

    def splice(self, at: int, gone: int, rows: Sequence[_Row]) -> None:
        """Put `rows` in place of `gone` entries."""
        start = sum(self.lengths[:at])
        end = start + sum(self.lengths[at : at + gone])
        view = memoryview(self.data)
        self.data = b"".join((view[:start], *(data for _, data, _ in rows), view[end:]))
        self.keys[at : at + gone] = [key for key, _, _ in rows]
        self.tallies[at : at + gone] = [tally for _, _, tally in rows]
        self.lengths[at : at + gone] = array("L", [len(data) for _, data, _ in rows])
        self.digests.clear()

    def split(self, at: int) -> _Block:
        """Keep the entries before `at` and return the others."""
        cut = sum(self.lengths[:at])
        rest = _Block(self.keys[at:], self.tallies[at:], self.lengths[at:], self.data[cut:])
        self.splice(at, len(rest.keys), ())
        return rest

    def absorb(self, other: _Block) -> None:
        self.keys += other.keys
        self.tallies += other.tallies
        self.lengths += other.lengths
        self.data += other.data
        self.digests.clear()

    def digest(self, trim: int) -> tuple[int, str]:
        """Return length and SHA-256 without the last `trim` bytes; hashed once, until the block changes."""
        length = len(self.data) - trim
        if trim not in self.digests:
            self.digests[trim] = sha256(memoryview(self.data)[:length]).hexdigest()
        return length, self.digests[trim]


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
        document._sums = _sums([tally for _, _, tally in rows])
        document._fill(rows)
        return document

    def put(self, unit: str, entry: Entry) -> bool:
        """Insert the unit's entry, or replace it, moving it if it now sorts elsewhere.

        Returns False, having touched nothing, if it is already there and equal. Raises ValueError if
        its tally differs in length from the others'.
        """
        if self._keys and len(entry.tally) != len(self._sums):
            raise ValueError(f"a tally of {len(entry.tally)} among tallies of {len(self._sums)}: {unit}")
        row = self._row(unit, entry)
        if self._keys.get(unit) == row[0]:
            return self._replace(row)
        self.remove(unit)
        self._insert(row)
        return True

    def remove(self, unit: str) -> bool:
        """Take the unit's entry out; False if there is none."""
        if (key := self._keys.pop(unit, None)) is None:
            return False
        index, at = self._find(key)
        block = self._blocks[index]
        self._sums = tuple(map(sub, self._sums, block.tallies[at]))
        block.splice(at, 1, ())
        if self._ends_block(key) and index + 1 < len(self._blocks):
            block.absorb(self._blocks.pop(index + 1))
        if not block.keys:
            del self._blocks[index]
        return True

    def get(self, unit: str) -> bytes | None:
        """Return the bytes of the unit's entry, separator included."""
        if (key := self._keys.get(unit)) is None:
            return None
        index, at = self._find(key)
        return self._blocks[index].entry(at)

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

    def _row(self, unit: str, entry: Entry) -> _Row:
        (name, ident), data, tally = entry
        return (name, unit if ident == unit else ident, unit), data, self._tallies.setdefault(tally, tally)

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

    def _replace(self, row: _Row) -> bool:
        key, data, tally = row
        index, at = self._find(key)
        block = self._blocks[index]
        old = block.tallies[at]
        if differs := tally != old or data != block.entry(at):
            self._sums = tuple(map(add, map(sub, self._sums, old), tally))
            block.splice(at, 1, [row])
        return differs

    def _insert(self, row: _Row) -> None:
        key, _, tally = row
        index, at = self._find(key)
        if index == len(self._blocks):
            self._blocks.append(_Block())
        block = self._blocks[index]
        block.splice(at, 0, [row])
        if self._ends_block(key) and at + 1 < len(block.keys):
            self._blocks.insert(index + 1, block.split(at + 1))
        self._sums = tuple(map(add, self._sums, tally)) if self._keys else tally
        self._keys[key[2]] = key

    def _ends_block(self, key: _Key) -> bool:
        return crc32(key[2].encode("utf-8", "surrogatepass")) % self._block_size == 0


def _last(block: _Block) -> _Key:
    return block.keys[-1]


def _digest(part: bytes) -> tuple[int, str]:
    return len(part), sha256(part).hexdigest()


def _sums(tallies: Iterable[tuple[int, ...]]) -> tuple[int, ...]:
    # Few tallies differ: multiplying is several times faster than adding up columns of all.
    columns = zip(*([n * count for n in tally] for tally, count in Counter(tallies).items()), strict=True)
    return tuple(map(sum, columns))
