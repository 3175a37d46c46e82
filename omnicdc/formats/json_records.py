"""Formats `json`, `json-list` and `ndjson` of declared registries: a record is one line of JSON. No I/O."""

from __future__ import annotations

from typing import TYPE_CHECKING

from omnicdc.formats.item import Item, mapping, sequence
from omnicdc.formats.records import LineLayout, RecordLayout, Shape
from omnicdc.formats.values import as_json, read_value
from omnicdc.model import Frame

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from omnicdc.formats.values import Record


class _Json(RecordLayout):
    """What the formats share: a header, and the entries as a value of the file or as the file itself."""

    brackets: tuple[bytes, bytes]

    def __init__(self, shape: Shape) -> None:
        super().__init__(shape)
        self._indent = b"    " if shape.entries else b"  "

    comma = b",\n"

    def surround(self, count: int, stamp: str) -> Frame:
        """Return the header as the first members of the file, and the brackets of the entries."""
        first, last = self.brackets
        before, after = b"", b"\n"
        if self.shape.entries:
            members = self.shape.filled_header(count, stamp) | {self.shape.entries: None}
            lines = [f"  {as_json(name)}: {as_json(value)}" for name, value in members.items()]
            before, after = ("{\n" + ",\n".join(lines)).encode().removesuffix(b"null"), b"\n}\n"
        if not count:
            return Frame(before + first + last + after, b"")
        closing = b"\n" + (b"  " if self.shape.entries else b"") + last
        return Frame(before + first + b"\n", closing + after, separator=self.comma)

    def parse(self, data: bytes) -> object:
        """Parse a whole file. Raises ValueError."""
        return read_value(data)

    def header(self, parsed: object) -> Mapping[str, object]:
        """Return everything except the entries and the time. Raises ValueError."""
        entries = self.shape.entries
        if entries is None:
            self._entries(parsed)
            return {}
        return self.without_time(mapping(parsed, "the file"))

    def _last_end(self, data: bytes, at: int) -> int:
        """Return the end of the last core: it is one line, and the brackets of the file have others."""
        line_end = data.find(b"\n", at)
        line_end = len(data) if line_end < 0 else line_end
        return line_end - len(self.closing) if data.endswith(self.closing, at, line_end) else line_end

    def _entries(self, parsed: object) -> object:
        entries = self.shape.entries
        return parsed if entries is None else mapping(parsed, "the file").get(entries)


class JsonObject(_Json):
    """An object from key to entry."""

    brackets = (b"{", b"}")
    closing = b"}"

    @property
    def opening(self) -> bytes:  # type: ignore[override]
        """The indentation, and the quote of the key."""
        return self._indent + b'"'

    def rendered(self, entry_key: str, records: Sequence[Record]) -> bytes:
        """Return a member of the object. Raises ValueError for several records."""
        if len(records) != 1:
            raise ValueError(f"the query returns {len(records)} rows of this key: aggregate them by key")
        fields = as_json(self.shape.values(records[0]))
        return self._indent + f"{as_json(entry_key)}: {fields},\n".encode()

    def item(self, core: bytes) -> Item:
        """Parse one member. Raises ValueError."""
        members = [*mapping(read_value(b"{" + self.entry(core) + b"}"), "a member").items()]
        if len(members) != 1:
            raise ValueError("not one member")
        return _member(*members[0])

    def items(self, parsed: object) -> Iterator[Item]:
        """Return all entries of a parsed file; raises ValueError."""
        members = mapping(self._entries(parsed), "the entries")
        return (_member(entry_key, fields) for entry_key, fields in members.items())

    def core_of(self, item: Item) -> bytes:
        """Return the key, from its first character to the colon."""
        return f"{as_json(item.entry_key)[1:]}: ".encode()


class JsonList(_Json):
    """A list of entries."""

    brackets = (b"[", b"]")
    closing = b"}"

    @property
    def opening(self) -> bytes:  # type: ignore[override]
        """The indentation, and the brace of the entry."""
        return self._indent + b"{"

    def rendered(self, entry_key: str, records: Sequence[Record]) -> bytes:  # noqa: ARG002 - a column shows it
        """Return the elements of the list, in a fixed order."""
        lines = sorted(as_json(self.shape.values(record)) for record in records)
        return b"".join(self._indent + line.encode() + b",\n" for line in lines)

    def item(self, core: bytes) -> Item:
        """Parse one element. Raises ValueError."""
        return self.item_of(mapping(read_value(self.entry(core)), "an entry"))

    def items(self, parsed: object) -> Iterator[Item]:
        """Return all entries of a parsed file; raises ValueError."""
        elements = sequence(self._entries(parsed), "the entries")
        return (self.item_of(mapping(element, "an entry")) for element in elements)

    def core_of(self, item: Item) -> bytes:
        """Return the element as it should be, without its braces."""
        return as_json(dict(item.fields))[1:-1].encode()


class Ndjson(LineLayout):
    """One JSON object a line."""

    def rendered(self, entry_key: str, records: Sequence[Record]) -> bytes:  # noqa: ARG002 - a column shows it
        """Return the lines of an entry, in a fixed order."""
        return b"".join(sorted(f"{as_json(self.shape.values(record))}\n".encode() for record in records))

    def item(self, core: bytes) -> Item:
        """Parse one line. Raises ValueError."""
        return self.item_of(mapping(read_value(core), "a line"))

    def core_of(self, item: Item) -> bytes:
        """Return the line as it should be."""
        return as_json(dict(item.fields)).encode()


def _member(entry_key: str, fields: object) -> Item:
    return Item(entry_key, (entry_key,), mapping(fields, entry_key))
