"""Reads `registries:`, the registries that the configuration declares. What they mean is in `registries`."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, Literal, get_args

from omnicdc.config.readers import A_LIST

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path

    from ruamel.yaml.nodes import MappingNode, Node

Format = Literal["json", "json-list", "ndjson", "yaml", "csv", "lines"]

FORMATS: tuple[str, ...] = get_args(Format)

_WITHOUT_HEADER = ("csv", "ndjson")

_NAME = re.compile(r"[a-z][a-z0-9_]{0,62}")
_MODE = re.compile(r"0?[0-7]{3}")
_LONGEST_PART = 200
"""Most file systems allow 255 bytes; temporary files and backups have longer names than the file."""
_NUMBER = re.compile(r"-?[0-9]{1,18}")


@dataclass(frozen=True, slots=True)
class Place:
    """A place in the configuration file, for messages."""

    file: str
    line: int
    """Counted from 1."""
    column: int = 0
    """Counted from 1; 0 if it is not known."""

    def __str__(self) -> str:
        """Return FILE:LINE, or FILE:LINE:COLUMN."""
        return f"{self.file}:{self.line}" + (f":{self.column}" if self.column else "")


@dataclass(frozen=True, slots=True)
class Text:
    """A text of the file that has a language of its own: a query, or a template."""

    source: str
    place: Place
    """Where its first line begins."""
    is_block: bool = False
    """True if the text stands in lines of its own, each `indent` characters from the left."""
    indent: int = 0

    def at(self, line: int, column: int = 0) -> Place:
        """Return the place of a line and a column of the text, both counted from 1."""
        if self.is_block:
            return Place(self.place.file, self.place.line + line - 1, column and column + self.indent)
        known = column and self.place.column and line == 1
        return Place(self.place.file, self.place.line, self.place.column + column - 1 if known else 0)

    def at_character(self, character: int) -> Place:
        """Return the place of a character of the text, counted from 0."""
        before = self.source[:character]
        return self.at(before.count("\n") + 1, character - (before.rfind("\n") + 1) + 1)


@dataclass(frozen=True, slots=True)
class Declared:
    """One declared registry, as it stands in the file."""

    name: str
    place: Place
    path: str
    query: Text
    format: Format
    entries: str | None = None
    header: tuple[tuple[str, object], ...] = ()
    header_lines: Text | None = None
    footer: Text | None = None
    entry: tuple[str, ...] = ()
    entry_lines: Text | None = None
    sort: tuple[str, ...] = ()
    mode: int | None = None
    check: tuple[str, ...] = ()
    on_publish: tuple[str, ...] = ()


RESERVED = frozenset({"omnicdc_manifest.json", "LOCAL_OVERRIDES_V1.yaml", "EXCLUSION_LIST_V1.yaml"})
"""Files below the root that are no registries: omnicdc's manifest, and people's files."""


def is_path_below(text: str) -> bool:
    """Return True if a text is the path of a file below a directory, in its plainest form."""
    return all(part not in ("", ".", "..") for part in text.split("/"))


class _BadValueError(ValueError):
    def __init__(self, node: Node, file: str, message: str) -> None:
        super().__init__(f"{file}:{node.start_mark.line + 1}: {message}")


@dataclass(slots=True)
class _Reader:
    """Reads the nodes of one registry."""

    file: str
    source: str
    found: dict[str, Any] = field(default_factory=dict)

    def name(self, node: Node) -> str:
        return self._matching(node, _NAME, "a name of lower-case letters, digits and _ expected")

    def path(self, node: Node) -> str:
        text = self.line(node)
        if not is_path_below(text):
            raise self.fault(node, "a path below the root expected, without . and ..")
        if any(len(part.encode()) > _LONGEST_PART for part in text.split("/")):
            raise self.fault(node, f"a path whose parts have at most {_LONGEST_PART} bytes expected")
        if (file := text.rpartition("/")[2]) in RESERVED or file.startswith("."):
            raise self.fault(
                node, f"a registry must not be called {file}: it is hidden, or a file of another kind"
            )
        return text

    def format(self, node: Node) -> str:
        text = self.line(node)
        if text not in FORMATS:
            raise self.fault(node, f"{', '.join(FORMATS)} expected, found {text!r:.60}")
        return text

    def mode(self, node: Node) -> int:
        return int(self._matching(node, _MODE, 'an octal mode such as "0640" expected'), 8)

    def line(self, node: Node) -> str:
        text = self._scalar(node)
        if not text or not text.isprintable():
            raise self.fault(node, "one line of text expected")
        return text

    def lines(self, node: Node) -> tuple[str, ...]:
        return tuple(self.line(each) for each in (node.value if isinstance(node.value, list) else [node]))

    def command(self, node: Node) -> tuple[str, ...]:
        words = self.lines(node)
        if not isinstance(node.value, list) and " " in words[0]:
            raise self.fault(node, A_LIST)
        return words

    def text(self, node: Node) -> Text:
        source = self._scalar(node)
        if not source.strip():
            raise self.fault(node, "text expected, found none")
        mark = node.start_mark
        if getattr(node, "style", None) in ("|", ">"):
            line = self.source.split("\n")[mark.line + 1]
            indent = len(line) - len(line.lstrip(" "))
            return Text(source, Place(self.file, mark.line + 2), True, indent)
        quoted = getattr(node, "style", None) in ("'", '"')
        # Of a text that goes on in the next line, YAML does not say where a character stood.
        column = mark.column + 1 + quoted if mark.line == node.end_mark.line else 0
        return Text(source, Place(self.file, mark.line + 1, column))

    def members(self, node: Node) -> tuple[tuple[str, object], ...]:
        if not isinstance(node.value, list) or not all(isinstance(each, tuple) for each in node.value):
            raise self.fault(node, "lines like `name: value` expected")
        return tuple((self.line(key), self._value(value)) for key, value in node.value)

    def fault(self, node: Node, message: str) -> ValueError:
        return _BadValueError(node, self.file, message)

    def _scalar(self, node: Node) -> str:
        if not isinstance(node.value, str):
            raise self.fault(node, "one value expected")
        return node.value

    def _value(self, node: Node) -> object:
        text = self._scalar(node)
        kind = str(node.tag).rsplit(":", 1)[-1]
        if kind == "null":
            return None
        if kind == "bool":
            return text.lower() in ("true", "yes", "on")
        if kind == "int" and _NUMBER.fullmatch(text):
            return int(text)
        return text

    def _matching(self, node: Node, pattern: re.Pattern[str], message: str) -> str:
        text = self._scalar(node)
        if not pattern.fullmatch(text):
            raise self.fault(node, f"{message}, found {text!r:.60}")
        return text


def read_registries(file: Path, source: str, node: Node, faults: list[str]) -> tuple[Declared, ...]:
    """Read the list of registries. A fault is added to `faults`, with file and line."""
    from ruamel.yaml.nodes import MappingNode, SequenceNode  # noqa: PLC0415 - most commands run without a file

    if not isinstance(node, SequenceNode):
        faults.append(f"{file}:{node.start_mark.line + 1}: a list of registries expected")
        return ()
    found = []
    for each in node.value:
        if not isinstance(each, MappingNode):
            faults.append(f"{file}:{each.start_mark.line + 1}: lines like `name: value` expected")
            continue
        if declared := _read(_Reader(str(file), source), each, faults):
            found.append(declared)
    return tuple(found)


def _read(reader: _Reader, node: MappingNode, faults: list[str]) -> Declared | None:
    """Read one registry; None if it has a fault."""
    before, format_ = len(faults), _format(node)
    lines = format_ == "lines"
    readers: Mapping[str, tuple[str, Callable[[Node], object]]] = {
        "name": ("name", reader.name),
        "path": ("path", reader.path),
        "query": ("query", reader.text),
        "format": ("format", reader.format),
        "sort": ("sort", reader.lines),
        "mode": ("mode", reader.mode),
        "check": ("check", reader.command),
        "on_publish": ("on_publish", reader.command),
        **(
            {
                "header": ("header_lines", reader.text),
                "entry": ("entry_lines", reader.text),
                "footer": ("footer", reader.text),
            }
            if lines
            else {
                **({} if format_ in _WITHOUT_HEADER else {"header": ("header", reader.members)}),
                "entry": ("entry", reader.lines),
                "entries": ("entries", reader.line),
            }
        ),
    }
    values: dict[str, Any] = {}
    for key, value in node.value:
        try:
            if not isinstance(key.value, str) or key.value not in readers:
                raise reader.fault(key, _unknown(str(key.value), format_, readers))
            name, read = readers[key.value]
            if name in values:
                raise reader.fault(key, f"{key.value} is set twice")
            values[name] = read(value)
        except ValueError as exc:
            faults.append(str(exc))
    needed = ["name", "path", "query", "format", *(["entry_lines"] if lines else [])]
    lacking = [name.removesuffix("_lines") for name in needed if name not in values]
    if len(faults) == before and lacking:
        faults.append(str(reader.fault(node, f"the registry lacks {', '.join(lacking)}")))
    if len(faults) > before:
        return None
    return Declared(place=Place(reader.file, node.start_mark.line + 1), **values)


def _unknown(key: str, format_: str, known: Iterable[str]) -> str:
    """Say that a registry has no such key."""
    if near := get_close_matches(key, known, n=1, cutoff=0.7):
        return f"a registry has no {key!r:.60}, did you mean {near[0]}?"
    of = f" of format {format_}" if format_ in FORMATS else ""
    return f"a registry{of} has no {key!r:.60}; it has {', '.join(known)}"


def _format(node: MappingNode) -> str:
    return next((str(value.value) for key, value in node.value if key.value == "format"), "")
