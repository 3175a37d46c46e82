"""How entries lie in a registry file: found by their bytes, understood one at a time. Pure.

The scanners own the shapes, of which there are three; `contents` reads files laid out in any way.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

import orjson

from omnicdc.formats.item import Item, mapping, sequence, without
from omnicdc.formats.parse import own_fields, yaml_value
from omnicdc.formats.scalars import json_text
from omnicdc.inputs.urls import url_key

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from omnicdc.registries.scanners import Scanner


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

    def unit(self, core: bytes) -> str:
        """As `item`, but perhaps quicker."""
        return self.item(core).unit

    def needles(self, item: Item) -> tuple[bytes, ...]:  # noqa: ARG002 - the default: an id says it all
        """Return what an entry of this unit has in its bytes, besides the ids of its projects."""
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


class Members(Layout):
    """JSON: an object `uuids`, from id to entry."""

    opening = b'    "'
    closing = b"\n    }"
    comma = b",\n"
    _ID = re.compile(rb'([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})": \{\n')

    def unit(self, core: bytes) -> str:
        """Read it off the first line, where that is ours."""
        match = self._ID.match(core)
        return match[1].decode() if match else self.item(core).unit

    def item(self, core: bytes) -> Item:
        """Understand one entry; raises ValueError."""
        members = [*mapping(orjson.loads(b"{" + self.entry(core) + b"}"), "a member").items()]
        if len(members) != 1:
            raise ValueError("not one member")
        return self._item(*members[0])

    def items(self, parsed: object) -> Iterator[Item]:
        """Return all entries of a parsed file; raises ValueError."""
        members = mapping(mapping(parsed, "the file").get("uuids"), "`uuids`")
        return (self._item(unit, fields) for unit, fields in members.items())

    def header(self, parsed: object) -> Mapping[str, object]:
        """Return all but the entries and the time."""
        return without(mapping(parsed, "the file"), "uuids")

    def _item(self, unit: str, fields: object) -> Item:
        return Item(unit, (unit,), mapping(fields, unit))


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


class Items(Layout):
    """YAML: a list `projects` at the column of its key, each entry with its `uuid`."""

    opening = b"- "
    closing = b"\n"
    nothing = b" []\n"
    _OF_CMP = frozenset({"uuid", "name", "display_name", "github_url", "classification", "origin", "domain"})
    _ID = re.compile(rb"uuid: ([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})\n")

    def of_inputs(self, name: str) -> bool:
        """Tell of overrides, clones, heart and GitHub."""
        return name not in self._OF_CMP

    def unit(self, core: bytes) -> str:
        """Read it off the first line, where that is ours."""
        match = self._ID.match(core)
        return match[1].decode() if match else self.item(core).unit

    def item(self, core: bytes) -> Item:
        """Understand one entry; raises ValueError."""
        if (fields := own_fields(core)) is not None:
            return self._item(fields)
        parsed = sequence(yaml_value(self.entry(core)), "an entry")
        if len(parsed) != 1:
            raise ValueError("not one entry")
        return self._item(parsed[0])

    def parse(self, data: bytes) -> object:
        """Parse it by the library."""
        return yaml_value(data)

    def items(self, parsed: object) -> Iterator[Item]:
        """Return all entries of a parsed file; raises ValueError."""
        return map(self._item, sequence(mapping(parsed, "the file").get("projects"), "`projects`"))

    def header(self, parsed: object) -> Mapping[str, object]:
        """Return all but the entries and the time; in another layout, `version` may be what was cut off."""
        if "version" not in mapping(parsed, "the file"):
            raise ValueError("it has no version")
        return without(mapping(parsed, "the file"), "projects")

    def _last_end(self, data: bytes, at: int) -> int:
        return max(at, len(data) - data.endswith(b"\n"))

    def _item(self, parsed: object) -> Item:
        fields = mapping(parsed, "an entry")
        unit = str(fields.get("uuid"))
        return Item(unit, (unit,), fields)


def layout_of(scanner: Scanner) -> Layout:
    """Return the layout of a scanner's registry."""
    if not scanner.path.endswith(".json"):
        return Items()
    return Elements() if scanner.frame(1, (), "").header.startswith(b"[") else Members()
