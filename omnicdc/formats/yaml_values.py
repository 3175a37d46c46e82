"""Parses YAML: quickly if omnicdc wrote it, otherwise with the library. No I/O.

The counterpart of `scalars`. `layout` finds where an entry begins and ends.
"""

from __future__ import annotations

import json
import re
import warnings
from typing import TYPE_CHECKING

from omnicdc.formats.item import same
from omnicdc.formats.scalars import UUID, plain, yaml_text

if TYPE_CHECKING:
    from collections.abc import Iterable

_LINE = re.compile(r"  (?:([a-z_]+):(?: (.*))?|- (.*))")
_WORDS: dict[str, object] = {"null": None, "true": True, "false": False}
_NO_KEYS = frozenset({"null", "true", "false", "yes", "no", "on", "off", "y", "n"})
_NUMBER = re.compile(r"0|[1-9][0-9]{0,17}")

_BREAK = re.compile(rb"\xc2\x85|\xe2\x80[\xa8\xa9]")

_PLAIN = plain("A-Za-z").encode()
_QUOTED = rb'"(?:[\x20-\x21\x23-\x5b\x5d-\x7e]++|\\(?:["\\bfnrt]|u(?![dD][89a-fA-F])[0-9a-fA-F]{4}))*"'
_UUID = UUID.encode()
_SCALAR = rb"(?:" + rb"|".join([_PLAIN, _QUOTED, _UUID, rb"0|[1-9][0-9]{0,17}+"]) + rb")\n"
_VALUE = rb"(?: " + _SCALAR + rb"| \[\]\n|\n(?:  - " + _SCALAR + rb")+)"


def own_fields(entry: bytes) -> dict[str, object] | None:
    """Return the fields of a YAML entry in the form that `scalars` writes; None for any other entry.

    `entry` is an item of a list, without the dash and without the last line feed.
    """
    try:
        return _fields(f"  {entry.decode()}".split("\n"))
    except ValueError:
        return None


def own_entries(data: bytes, start: int, keys: Iterable[bytes]) -> int:
    """Return the end of the run of simple entries that begins at `start`.

    A simple entry has exactly these keys, is ASCII, and certainly parses. The check is quick. The first entry
    that is not simple ends the run; the caller must check it alone.
    """
    fields = b"".join(rb"  " + re.escape(key) + rb":" + _VALUE for key in keys)
    entry = re.compile(rb"- " + fields[2:] + rb"(?=- |\Z)")
    # One match for each entry: early releases of Python 3.11 have a bug with possessive groups, and any other
    # group needs memory for each repetition.
    while match := entry.match(data, start):
        start = match.end()
    return start


def yaml_value(data: bytes) -> object:
    """Parse YAML as version 1.2 and as version 1.1. A value that differs becomes a mapping of both values.

    Raises ValueError, with the line, if one of the versions cannot parse it. A megabyte takes seconds.
    """
    if broken := _BREAK.search(data):
        # PyYAML ends a line here, but this library does not, in either version.
        raise ValueError(f"line {_line_of(data, broken.start())}: a line break of YAML 1.1 only")
    try:
        return _agreed(_loaded(data, (1, 2)), _loaded(data, (1, 1)), {})
    except RecursionError as exc:
        raise ValueError("nested too deeply") from exc


def _fields(lines: Iterable[str]) -> dict[str, object]:
    fields: dict[str, object] = {}
    listed: list[object] | None = None
    for line in lines:
        key, scalar, item = _matched(line)
        if key is None:
            if listed is None:
                raise ValueError("an item of no list")
            listed.append(_scalar(item))
            continue
        if key in fields or listed == [] or key in _NO_KEYS:
            raise ValueError("a key twice, without a value, or not text")
        listed = [] if scalar is None else None
        fields[key] = listed if scalar is None else _scalar(scalar)
    if listed == []:
        raise ValueError("a key without a value")
    return fields


def _matched(line: str) -> tuple[str | None, str | None, str]:
    match = _LINE.fullmatch(line)
    if match is None:
        raise ValueError("not a line of ours")
    return match[1], match[2], match[3]


def _scalar(written: str) -> object:
    if written in _WORDS:
        return _WORDS[written]
    if written == "[]":
        return []
    if _NUMBER.fullmatch(written):
        return int(written)
    text = json.loads(written) if written.startswith('"') else written
    if not isinstance(text, str) or yaml_text(text) != written:
        raise ValueError("not a scalar of ours")
    return text


def _loaded(data: bytes, version: tuple[int, int]) -> object:
    # Imported here, because ruamel.yaml is slow to import and seldom needed.
    from ruamel.yaml import YAML  # noqa: PLC0415

    yaml = YAML(typ="safe", pure=True)
    yaml.version = version
    yaml.composer.warn_double_anchors = False
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return yaml.load(data)
    except Exception as exc:  # any error of the library means that the file does not parse
        raise ValueError(_problem(exc)) from exc


def _line_of(data: bytes, at: int) -> int:
    return data.count(b"\n", 0, at) + 1


def _problem(exc: Exception) -> str:
    said = str(getattr(exc, "problem", None) or exc or type(exc).__name__).splitlines()[0]
    mark = getattr(exc, "problem_mark", None) or getattr(exc, "context_mark", None)
    return said if mark is None else f"line {mark.line + 1}: {said}"


def _agreed(new: object, old: object, known: dict[tuple[int, int], object]) -> object:
    """Merge the results of both versions. Anchors share values, so `known` keeps each merged pair."""
    at = id(new), id(old)
    if at in known:
        return known[at]
    if isinstance(new, dict) and isinstance(old, dict) and new.keys() == old.keys():
        known[at] = {key: _agreed(value, old[key], known) for key, value in new.items()}
    elif isinstance(new, list) and isinstance(old, list) and len(new) == len(old):
        known[at] = [_agreed(one, other, known) for one, other in zip(new, old, strict=True)]
    else:
        known[at] = new if same(new, old) else {"to YAML 1.2": new, "to YAML 1.1": old}
    return known[at]
