"""Values of declared registries: from the JSON that PostgreSQL writes, to each format's scalars. No I/O.

A column's value arrives as PostgreSQL's `to_json` gives it, so that a number keeps its digits.
"""

from __future__ import annotations

import json
import re
import struct
from typing import TYPE_CHECKING, Self

from omnicdc.formats.scalars import json_text, yaml_quoted, yaml_text

if TYPE_CHECKING:
    from collections.abc import Callable

Record = dict[str, object]
"""Column to value: text, int, Float, bool, None, or lists and dicts of these."""

LONGEST_KEY = 256
"""The longest key of a mapping in YAML, in characters. YAML allows 1024 with the quotes and escapes, and an
escape has up to 12."""

_EXPONENT = re.compile(r"(-?[0-9]+)(\.[0-9]+)?[eE]([+-]?)([0-9]+)")


class Float(float):
    """A number with a fraction or an exponent, with the digits that PostgreSQL wrote.

    As a float it is near enough to sort by. Two of them are equal if their digits are.
    """

    text: str

    def __new__(cls, text: str) -> Self:
        """Read a JSON number."""
        number = super().__new__(cls, text)
        number.text = text
        return number

    def __str__(self) -> str:
        """Return the digits."""
        return self.text

    def __eq__(self, other: object) -> bool:
        """Compare the digits."""
        return isinstance(other, Float) and self.text == other.text

    def __hash__(self) -> int:
        """Hash the digits."""
        return hash(self.text)


def read_value(found: str | bytes | None) -> object:
    """Read a value: None for NULL, or JSON text. Raises ValueError."""
    return None if found is None else json.loads(found, parse_float=Float, parse_constant=_refuse)


def as_json(value: object) -> str:
    """Return the JSON of a value, on one line. Raises ValueError for text that UTF-8 cannot hold."""
    return _flow(value, json_text, str)


def as_escaped_json(value: object) -> str:
    """Return the JSON of a value, with escapes also for what some readers take for a line break."""
    return _flow(value, yaml_quoted, str, yaml_quoted)


def as_yaml(value: object) -> str:
    """Return a value on one line that YAML 1.1 and 1.2 read alike, after `key: ` and after `- `.

    Raises ValueError for text that UTF-8 cannot hold, and for a key that is too long.
    """
    return yaml_text(value) if isinstance(value, str) else _flow(value, yaml_quoted, _yaml_number, _yaml_key)


def as_text(value: object) -> str:
    """Return a value as the text of a CSV field: NULL is empty, lists and objects are JSON."""
    if value is None:
        return ""
    return value if isinstance(value, str) else as_json(value)


def sortable(value: object) -> str:
    """Return a text that sorts as the value does: NULL first, numbers by size, text by code points."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        try:
            bits = int.from_bytes(struct.pack(">d", float(value)), "big")
        except OverflowError:
            bits = (0x7FF << 52) | (int(value < 0) << 63)
        # A positive double sorts as its bits do, a negative one in the opposite order.
        return f"{bits ^ ((1 << 64) - 1) if bits >> 63 else bits | (1 << 63):016x}"
    return as_text(value)


def _flow(
    value: object,
    text: Callable[[str], str],
    number: Callable[[float], str],
    key: Callable[[str], str] = json_text,
) -> str:
    """Return a value in JSON's notation, which is also YAML's flow style."""
    match value:
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case int() | float():
            return number(value)
        case str():
            return text(value)
        case list():
            return "[" + ", ".join(_flow(each, text, number, key) for each in value) + "]"
        case dict():
            members = (f"{key(name)}: {_flow(each, text, number, key)}" for name, each in value.items())
            return "{" + ", ".join(members) + "}"
    raise TypeError(f"no value of a column: {value!r}")


def _yaml_number(value: float) -> str:
    """Return a number for both versions: YAML 1.1 needs a fraction and a sign where there is an exponent."""
    if found := _EXPONENT.fullmatch(str(value)):
        whole, fraction, sign, exponent = found.groups()
        return f"{whole}{fraction or '.0'}e{sign or '+'}{exponent}"
    return str(value)


def _yaml_key(name: str) -> str:
    if len(name) > LONGEST_KEY:
        raise ValueError(f"a key of {len(name)} characters is too long for YAML")
    return yaml_quoted(name)


def _refuse(name: str) -> object:
    raise ValueError(f"{name} is no JSON number")
