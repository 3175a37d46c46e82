"""Format `csv` of declared registries: comma separated values as in RFC 4180, with line feeds. No I/O."""

from __future__ import annotations

import csv
import io
import re
from typing import TYPE_CHECKING

from omnicdc.formats.records import LineLayout
from omnicdc.formats.values import as_text
from omnicdc.model import Frame

if TYPE_CHECKING:
    from collections.abc import Sequence

    from omnicdc.formats.item import Item
    from omnicdc.formats.values import Record

_RECORD = re.compile(rb'([^"\n]*(?:"[^"]*"[^"\n]*)*)\n')
"""One record. Within quotes a line feed is part of a value. A doubled quote ends and begins a pair."""

_END = "\r\n"
"""The end of a line of RFC 4180. With it, the library quotes both characters."""


class Csv(LineLayout):
    """A line with the names of the columns, then one line for each record. NULL is an empty field."""

    def rendered(self, entry_key: str, records: Sequence[Record]) -> bytes:  # noqa: ARG002 - a column shows it
        """Return the lines of an entry, in a fixed order."""
        rows = ([as_text(value) for value in self.shape.values(record).values()] for record in records)
        return b"".join(sorted(_line(row) for row in rows))

    def surround(self, count: int, stamp: str) -> Frame:  # noqa: ARG002 - the names of the columns
        """Return the line with the names of the columns."""
        return Frame(_line(self.shape.shown), b"")

    def head(self) -> int:
        """Return the number of lines before the entries."""
        return 1

    def lines(self, data: bytes) -> list[bytes]:
        """Return the records of a file. Raises ValueError if the last one has no end."""
        found, at = [], 0
        while match := _RECORD.match(data, at):
            found.append(match[1])
            at = match.end()
        if at < len(data):
            raise ValueError("the last record has no end")
        return found

    def item(self, core: bytes) -> Item:
        """Parse one record. Raises ValueError."""
        [row] = _read(core)
        if len(row) != len(self.shape.shown):
            raise ValueError(f"{len(row)} fields where {len(self.shape.shown)} are expected")
        return self.item_of(dict(zip(self.shape.shown, row, strict=True)))

    def core_of(self, item: Item) -> bytes:
        """Return the record as it should be."""
        return _line([as_text(value) for value in item.fields.values()]).removesuffix(b"\n")


def _line(row: Sequence[str]) -> bytes:
    stream = io.StringIO()
    csv.writer(stream, lineterminator=_END).writerow(row)
    return stream.getvalue().removesuffix(_END).encode() + b"\n"


def _read(record: bytes) -> list[list[str]]:
    try:
        return [*csv.reader(io.StringIO(record.decode(), newline=""), strict=True)] or [[]]
    except csv.Error as exc:
        raise ValueError(str(exc)) from exc
