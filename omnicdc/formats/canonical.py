"""Format of canonical_projects_uuids.json: renders entries and reads them back. No I/O.

The file is an object whose key `uuids` leads from project id to entry. In all formats, an *entry key* has one
entry: a project's id, or a repository's URL key. The *core* of an entry is its bytes without what all
entries have; an *item* is an entry that was read.
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
    """Return a project's entry; they are sorted by name, then by id."""
    # A JSON string never has a raw line feed, so this only indents.
    lines = json_lines(fields).replace(b"\n", b"\n    ")
    return Entry((name, entry_key), b'    "%b": %b,\n' % (entry_key.encode(), lines))


def frame(count: int, stamp: str) -> Frame:
    """Return header and footer for `count` entries, with the time `stamp`."""
    header = (
        '{\n  "version": "1.0.0",\n  "entity_type": "projects",\n'
        f'  "generated_at": "{stamp}",\n  "count": {count},\n  "uuids": {{'
    )
    if not count:
        return Frame(f"{header}}}\n}}".encode(), b"")
    return Frame(f"{header}\n".encode(), b"\n  }\n}", separator=b",\n")


class Members(Layout):
    """JSON: an object `uuids`, from id to entry."""

    opening = b'    "'
    closing = b"\n    }"
    comma = b",\n"
    _ID = re.compile(rb'([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})": \{\n')

    def entry_key(self, core: bytes) -> str:
        """Take the id from the first line if we wrote it, else parse the entry."""
        match = self._ID.match(core)
        return match[1].decode() if match else self.item(core).entry_key

    def item(self, core: bytes) -> Item:
        """Understand one entry; raises ValueError."""
        members = [*mapping(orjson.loads(b"{" + self.entry(core) + b"}"), "a member").items()]
        if len(members) != 1:
            raise ValueError("not one member")
        return self._item(*members[0])

    def items(self, parsed: object) -> Iterator[Item]:
        """Return all entries of a parsed file; raises ValueError."""
        members = mapping(mapping(parsed, "the file").get("uuids"), "`uuids`")
        return (self._item(entry_key, fields) for entry_key, fields in members.items())

    def header(self, parsed: object) -> Mapping[str, object]:
        """Return all but the entries and the time."""
        return without(mapping(parsed, "the file"), "uuids")

    def _item(self, entry_key: str, fields: object) -> Item:
        return Item(entry_key, (entry_key,), mapping(fields, entry_key))
