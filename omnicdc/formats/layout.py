"""Finds where the entries of a registry file begin and end, so that one can be parsed alone. No I/O.

Each format is a module beside this one. `files.contents` also reads files in other layouts.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import orjson

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from omnicdc.formats.item import Item


_STAMP = re.compile(rb"""^[ "]*generated_at"?: ["']?([0-9T:.+-]+)""", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Split:
    """A file in pieces: the parts before and after the entries, and each entry's *core* (see `canonical`)."""

    head: bytes
    cores: list[bytes] = field(default_factory=list)
    foot: bytes = b""


class Layout(ABC):
    """The base class of layouts. A value contains no raw line feed, so lines show where entries begin."""

    opening: bytes
    """The beginning of each entry, at the beginning of a line."""
    closing: bytes
    """The end of each entry."""
    comma: bytes = b""
    nothing: bytes = b"\n"
    """Replaces the entries if there are none."""

    @property
    def between(self) -> bytes:
        """The bytes between two cores."""
        return self.closing + self.comma + self.opening

    def split(self, data: bytes) -> Split:
        """Split a file into its entries, in time linear in its size.

        A file in another layout is split at other places, or not at all.
        """
        head, found, body = data.partition(b"\n" + self.opening)
        if not found:
            return Split(data)
        *cores, last = body.split(self.between)
        end = self._last_end(last, 0)
        return Split(head, [*cores, last[:end]], last[end + len(self.closing) :])

    def frame(self, split: Split) -> bytes:
        """Return the file without its entries. This parses if the layout of the file is ours."""
        return split.head + self.nothing + split.foot if split.cores else split.head

    def mentioning(self, data: bytes, needles: Iterable[bytes]) -> list[bytes]:
        """Return the cores that contain a needle, in the order of the file."""
        found = (place for needle in needles for place in self._places(data, needle))
        return [data[start:end] for start, end in sorted({*found})]

    def entry(self, core: bytes) -> bytes:
        """Return the bytes of the entry with this core."""
        return self.opening + core + self.closing

    def core(self, entry: bytes) -> bytes:
        """Return the core of a rendered entry."""
        return entry.removeprefix(self.opening).removesuffix(self.comma).removesuffix(self.closing)

    def cores(self, entry: bytes) -> list[bytes]:
        """Return the cores of a rendered entry. It has several if it shows several rows of one key."""
        return self.core(entry).split(self.between)

    def entry_key(self, core: bytes) -> str:
        """Return the entry key. Like `item`, but it may be quicker. Raises ValueError."""
        return self.item(core).entry_key

    def needles(self, item: Item) -> tuple[bytes, ...]:  # noqa: ARG002 - the default: an id says it all
        """Return bytes that each entry with this entry key contains, besides the ids of its projects."""
        return ()

    def of_inputs(self, name: str) -> bool:  # noqa: ARG002 - the default: a mirror of CMP
        """Return True if a field depends on the inputs, not only on CMP."""
        return False

    def stamp(self, head: bytes) -> str:
        """Return the `generated_at` in the head of a file; empty if there is none."""
        found = _STAMP.search(head)
        return found[1].decode() if found else ""

    @abstractmethod
    def item(self, core: bytes) -> Item:
        """Parse one entry. Raises ValueError."""

    def parse(self, data: bytes) -> object:
        """Parse a whole file. Raises ValueError."""
        return orjson.loads(data)

    @abstractmethod
    def items(self, parsed: object) -> Iterator[Item]:
        """Return all entries of a parsed file. Raises ValueError if it contains anything else."""

    @abstractmethod
    def header(self, parsed: object) -> Mapping[str, object]:
        """Return a parsed file's keys without its entries and the time. Raises ValueError."""

    def _places(self, data: bytes, needle: bytes) -> Iterator[tuple[int, int]]:
        at = data.find(needle)
        while at >= 0:
            start = data.rfind(b"\n" + self.opening, 0, at) + 1
            end = data.find(self.between, at)
            end = self._last_end(data, at) if end < 0 else end
            if start:
                yield start + len(self.opening), end
            at = data.find(needle, max(end, at + 1))

    def _last_end(self, data: bytes, at: int) -> int:
        """Return the end of the last core. The position `at` is inside it."""
        end = data.rfind(self.closing, at)
        return len(data) if end < 0 else end
