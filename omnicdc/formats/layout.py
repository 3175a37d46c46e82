"""Where the entries of a registry file begin and end, so that one can be found and parsed alone. No I/O.

Each shape is a module beside this one; `files.contents` reads files laid out in any way.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

import orjson

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from omnicdc.formats.item import Item


@dataclass(frozen=True, slots=True)
class Split:
    """A file in pieces: what stands around the entries, and each one's *core*, without what all have."""

    head: bytes
    cores: list[bytes] = field(default_factory=list)
    foot: bytes = b""


class Layout(ABC):
    """Where entries begin and end. Line feeds are never inside a value, so lines can be relied upon."""

    opening: ClassVar[bytes]
    """What each entry begins with, at the beginning of a line."""
    closing: ClassVar[bytes]
    comma: ClassVar[bytes] = b""
    nothing: ClassVar[bytes] = b"\n"
    """What stands in the place of all entries where there are none."""

    @property
    def between(self) -> bytes:
        """What separates two cores."""
        return self.closing + self.comma + self.opening

    def split(self, data: bytes) -> Split:
        """Cut a file into its entries, in time linear in its size. Of any other file: some cut, or none."""
        head, found, body = data.partition(b"\n" + self.opening)
        if not found:
            return Split(data)
        *cores, last = body.split(self.between)
        end = self._last_end(last, 0)
        return Split(head, [*cores, last[:end]], last[end + len(self.closing) :])

    def frame(self, split: Split) -> bytes:
        """Return the file as it would be without entries; it parses if it is one of ours."""
        return split.head + self.nothing + split.foot if split.cores else split.head

    def mentioning(self, data: bytes, needles: Iterable[bytes]) -> list[bytes]:
        """Return the cores in which any needle occurs, in their order."""
        found = (place for needle in needles for place in self._places(data, needle))
        return [data[start:end] for start, end in sorted({*found})]

    def entry(self, core: bytes) -> bytes:
        """Return an entry's bytes."""
        return self.opening + core + self.closing

    def core(self, entry: bytes) -> bytes:
        """Return the core of a rendered entry."""
        return entry.removeprefix(self.opening).removesuffix(self.comma).removesuffix(self.closing)

    def entry_key(self, core: bytes) -> str:
        """As `item`, but perhaps quicker."""
        return self.item(core).entry_key

    def needles(self, item: Item) -> tuple[bytes, ...]:  # noqa: ARG002 - the default: an id says it all
        """Return what an entry of this entry key has in its bytes, besides the ids of its projects."""
        return ()

    def of_inputs(self, name: str) -> bool:  # noqa: ARG002 - the default: a mirror of CMP
        """Tell whether a field depends on more than CMP."""
        return False

    @abstractmethod
    def item(self, core: bytes) -> Item:
        """Understand one entry; raises ValueError."""

    def parse(self, data: bytes) -> object:
        """Parse a whole file; raises ValueError."""
        return orjson.loads(data)

    @abstractmethod
    def items(self, parsed: object) -> Iterator[Item]:
        """Return all entries of a file that was parsed; raises ValueError if it holds something else."""

    @abstractmethod
    def header(self, parsed: object) -> Mapping[str, object]:
        """Return what a parsed file says besides its entries and the time; raises ValueError."""

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
        """Return where the last core ends, of which `at` is a part."""
        end = data.rfind(self.closing, at)
        return len(data) if end < 0 else end
