"""A block of a document: neighbouring entries with their bytes joined. `document` decides where a block ends.

No I/O. Bytes that a block returned never change afterwards.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from dataclasses import dataclass, field
from hashlib import sha256
from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

Key = tuple[str, str, str]
"""Name and id by which an entry is sorted, then its entry key, so that no two keys are equal."""

Row = tuple[Key, bytes, tuple[int, ...]]
"""One entry: its key, its bytes, its counters."""


@dataclass(slots=True)
class Edit:
    """A replacement at one place in a block: the rows `gone` are removed, the rows `came` are inserted."""

    at: int
    """Position of the place, in entries."""
    offset: int
    """Position of the place, in bytes."""
    gone: list[Row]
    came: list[Row]


@dataclass(slots=True)
class Block:
    """Neighbouring entries. Their bytes are joined, their other properties are columns, to save memory."""

    keys: list[Key] = field(default_factory=list)
    counters: list[tuple[int, ...]] = field(default_factory=list)
    lengths: array[int] = field(default_factory=lambda: array("L"))
    data: bytes = b""
    digests: dict[int, str] = field(default_factory=dict)
    """Number of bytes cut from the end, to the SHA-256 of the rest."""

    def entry(self, key: Key) -> bytes:
        """Return the bytes of an entry of this block."""
        at = bisect_left(self.keys, key)
        start = sum(self.lengths[:at])
        return self.data[start : start + self.lengths[at]]

    def entries(self) -> Iterator[tuple[str, bytes]]:
        """Yield each entry key with the bytes of its entry, in order."""
        start = 0
        for key, length in zip(self.keys, self.lengths, strict=True):
            yield key[2], self.data[start : start + length]
            start += length

    def compare(self, wanted: Iterable[tuple[Key, Row | None]]) -> list[Edit]:
        """Return the edits, in order, that make the block hold the wanted row at each key. None: no row.

        The keys must be in ascending order.
        """
        edits: list[Edit] = []
        at = offset = 0
        for key, new in wanted:
            passed, at = at, bisect_left(self.keys, key, at)
            offset += sum(self.lengths[passed:at])
            old = None
            if self.keys[at : at + 1] == [key]:
                old = key, self.data[offset : offset + self.lengths[at]], self.counters[at]
            if old != new:
                gone, came = [old] if old else [], [new] if new else []
                if edits and edits[-1].at == at:
                    edits[-1].gone += gone
                    edits[-1].came += came
                else:
                    edits.append(Edit(at, offset, gone, came))
        return edits

    def apply(self, edits: Sequence[Edit]) -> None:
        """Apply all edits. The bytes between them are copied only once."""
        view, pieces, done = memoryview(self.data), list[bytes | memoryview](), 0
        for edit in edits:
            pieces += view[done : edit.offset], *(data for _, data, _ in edit.came)
            done = edit.offset + sum(len(data) for _, data, _ in edit.gone)
        self.data = b"".join((*pieces, view[done:]))
        for edit in reversed(edits):
            place = slice(edit.at, edit.at + len(edit.gone))
            self.keys[place] = [key for key, _, _ in edit.came]
            self.counters[place] = [counters for _, _, counters in edit.came]
            self.lengths[place] = array("L", [len(data) for _, data, _ in edit.came])
        self.digests.clear()

    def cut(self, ends: Iterable[int]) -> list[Block]:
        """Split the block at these positions (in entries), and return the pieces that are not empty."""
        blocks, offset = [], 0
        for start, end in pairwise([0, *ends, len(self.keys)]):
            lengths = self.lengths[start:end]
            data = self.data[offset : offset + sum(lengths)]
            offset += len(data)
            if start < end:
                blocks.append(Block(self.keys[start:end], self.counters[start:end], lengths, data))
        return blocks

    def absorb(self, other: Block) -> None:
        """Append the block that follows this one."""
        self.keys += other.keys
        self.counters += other.counters
        self.lengths += other.lengths
        self.data += other.data
        self.digests.clear()

    def digest(self, trim: int) -> tuple[int, str]:
        """Return length and SHA-256 without the last `trim` bytes. The hash is kept until a change."""
        length = len(self.data) - trim
        if trim not in self.digests:
            self.digests[trim] = sha256(memoryview(self.data)[:length]).hexdigest()
        return length, self.digests[trim]
