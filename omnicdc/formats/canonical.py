"""Format of canonical_projects_uuids.json: renders entries and reads them back. No I/O.

The file is an object. Its key `uuids` maps each project id to the project's entry. Terms of all formats: an
*entry key* identifies an entry: a project's id, or a repository's URL key. The *core* of an entry is its
bytes without the beginning and the end that all entries share. An *item* is an entry that was parsed.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import orjson

from omnicdc.formats.item import Item, mapping, without
from omnicdc.formats.layout import Layout
from omnicdc.formats.scalars import json_lines
from omnicdc.model import Entry, Frame

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


def entry(entry_key: str, name: str, fields: Mapping[str, object]) -> Entry:
    """Return a project's entry. Entries are sorted by name, then by id."""
    # A JSON string never contains a raw line feed, so this changes only the indentation.
    lines = json_lines(fields).replace(b"\n", b"\n    ")
    return Entry((name, entry_key), b'    "%b": %b,\n' % (entry_key.encode(), lines))


def frame(entity_type: str, count: int, stamp: str) -> Frame:
    """Return header and footer for `count` entries, with the time `stamp`."""
    header = (
        f'{{\n  "version": "1.0.0",\n  "entity_type": "{entity_type}",\n'
        f'  "generated_at": "{stamp}",\n  "count": {count},\n  "uuids": {{'
    )
    if not count:
        return Frame(f"{header}}}\n}}".encode(), b"")
    return Frame(f"{header}\n".encode(), b"\n  }\n}", separator=b",\n")


class Members(Layout):
    """The layout: JSON, an object `uuids` from id to entry."""

    opening = b'    "'
    closing = b"\n    }"
    comma = b",\n"
    _ID = re.compile(rb'([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})": \{\n')

    def entry_key(self, core: bytes) -> str:
        """Return the id in the first line. If the line is not as we write it, parse the entry."""
        match = self._ID.match(core)
        return match[1].decode() if match else self.item(core).entry_key

    def item(self, core: bytes) -> Item:
        """Parse one entry. Raises ValueError."""
        members = [*mapping(orjson.loads(b"{" + self.entry(core) + b"}"), "a member").items()]
        if len(members) != 1:
            raise ValueError("not one member")
        return self._item(*members[0])

    def items(self, parsed: object) -> Iterator[Item]:
        """Return all entries of a parsed file; raises ValueError."""
        members = mapping(mapping(parsed, "the file").get("uuids"), "`uuids`")
        return (self._item(entry_key, fields) for entry_key, fields in members.items())

    def header(self, parsed: object) -> Mapping[str, object]:
        """Return everything except the entries and the time."""
        return without(mapping(parsed, "the file"), "uuids")

    def _item(self, entry_key: str, fields: object) -> Item:
        return Item(entry_key, (entry_key,), mapping(fields, entry_key))
