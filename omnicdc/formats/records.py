"""The base of the formats of declared registries: an entry is all rows of one key, each a record. No I/O."""

from __future__ import annotations

import re
from abc import abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING

from omnicdc.formats.item import Item
from omnicdc.formats.layout import Layout, Split
from omnicdc.formats.values import as_json, as_text
from omnicdc.model import Frame

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from omnicdc.formats.values import Record

COUNT, TIME = "{count}", "{generated_at}"
"""In a header, the number of entries and the time of the publication."""

STAMP = rb"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{6}\+00:00"
"""The time of a publication, as a header gets it."""


@dataclass(frozen=True, slots=True)
class Shape:
    """What the registry's declaration says of its file."""

    columns: tuple[str, ...]
    """The columns of the query. The first is the key."""
    shown: tuple[str, ...]
    """The columns that an entry shows, in this order."""
    header: Mapping[str, object]
    """What stands before the entries."""
    entries: str | None = None
    """The key of the file under which the entries stand; None if the file holds nothing else."""

    @property
    def key(self) -> str:
        """The column that identifies an entry."""
        return self.columns[0]

    @property
    def times(self) -> list[str]:
        """The keys of the header that show the time."""
        return [name for name, value in self.header.items() if value == TIME]

    def values(self, record: Record) -> Record:
        """Return what an entry shows of a record."""
        return {name: record[name] for name in self.shown}

    def filled_header(self, count: int, stamp: str) -> dict[str, object]:
        """Return the header with the count and the time."""
        facts: Mapping[object, object] = {COUNT: count, TIME: stamp}
        return {
            name: facts.get(value, value) if isinstance(value, str) else value
            for name, value in self.header.items()
        }


class RecordLayout(Layout):
    """A format of declared registries: it renders records, and reads them back."""

    def __init__(self, shape: Shape) -> None:
        self.shape = shape

    @abstractmethod
    def rendered(self, entry_key: str, records: Sequence[Record]) -> bytes:
        """Return an entry, with the separator. Raises ValueError for what the format cannot hold."""

    @abstractmethod
    def surround(self, count: int, stamp: str) -> Frame:
        """Return header and footer for `count` entries, with the time `stamp`."""

    def stamp(self, head: bytes) -> str:
        """Return the time in the head of a file; empty if the header shows none."""
        for name in self.shape.times:
            shown = re.escape(self.name_in_file(name).encode())
            if found := re.search(rb'^ *%b: "?(%b)' % (shown, STAMP), head, re.MULTILINE):
                return found[1].decode()
        return ""

    def name_in_file(self, name: str) -> str:
        """Return a key of the header as the file shows it."""
        return as_json(name)

    def without_time(self, parsed: Mapping[str, object]) -> Mapping[str, object]:
        """Return the keys of a parsed file, without its entries and the time."""
        left_out = (self.shape.entries, *self.shape.times)
        return {name: value for name, value in parsed.items() if name not in left_out}

    def needles(self, item: Item) -> tuple[bytes, ...]:
        """Return the entry as it should be. An entry with other values is found by its key, if at all."""
        return (self.core_of(item),)

    @abstractmethod
    def core_of(self, item: Item) -> bytes:
        """Return the core of an item, or a part of it that identifies its key."""

    def item_of(self, fields: Mapping[str, object]) -> Item:
        """Return the item with these fields. If they do not show the key, all of them identify the entry."""
        if self.shape.key in fields:
            entry_key = as_text(fields[self.shape.key])
            return Item(entry_key, (entry_key,), fields)
        return Item(as_text(dict(fields)), (), fields, identified=False)


class LineLayout(RecordLayout):
    """A format whose records are lines: the core of a record is its line."""

    opening = b""
    closing = b""
    comma = b"\n"
    nothing = b""

    def head(self) -> int:
        """Return the number of lines before the entries."""
        return 0

    def foot(self) -> int:
        """Return the number of lines after the entries."""
        return 0

    def lines(self, data: bytes) -> list[bytes]:
        """Return the lines of a file, without their ends. Raises ValueError if the last one has no end."""
        *lines, rest = data.split(b"\n")
        if rest:
            raise ValueError("the last line has no end")
        return lines

    def surround(self, count: int, stamp: str) -> Frame:  # noqa: ARG002 - the default: nothing but entries
        """Return header and footer; the default are none."""
        return Frame(b"", b"")

    def split(self, data: bytes) -> Split:
        """Split a file into its lines."""
        try:
            lines = self.lines(data)
        except ValueError:
            return Split(data)
        end = max(self.head(), len(lines) - self.foot())
        head, cores, foot = lines[: self.head()], lines[self.head() : end], lines[end:]
        return Split(_joined(head), cores, _joined(foot))

    def cores(self, entry: bytes) -> list[bytes]:
        """Return the lines of a rendered entry."""
        return self.lines(entry)

    def mentioning(self, data: bytes, needles: Iterable[bytes]) -> list[bytes]:
        """Return the lines that contain a needle, in the order of the file."""
        wanted = [*needles]
        lines = self.lines(data if data.endswith(b"\n") else data + b"\n")
        return [line for line in lines if line and any(needle in line for needle in wanted)]

    def parse(self, data: bytes) -> object:
        """Split a whole file into its lines. Raises ValueError."""
        self.lines(data)
        return self.split(data)

    def items(self, parsed: object) -> Iterator[Item]:
        """Parse each line; raises ValueError."""
        return map(self.item, _split(parsed).cores)

    def header(self, parsed: object) -> Mapping[str, object]:
        """Return the lines before and after the entries, if there may be any."""
        found = {"header": _split(parsed).head.decode(), "footer": _split(parsed).foot.decode()}
        return {name: text for name, text in found.items() if text}


def _split(parsed: object) -> Split:
    assert isinstance(parsed, Split)  # noqa: S101 - what `parse` returns
    return parsed


def _joined(lines: Sequence[bytes]) -> bytes:
    return b"".join(line + b"\n" for line in lines)
