"""Format `yaml` of declared registries: a list in block style, of mappings with one key a line. No I/O."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from omnicdc.formats.item import mapping, sequence
from omnicdc.formats.layout import Split
from omnicdc.formats.records import RecordLayout, Shape
from omnicdc.formats.values import Float, as_yaml, read_value
from omnicdc.formats.yaml_values import yaml_value
from omnicdc.model import Frame

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from omnicdc.formats.item import Item
    from omnicdc.formats.values import Record

_LINE = re.compile(r'("(?:[^"\\]|\\.)*"|[^" ][^:]*): (.*)')
_NUMBER = re.compile(r"-?[0-9]+(\.[0-9]+(e[+-][0-9]+)?)?")


class YamlList(RecordLayout):
    """A list of mappings, below a header or alone. The file begins with a line of its own."""

    opening = b"- "
    closing = b"\n"

    def __init__(self, shape: Shape) -> None:
        super().__init__(shape)
        self.nothing = b" []\n" if shape.entries else b"\n[]\n"

    def rendered(self, entry_key: str, records: Sequence[Record]) -> bytes:  # noqa: ARG002 - a column shows it
        """Return the elements of the list, in a fixed order."""
        return b"".join(sorted(self._element(self.shape.values(record)) for record in records))

    def surround(self, count: int, stamp: str) -> Frame:
        """Return the header as the first keys of the file."""
        if self.shape.entries is None:
            return Frame(b"---\n" if count else b"---\n[]\n", b"")
        members = self.shape.filled_header(count, stamp)
        lines = [f"{as_yaml(name)}: {as_yaml(value)}\n" for name, value in members.items()]
        lines += [f"{as_yaml(self.shape.entries)}:{'' if count else ' []'}\n"]
        return Frame("".join(lines).encode(), b"")

    def name_in_file(self, name: str) -> str:
        """Return a key of the header as the file shows it."""
        return as_yaml(name)

    def item(self, core: bytes) -> Item:
        """Parse one element: quickly if it is as we write it, else with the library. Raises ValueError."""
        if (fields := _own_fields(core)) is not None:
            return self.item_of(fields)
        [parsed] = sequence(yaml_value(self.entry(core)), "an entry")
        return self.item_of(mapping(parsed, "an entry"))

    def parse(self, data: bytes) -> object:
        """Parse a whole file; return it in pieces if each entry is as we write it. Raises ValueError."""
        split = self.split(data)
        if not split.foot and all(_own_fields(core) is not None for core in split.cores):
            self.header(split)
            return split
        return yaml_value(data)

    def items(self, parsed: object) -> Iterator[Item]:
        """Return all entries of a parsed file; raises ValueError."""
        if isinstance(parsed, Split) and parsed.cores:
            return map(self.item, parsed.cores)
        found = self._whole(parsed)
        entries = found if self.shape.entries is None else mapping(found, "the file").get(self.shape.entries)
        return (self.item_of(mapping(each, "an entry")) for each in sequence(entries, "the entries"))

    def header(self, parsed: object) -> Mapping[str, object]:
        """Return everything except the entries and the time. Raises ValueError."""
        found = self._whole(parsed)
        if self.shape.entries is None:
            sequence(found, "the file")
            return {}
        return self.without_time(mapping(found, "the file"))

    def core_of(self, item: Item) -> bytes:
        """Return the element as it should be."""
        return self.core(self._element(item.fields))

    def _whole(self, parsed: object) -> object:
        return yaml_value(self.frame(parsed)) if isinstance(parsed, Split) else parsed

    def _element(self, fields: Mapping[str, object]) -> bytes:
        lines = (f"{as_yaml(name)}: {as_yaml(value)}\n" for name, value in fields.items())
        return ("- " + "  ".join(lines)).encode()

    def _last_end(self, data: bytes, at: int) -> int:
        return max(at, len(data) - data.endswith(b"\n"))


def _own_fields(core: bytes) -> Record | None:
    """Return the fields of an element that is exactly as we write it; None for any other."""
    fields: Record = {}
    try:
        for line in core.decode().replace("\n  ", "\n").split("\n"):
            found = _LINE.fullmatch(line)
            if not found or line != f"{found[1]}: {as_yaml(_own_value(found[2]))}":
                return None
            name = _own_value(found[1])
            if not isinstance(name, str) or name in fields or as_yaml(name) != found[1]:
                return None
            fields[name] = _own_value(found[2])
    except ValueError:
        return None
    return fields


def _own_value(text: str) -> object:
    """Return a value as we write it. The caller renders it again, and compares. Raises ValueError."""
    if text[:1] in ('"', "[", "{"):
        return read_value(text)
    words: dict[str, object] = {"null": None, "true": True, "false": False}
    if text in words:
        return words[text]
    if found := _NUMBER.fullmatch(text):
        return Float(text) if found[1] else int(text)
    return text
