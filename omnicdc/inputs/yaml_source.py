"""Parses YAML that people write: a list of entries under one key. Each scalar is read as its text.

Nodes are composed and never constructed. So `012`, `no` and `2024-01-01` stay as they were typed, tags have
no effect, an alias is a reference and not a copy, and each node knows its line.
"""

from __future__ import annotations

import codecs
import re
from dataclasses import dataclass
from difflib import get_close_matches
from typing import TYPE_CHECKING, NoReturn

from omnicdc.config.sources import unquoted
from omnicdc.errors import RegistryError
from omnicdc.formats.text import is_unicode

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping
    from pathlib import Path

    from ruamel.yaml.error import YAMLError
    from ruamel.yaml.nodes import MappingNode, ScalarNode, SequenceNode

    Node = MappingNode | ScalarNode | SequenceNode

_CORE = "tag:yaml.org,2002:"
_NULL = f"{_CORE}null"
_MERGE = f"{_CORE}merge"
_TEXTUAL = {_CORE + kind for kind in ("str", "int", "float", "bool", "timestamp", "value", "merge")}


LONGEST_NAME = 40

RESEMBLANCE = 0.75
"""Two names at least this similar may be the same: `repos` and `repo`, but not `reason` and `repo`."""

_NAME = re.compile(rf"[A-Za-z_][\w-]{{0,{LONGEST_NAME - 1}}}", re.ASCII)


class BadEntry(Exception):  # noqa: N818 - never leaves this package; the caller reports it and continues
    """One entry cannot be used."""

    def __init__(self, message: str, line: int) -> None:
        super().__init__(message)
        self.line = line


class Fields:
    """The fields of one entry."""

    def __init__(self, nodes: dict[str, Node], line: int, lines: Mapping[str, int]) -> None:
        self._nodes = nodes
        self._lines = lines
        self.line = line

    def others(self, known: Collection[str]) -> Iterator[tuple[str, int, str]]:
        """Yield the names of the entry's own fields that are not known.

        Each name comes with its line and with the known name that it resembles, or "". The name is empty if
        it is not a usual name: then it may contain anything and must not be quoted.
        """
        return _others(self._lines, known)

    def text(self, name: str) -> str | None:
        """Return a field's text; None if it is missing or null. Raises `BadEntry` for anything else."""
        node = self._nodes.get(name)
        return None if node is None or node.tag == _NULL else _text(name, node)

    def texts(self, name: str) -> tuple[str, ...]:
        """Return a field's list of texts without empty ones. A single text is a list of one."""
        node = self._nodes.get(name)
        if node is None or node.id != "sequence":
            return tuple(filter(None, [self.text(name)]))
        return tuple(filter(None, [_text(f"an item of {name}", item) for item in node.value]))


@dataclass(frozen=True, slots=True)
class EntryList:
    """The list of a file, and the other keys at the top level."""

    entries: tuple[Entry, ...] = ()
    blank: bool = False
    """True if the file has no list, not even an empty one.

    Either it has no content yet, or its write was cut off.
    """
    others: tuple[tuple[str, int, str], ...] = ()
    """Unknown top-level keys, as `Fields.others` yields them.

    Keys with an anchor are left out, because other parts of the file refer to them.
    """


class Entry:
    """One item of the list, not parsed yet."""

    def __init__(self, node: Node) -> None:
        self._node = node

    def fields(self) -> Fields:
        """Parse the fields. Raises `BadEntry` if this is not a mapping, or if it names a field twice."""
        if self._node.id != "mapping":
            raise BadEntry("not an entry with fields", _line(self._node))
        lines = {
            key.value: _line(key) for key, _ in self._node.value if key.id == "scalar" and key.tag != _MERGE
        }
        return Fields(_all_fields(self._node), _line(self._node), lines)


def content(path: Path) -> bytes | None:
    """Return a file's bytes; None if there is no file.

    Raises `RegistryError` if the file cannot be read, or if a symlink on its path leads to no file.
    """
    try:
        if path.exists() and not path.is_file():  # opening a pipe would wait for a writer
            _refuse(str(path), 1, "not a file")
        return path.read_bytes()
    except FileNotFoundError:
        if dangling := next(
            (it for it in (path, *path.parents) if it.is_symlink() and not it.exists()), None
        ):
            _refuse(str(path), 1, f"the symlink {dangling} leads to no file")
        return None
    except OSError as exc:
        raise RegistryError(
            f"{path}:1: cannot be read ({exc.strerror})",
            hint=f"let the service's user read it: `ls -l {path}`",
        ) from exc


def entry_list(data: bytes, name: str, top: str) -> EntryList:
    """Return the list under the key `top` of the file `name`.

    `top: {}` and a file `{}` are empty lists too.

    Raises `RegistryError`, with the line, if the file is not YAML or has no such list.
    """
    root = _compose(data, name) if data.strip() else None
    if root is None or root.tag == _NULL:
        return EntryList(blank=True)
    if root.id != "mapping":
        _refuse(name, _line(root), f"not a mapping with a list {top}")
    lists = [(key, value) for key, value in root.value if key.value == top]
    if len(lists) != 1 and root.value:
        what = f"the key `{top}:` is in this file twice" if lists else f"no `{top}:` key in this file"
        _refuse(name, _line(lists[1][0]) if lists else 1, what)
    lines = {key.value: _line(key) for key, value in root.value if key.id == "scalar" and not value.anchor}
    others = (*_others(lines, (top,)),)
    items = _items(*lists[0], name) if lists else []
    return EntryList((*map(Entry, items or ()),), items is None, others)


def _items(key: Node, value: Node, name: str) -> list[Node] | None:
    """Return the items of the list; None if there is no list."""
    if value.tag == _NULL:
        return None
    if value.id != "sequence" and (value.id != "mapping" or value.value):
        _refuse(name, _line(key), f"{key.value} is not a list")
    return list(value.value)


def _others(lines: Mapping[str, int], known: Collection[str]) -> Iterator[tuple[str, int, str]]:
    for name, line in lines.items():
        if name not in known:
            near = get_close_matches(name[:LONGEST_NAME].lower(), known, 1, RESEMBLANCE)
            yield name if _NAME.fullmatch(name) else "", line, near[0] if near else ""


def _compose(data: bytes, name: str) -> Node | None:
    # Imported here, because ruamel.yaml is slow to import, and many hosts have no such file.
    from ruamel.yaml import YAML  # noqa: PLC0415
    from ruamel.yaml.error import YAMLError  # noqa: PLC0415

    if found := _encoding_problem(data):
        _refuse(name, found[0], f"not YAML ({found[1]})")
    yaml = YAML(typ="safe", pure=True)
    yaml.composer.warn_double_anchors = False
    try:
        root: Node | None = yaml.compose(data)
    except YAMLError as exc:
        _refuse(name, _error_line(exc, data), f"not YAML ({_problem(exc)})")
    except (RecursionError, ValueError) as exc:
        _refuse(name, 1, f"not YAML that can be read ({exc})")
    return root


def _encoding_problem(data: bytes) -> tuple[int, str] | None:
    """Return the line of the first wrong characters, and what is wrong with them.

    The file must be UTF-8, or UTF-16 with a byte order mark.
    """
    encoding = "UTF-8"
    if data.startswith((codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)):
        return 1, "it is UTF-32: save the file as UTF-8"
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        encoding = "UTF-16"
    elif b"\0" in data:
        line = data.count(b"\n", 0, data.index(b"\0")) + 1
        return line, "it holds NUL bytes, as UTF-16 without a byte order mark does: save the file as UTF-8"
    try:
        data.decode(encoding)
    except UnicodeDecodeError as exc:
        line = data.count(b"\n", 0, exc.start) + 1
        return line, f"not {encoding}, byte 0x{data[exc.start]:02x}: save the file as UTF-8"
    return None


def _refuse(name: str, line: int, what: str) -> NoReturn:
    raise RegistryError(f"{name}:{line}: {what}", path=name, line=line)


def _problem(exc: YAMLError) -> str:
    said = str(getattr(exc, "problem", None) or getattr(exc, "reason", None) or exc).splitlines()[0]
    return unquoted(said)


def _error_line(exc: YAMLError, data: bytes) -> int:
    mark = getattr(exc, "problem_mark", None) or getattr(exc, "context_mark", None)
    if mark is not None:
        return int(mark.line) + 1
    position = getattr(exc, "position", 0)
    return data.count(b"\n", 0, position) + 1


def _line(node: Node) -> int:
    return int(node.start_mark.line) + 1


def _text(name: str, node: Node) -> str:
    if node.id != "scalar" or node.tag not in _TEXTUAL:
        raise BadEntry(f"{name} is not text", _line(node))
    if not is_unicode(node.value):
        raise BadEntry(f"{name} holds half a surrogate pair", _line(node))
    return str(node.value)


def _all_fields(entry: Node) -> dict[str, Node]:
    """Return a mapping's own fields and those that it merges (`<<`). Merges may loop: read each once."""
    nodes: dict[str, Node] = {}
    merged: set[int] = set()
    pending = [entry]
    while pending:
        node = pending.pop()
        if node.id != "mapping":
            raise BadEntry("<< merges what is no mapping", _line(entry))
        if id(node) not in merged:
            merged.add(id(node))
            for name, value in _own_fields(node).items():
                nodes.setdefault(name, value)
            pending += reversed(_merged_mappings(node))
    return nodes


def _own_fields(node: Node) -> dict[str, Node]:
    own: dict[str, Node] = {}
    for key, value in node.value:
        if key.id == "scalar" and key.tag != _MERGE:
            if key.value in own:
                raise BadEntry(f"{key.value} is in this entry twice", _line(key))
            own[key.value] = value
    return own


def _merged_mappings(node: Node) -> list[Node]:
    values = [value for key, value in node.value if key.tag == _MERGE]
    return [other for value in values for other in (value.value if value.id == "sequence" else [value])]
