"""Renders text as JSON or YAML scalars.

The formats define the shape of an entry, `document` the order of entries. A YAML library is too slow to
write whole documents. One scalar on one line is so simple that tests can prove it correct.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import orjson

if TYPE_CHECKING:
    from collections.abc import Mapping

_WORDS = "null|true|false|yes|no|on|off|y|n"
"""The words that begin with a letter and that YAML 1.1 or 1.2 does not read as text."""

_SIGNS = r"0-9_./@+~=,()&'!\-"


def plain(letters: str) -> str:
    """Return the pattern of texts that need no quotes in YAML: these letters, digits, and `_SIGNS`."""
    inside = f"[{letters}{_SIGNS}]"
    return rf"[{letters}/_]{inside}*+(?:[ :]{inside}++)*"


UUID = r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"

_LETTERS = r"A-Za-z\u00a1-\u167f\u1681-\u1fff\u3001-\ud7ff\U00010000-\U0010ffff"

_PLAIN = re.compile(rf"(?!(?:{_WORDS})\Z){plain(_LETTERS)}|{UUID}", re.ASCII | re.IGNORECASE)
"""Names, URLs, paths and UUIDs that YAML reads as text without quotes, after `key: ` and after `- `.

Every number, date and special value of both versions begins with a digit, a sign, a dot, `~`, `=`
or `<`, or is one of `_WORDS`; a UUID is neither a number nor a date, because of its dashes.
A colon or a blank between two of these characters has no meaning in YAML. `#` and the blanks of other
scripts are not allowed. Each class is possessive, so that the match is one pass. The group is not
possessive, because early releases of Python 3.11, such as Debian 12's, have a bug with possessive groups.
"""

LONGEST_PLAIN = 4096
"""Most characters of a text without quotes, because a group that is not possessive needs memory for each
repetition."""

_UNREADABLE = [*range(0x7F, 0xA1), 0x2028, 0x2029, 0xFEFF, 0xFFFE, 0xFFFF]
"""Characters that JSON does not escape but YAML must: not printable, a line break in YAML 1.1, or a BOM.

YAML allows U+00A0, but a reader could not distinguish it from a blank.
"""

_ESCAPES = {code: f"\\u{code:04x}" for code in _UNREADABLE}
"""A table, because a text may contain megabytes of these characters: a function call for each took seconds,
inside a transaction."""


def json_text(value: str | None) -> str:
    """Return the JSON scalar, as `json.dumps(value, ensure_ascii=False)` does.

    Raises ValueError for a lone surrogate, which UTF-8 cannot encode. PostgreSQL never returns one.
    """
    try:
        return orjson.dumps(value).decode()
    except orjson.JSONEncodeError as exc:
        raise ValueError(f"not text that UTF-8 can hold: {value!a:.100}") from exc


def json_lines(value: Mapping[str, object]) -> bytes:
    """Return an object as `json.dumps(value, indent=2, ensure_ascii=False)` does; raises ValueError as above.

    The values must be text, null, or lists and objects of these. Numbers may be written differently.
    """
    try:
        return orjson.dumps(value, option=orjson.OPT_INDENT_2)
    except orjson.JSONEncodeError as exc:
        raise ValueError(f"not text that UTF-8 can hold: {value!a:.100}") from exc


def yaml_text(value: str | None) -> str:
    """Return a YAML scalar, on one line, that YAML 1.1 and 1.2 both read as `value`.

    It must be the value of a key or an item of a list, in block style, followed by a line feed. Text that may
    need quotes is written as JSON, because YAML has the same quotes and escapes. Characters that only YAML
    must escape are escaped too. Raises ValueError for a lone surrogate.
    """
    if value is None:
        return "null"
    if len(value) <= LONGEST_PLAIN and _PLAIN.fullmatch(value):
        return value
    return yaml_quoted(value)


def yaml_quoted(value: str) -> str:
    """Return text in double quotes, on one line, that YAML 1.1 and 1.2 read alike. Raises ValueError.

    It also stands in flow style, where a text without quotes may not.
    """
    return json_text(value).translate(_ESCAPES)
