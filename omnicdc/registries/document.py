"""One registry in memory: its rendered entries in order, in blocks of a few hundred entries.

A change touches the bytes and the digest of its own block only. The scanners render the entries and frames.
`files.publication` writes the parts and records their digests. No I/O here.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections import Counter, defaultdict
from hashlib import sha256
from itertools import groupby, pairwise
from operator import itemgetter
from typing import TYPE_CHECKING
from zlib import crc32

from omnicdc.registries.block import Block, Key, Row

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, KeysView, Mapping, Sequence

    from omnicdc.model import Entry, Frame
    from omnicdc.registries.block import Edit

BLOCK_SIZE = 256
"""Average entries of a block. Smaller ones: less to hash after a change, but more digests in the manifest."""


class Document:
    """The entries of one registry, sorted by name and id in code point order.

    An *entry key* identifies an entry: a project's id, or a repository's URL key. All entries have equally
    many counters.

    A block ends after each entry whose key's CRC is a multiple of `block_size`, so blocks and digests
    depend on the content alone. A document after many changes has the same blocks as one that a full scan
    builds. (This is content-defined chunking at the borders of entries, as in the prolly trees of Noms.)
    """

    def __init__(self, block_size: int = BLOCK_SIZE) -> None:
        self._block_size = block_size
        self._blocks: list[Block] = []
        self._keys: dict[str, Key] = {}
        self._sums: tuple[int, ...] = ()
        self._known_counters: dict[tuple[int, ...], tuple[int, ...]] = {}

    @classmethod
    def from_entries(cls, entries: Iterable[tuple[str, Entry]], block_size: int = BLOCK_SIZE) -> Document:
        """Build a document. If a key has several entries, the last one is used.

        Raises ValueError if the counters differ in length.
        """
        document = cls(block_size)
        counters_seen = document._known_counters
        by_entry_key = {
            # There are many entries with equal values: keep one copy of each id and of each tuple of
            # counters.
            entry_key: (
                (name, entry_key if ident == entry_key else ident, entry_key),
                data,
                counters_seen.setdefault(counters, counters),
            )
            for entry_key, ((name, ident), data, counters) in entries
        }
        document._keys = {entry_key: key for entry_key, (key, _, _) in by_entry_key.items()}
        rows = sorted(by_entry_key.values(), key=itemgetter(0))
        document._sums = _sums(Counter(counters for _, _, counters in rows))
        document._fill(rows)
        return document

    def update(self, entries: Mapping[str, Entry | None]) -> bool:
        """Insert or replace the entry of each key; None removes it. An entry whose sort key changed is moved.

        Each block is rebuilt once, even if many of its entries change. Returns False, without any change, if
        the document already holds this. Raises ValueError, before any change, if the counters would differ
        in length.
        """
        self._refuse_unequal(entries)
        if found := self._compare(entries):
            self._update_totals([edit for _, edits in found for edit in edits])
        for index, edits in reversed(found):
            self._apply(index, edits)
        return bool(found)

    def put(self, entry_key: str, entry: Entry) -> bool:
        """As `update`, for one entry key."""
        return self.update({entry_key: entry})

    def remove(self, entry_key: str) -> bool:
        """Remove the entry of a key. Return False if there is none."""
        return self.update({entry_key: None})

    def get(self, entry_key: str) -> bytes | None:
        """Return the bytes of the key's entry with its separator; None if there is no entry."""
        if (key := self._keys.get(entry_key)) is None:
            return None
        return self._blocks[self._index(key)].entry(key)

    def entries(self) -> Iterator[tuple[str, bytes]]:
        """Yield each entry key with the bytes of its entry, in order. Quicker than `get` for each."""
        for block in self._blocks:
            yield from block.entries()

    def name_of(self, entry_key: str) -> str | None:
        """Return the name by which the key's entry is sorted; None if there is no entry."""
        key = self._keys.get(entry_key)
        return key and key[0]

    def place_of(self, entry_key: str) -> Key | None:
        """Return what the key's entry is sorted by; None if there is no entry."""
        return self._keys.get(entry_key)

    def entry_keys(self) -> KeysView[str]:
        """Return a live view of the entry keys, without an order. It supports the operators of a set."""
        return self._keys.keys()

    def __len__(self) -> int:
        """Count the entries."""
        return len(self._keys)

    def __contains__(self, entry_key: object) -> bool:
        """Return True if the entry key has an entry."""
        return entry_key in self._keys

    @property
    def counters(self) -> tuple[int, ...]:
        """The sums of the entries' counters, one for each position; `()` while there is no entry."""
        return self._sums if self._keys else ()

    def parts(self, frame: Frame) -> list[bytes | memoryview]:
        """Return the file in parts: header, blocks, footer (which may be empty).

        The parts are not copies, and later changes of the document do not change them.
        """
        blocks = (block.data for block in self._blocks)
        parts: list[bytes | memoryview] = [frame.header, *blocks, frame.footer]
        if trim := self._trim(frame):
            parts[-2] = memoryview(parts[-2])[:-trim]
        return parts

    def digests(self, frame: Frame) -> tuple[tuple[int, str], ...]:
        """Return length and SHA-256 of each part, in order. Only blocks that changed are hashed again."""
        trims = {len(self._blocks) - 1: self._trim(frame)}
        blocks = [block.digest(trims.get(at, 0)) for at, block in enumerate(self._blocks)]
        return (_digest(frame.header), *blocks, _digest(frame.footer))

    def _trim(self, frame: Frame) -> int:
        if self._blocks and not self._blocks[-1].data.endswith(frame.separator):
            raise ValueError(f"the last entry does not end with the separator {frame.separator!r}")
        return len(frame.separator) if self._blocks else 0

    def _fill(self, rows: Sequence[Row]) -> None:
        ends = [end for end, (key, _, _) in enumerate(rows, 1) if self._ends_block(key)]
        for start, end in pairwise([0, *ends, len(rows)]):
            if start < end:
                keys, data, counters_seen = zip(*rows[start:end], strict=True)
                lengths = array("L", map(len, data))
                self._blocks.append(Block([*keys], [*counters_seen], lengths, b"".join(data)))

    def _index(self, key: Key) -> int:
        """Return the index of the block for `key`. It is one past the last if a new block is needed."""
        index = bisect_left(self._blocks, key, key=_last)
        if index == len(self._blocks) and index and not self._ends_block(_last(self._blocks[-1])):
            index -= 1
        return index

    def _refuse_unequal(self, entries: Mapping[str, Entry | None]) -> None:
        others_remain = sum(entry_key in self._keys for entry_key in entries) < len(self._keys)
        lengths = {len(self._sums): ""} if others_remain else {}
        for entry_key, entry in entries.items():
            if entry is not None:
                lengths.setdefault(len(entry.counters), entry_key)
        if len(lengths) > 1:
            (expected, _), (found, entry_key), *_ = lengths.items()
            raise ValueError(f"{entry_key} has {found} counters, others have {expected}")

    def _row(self, entry_key: str, entry: Entry) -> Row:
        (name, ident), data, counters = entry
        if old := self._keys.get(entry_key):
            entry_key = old[2]
        key = (name, entry_key if ident == entry_key else ident, entry_key)
        return old if old == key else key, data, self._known_counters.setdefault(counters, counters)

    def _compare(self, entries: Mapping[str, Entry | None]) -> list[tuple[int, list[Edit]]]:
        """Return the index and the edits of each block that must change, in order. This changes nothing."""
        wanted: dict[Key, Row | None] = {}
        for entry_key, entry in entries.items():
            if old := self._keys.get(entry_key):
                wanted[old] = None
            if entry is not None:
                row = self._row(entry_key, entry)
                wanted[row[0]] = row
        found = []
        for index, keys in groupby(sorted(wanted), self._index):
            block = self._blocks[index] if index < len(self._blocks) else Block()
            if edits := block.compare((key, wanted[key]) for key in keys):
                found.append((index, edits))
        return found

    def _update_totals(self, edits: Sequence[Edit]) -> None:
        """Update the sums and the keys for these edits."""
        gone = [row for edit in edits for row in edit.gone]
        came = [row for edit in edits for row in edit.came]
        others_remain = len(gone) < len(self._keys)
        counts = defaultdict(int, {self._sums: 1} if others_remain else {})
        for _, _, counters in gone if others_remain else ():
            counts[counters] -= 1
        for _, _, counters in came:
            counts[counters] += 1
        self._sums = _sums(counts)
        keys = {key[2]: key for key, _, _ in came}
        for key, _, _ in gone:
            if key[2] not in keys:
                del self._keys[key[2]]
        self._keys.update(keys)

    def _apply(self, index: int, edits: Sequence[Edit]) -> None:
        """Apply edits to a block. New rows may split it. Without its last row it joins the next block."""
        block = self._blocks[index] if index < len(self._blocks) else Block()
        block.apply(edits)
        came = [key for edit in edits for key, _, _ in edit.came if self._ends_block(key)]
        ends = [bisect_left(block.keys, key) + 1 for key in came]
        blocks = block.cut(ends) if ends else [block] if block.keys else []
        after = index + 1
        if blocks and after < len(self._blocks) and not self._ends_block(_last(blocks[-1])):
            blocks[-1].absorb(self._blocks[after])
            after += 1
        self._blocks[index:after] = blocks

    def _ends_block(self, key: Key) -> bool:
        return crc32(key[2].encode("utf-8", "surrogatepass")) % self._block_size == 0


def _last(block: Block) -> Key:
    return block.keys[-1]


def _digest(part: bytes) -> tuple[int, str]:
    return len(part), sha256(part).hexdigest()


def _sums(counts: Mapping[tuple[int, ...], int]) -> tuple[int, ...]:
    # There are few distinct tuples, so multiplication is several times faster than adding all entries.
    columns = zip(*([n * count for n in counters] for counters, count in counts.items()), strict=True)
    return tuple(map(sum, columns))
