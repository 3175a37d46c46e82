"""Text to scalars: what stands between the fixed shape of an entry and its bytes.

The scanners own the shapes, `document` the order. Emitting whole documents with a YAML library is
what makes a registry slow; one scalar on one line is little enough to be proven right by test.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import orjson

if TYPE_CHECKING:
    from collections.abc import Mapping

_WORDS = "null|true|false|yes|no|on|off|y|n"
"""What YAML 1.1 or 1.2 reads as something other than text, of all that begins with a letter."""

_SIGNS = r"0-9_./@+~=,()&'!\-"


def plain(letters: str) -> str:
    """Return the pattern of a text of these letters, digits and signs that YAML allows without quotes."""
    inside = f"[{letters}{_SIGNS}]"
    return rf"[{letters}/_]{inside}*+(?:[ :]{inside}++)*"


UUID = r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"

_LETTERS = r"A-Za-z\u00a1-\u167f\u1681-\u1fff\u3001-\ud7ff\U00010000-\U0010ffff"

_PLAIN = re.compile(rf"(?!(?:{_WORDS})\Z){plain(_LETTERS)}|{UUID}", re.ASCII | re.IGNORECASE)
"""Names, URLs, paths and UUIDs that mean themselves unquoted, after `key: ` and after `- `.

Every number, date and special value of both versions begins with a digit, a sign, a dot, `~`, `=`
or `<`, or is one of `_WORDS`; a UUID's second dash rules numbers and dates out. A colon or a blank
inside is harmless between two others of these characters, as `#` is not among them; nor are the
blanks of other scripts. Each class is possessive, so it is one pass. The group is not: early releases of
Python 3.11, Debian 12's among them, get possessive groups wrong.
"""

LONGEST_PLAIN = 4096
"""Characters. A group that is not possessive remembers each of its turns."""

_UNREADABLE = [*range(0x7F, 0xA1), 0x2028, 0x2029, 0xFEFF, 0xFFFE, 0xFFFF]
"""What JSON leaves raw and YAML must not: not printable, or a line break to YAML 1.1, or a BOM.

U+00A0 is allowed, but a reader could not tell it from a blank.
"""

_ESCAPES = {code: f"\\u{code:04x}" for code in _UNREADABLE}
"""By a table, as megabytes of them may come: a function called for each took seconds, in the middle of a
transaction."""


def json_text(value: str | None) -> str:
    """Return the JSON scalar, non-ASCII raw, as `json.dumps(value, ensure_ascii=False)` does.

    Raises ValueError for a lone surrogate, which has no bytes in UTF-8; PostgreSQL stores none.
    """
    try:
        return orjson.dumps(value).decode()
    except orjson.JSONEncodeError as exc:
        raise ValueError(f"not text that UTF-8 can hold: {value!a:.100}") from exc


def json_lines(value: Mapping[str, object]) -> bytes:
    """Return an object as `json.dumps(value, indent=2, ensure_ascii=False)` does; raises ValueError as above.

    What it holds is text, null, and lists and objects of these: numbers may come out otherwise.
    """
    try:
        return orjson.dumps(value, option=orjson.OPT_INDENT_2)
    except orjson.JSONEncodeError as exc:
        raise ValueError(f"not text that UTF-8 can hold: {value!a:.100}") from exc


def yaml_text(value: str | None) -> str:
    """Return the YAML scalar, on one line, that YAML 1.1 and 1.2 both read back as `value`.

    It stands as the value of a key or as an item of a list, in block style, followed by a line feed.
    Text that is not surely plain is written as JSON, whose quotes and escapes YAML shares, less the
    characters that YAML wants escaped. Raises ValueError for a lone surrogate.
    """
    if value is None:
        return "null"
    if len(value) <= LONGEST_PLAIN and _PLAIN.fullmatch(value):
        return value
    return json_text(value).translate(_ESCAPES)
