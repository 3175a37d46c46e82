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
    """Return the entry of the repository with this URL key; they are sorted by it."""
    if _is_text(element):
        lines = _four_for_two(json_lines(element))
    else:
        lines = json.dumps(element, indent=4, ensure_ascii=False, allow_nan=False).encode()
    # No line feed inside a JSON string is raw.
    return Entry((key, ""), b"    %b,\n" % lines.replace(b"\n", b"\n    "))


def frame(count: int) -> Frame:
    """Return the brackets; there is no header."""
    return Frame(b"[\n", b"\n]", separator=b",\n") if count else Frame(b"[]", b"")


def _is_text(element: Mapping[str, object]) -> bool:
    """Whether it holds text and objects and lists of text: then both libraries write it alike."""
    return all(type(value) in _TEXT for field in element.values() for value in _inside(field))


def _inside(field: object) -> Iterable[object]:
    if type(field) is dict:
        return field.values()
    return field if type(field) is list else (field,)


def _four_for_two(lines: bytes) -> bytes:
    """Indent by four what is indented by two, which is all that the quick library can.

    JSON has no raw tab.
    """
    lines = lines.replace(b"\n    ", b"\n\t\t").replace(b"\n  ", b"\n\t")
    return lines.replace(b"\t", b"    ")


class Elements(Layout):
    """JSON: a bare list of repositories, each with the ids of the projects that use it."""

    opening = b"    {"
    closing = b"\n    }"
    comma = b",\n"

    def of_inputs(self, name: str) -> bool:
        """Tell of all but what omnicdc owns."""
        return name not in ("uuid", "uuids")

    def needles(self, item: Item) -> tuple[bytes, ...]:
        """Return the line of its URL."""
        return (f'"url": {json_text(str(item.fields.get("url")))}'.encode(),)

    def item(self, core: bytes) -> Item:
        """Understand one entry; raises ValueError."""
        return self._item(orjson.loads(self.entry(core)))

    def items(self, parsed: object) -> Iterator[Item]:
        """Return all entries of a parsed file; raises ValueError."""
        return map(self._item, sequence(parsed, "the file"))

    def header(self, parsed: object) -> Mapping[str, object]:
        """Return nothing: there are only entries."""
        sequence(parsed, "the file")
        return {}

    def _item(self, parsed: object) -> Item:
        fields = mapping(parsed, "an element")
        url, first, others = fields.get("url"), fields.get("uuid"), fields.get("uuids")
        ids = [first, *(others if isinstance(others, list) else [])]
        projects = tuple(dict.fromkeys(one for one in ids if isinstance(one, str)))
        return Item(url_key(url) if isinstance(url, str) else "", projects, fields)
