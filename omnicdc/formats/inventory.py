"""Format of repo_inventory.json, a list of repositories with the ids of their projects. No I/O."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import orjson

from omnicdc.formats.item import Item, mapping, sequence
from omnicdc.formats.layout import Layout
from omnicdc.formats.scalars import json_lines, json_text
from omnicdc.formats.urls import url_key
from omnicdc.model import Entry, Frame

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

_TEXT = frozenset({str, type(None), bool})


def entry(key: str, element: Mapping[str, object]) -> Entry:
    """Return the entry of the repository with this URL key. Entries are sorted by URL key."""
    if _is_text(element):
        lines = _indented_by_four(json_lines(element))
    else:
        lines = json.dumps(element, indent=4, ensure_ascii=False, allow_nan=False).encode()
    # A JSON string never contains a raw line feed.
    return Entry((key, ""), b"    %b,\n" % lines.replace(b"\n", b"\n    "))


def frame(count: int) -> Frame:
    """Return the brackets of the list. This format has no header."""
    return Frame(b"[\n", b"\n]", separator=b",\n") if count else Frame(b"[]", b"")


def _is_text(element: Mapping[str, object]) -> bool:
    """Return True if all values are text, null, booleans, or objects or lists of these.

    Then both libraries write the same bytes.
    """
    return all(type(value) in _TEXT for field in element.values() for value in _inside(field))


def _inside(field: object) -> Iterable[object]:
    if type(field) is dict:
        return field.values()
    return field if type(field) is list else (field,)


def _indented_by_four(lines: bytes) -> bytes:
    """Change the indentation from two blanks to four, because the quick library can only write two.

    JSON contains no raw tab, so tabs can stand for the new indentation.
    """
    lines = lines.replace(b"\n    ", b"\n\t\t").replace(b"\n  ", b"\n\t")
    return lines.replace(b"\t", b"    ")


class Elements(Layout):
    """The layout: JSON, a list of repositories, each with the ids of the projects that use it."""

    opening = b"    {"
    closing = b"\n    }"
    comma = b",\n"

    def of_inputs(self, name: str) -> bool:
        """Return True for all fields except `uuid` and `uuids`, which omnicdc writes."""
        return name not in ("uuid", "uuids")

    def needles(self, item: Item) -> tuple[bytes, ...]:
        """Return the field with its URL, which each entry of the repository contains."""
        return (f'"url": {json_text(str(item.fields.get("url")))}'.encode(),)

    def item(self, core: bytes) -> Item:
        """Parse one entry. Raises ValueError."""
        return self._item(orjson.loads(self.entry(core)))

    def items(self, parsed: object) -> Iterator[Item]:
        """Return all entries of a parsed file; raises ValueError."""
        return map(self._item, sequence(parsed, "the file"))

    def header(self, parsed: object) -> Mapping[str, object]:
        """Return nothing: this format has only entries. Raises ValueError if it is not a list."""
        sequence(parsed, "the file")
        return {}

    def _item(self, parsed: object) -> Item:
        fields = mapping(parsed, "an element")
        url, first, others = fields.get("url"), fields.get("uuid"), fields.get("uuids")
        ids = [first, *(others if isinstance(others, list) else [])]
        projects = tuple(dict.fromkeys(one for one in ids if isinstance(one, str)))
        return Item(url_key(url) if isinstance(url, str) else "", projects, fields)
