"""A parsed entry of a registry, and the comparison of two such entries. No I/O."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

ABSENT = "(absent)"
"""Stands for the value of a field that one side does not have."""

Differences = Mapping[str, tuple[object, object]]
"""Field to its expected value and its value in the file."""


@dataclass(frozen=True, slots=True)
class Item:
    """A parsed entry: its entry key, the ids of its projects, and its fields."""

    entry_key: str
    projects: tuple[str, ...]
    fields: Mapping[str, object]
    identified: bool = True
    """False if the file does not show the key: the whole text is the entry key, and may be there twice."""


def compare(expected: Mapping[str, object], found: Mapping[str, object]) -> Differences:
    """Return the fields whose values differ."""
    names = [*expected, *(name for name in found if name not in expected)]
    pairs = {name: (expected.get(name, ABSENT), found.get(name, ABSENT)) for name in names}
    return {name: pair for name, pair in pairs.items() if not same(*pair)}


def is_certain(name: str, expected: object) -> bool:
    """Return True if the value of a field is certain even though not all inputs are known.

    Such a value is the path of a clone that was found, or a path in an override.
    """
    return name == "local_paths" and bool(expected) and expected != ABSENT


def same(one: object, other: object) -> bool:
    """Return True if two values and their types are equal: 1 differs from true."""
    if type(one) is not type(other):
        return False
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(value, other[key]) for key, value in one.items())
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    return one == other


def mapping(value: object, what: str) -> dict[str, object]:
    """Return `value` as a mapping. Raises ValueError if it is none."""
    if not isinstance(value, dict):
        raise ValueError(f"{what} is no mapping")  # noqa: TRY004 - bad content, not a bad call
    return {str(key): each for key, each in value.items()}


def sequence(value: object, what: str) -> list[object]:
    """Return `value` as a list. Raises ValueError if it is none."""
    if not isinstance(value, list):
        raise ValueError(f"{what} is no list")  # noqa: TRY004 - as above
    return value


def without(parsed: Mapping[str, object], entries: str) -> Mapping[str, object]:
    """Return the keys of a parsed file, without its entries and the time."""
    return {name: value for name, value in parsed.items() if name not in (entries, "generated_at")}
