"""One entry of a registry, parsed, and how two of them differ. No I/O."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

ABSENT = "(absent)"
"""In place of a value, where one side has no such field."""

Differences = Mapping[str, tuple[object, object]]
"""Field to what is expected and what was found."""


@dataclass(frozen=True, slots=True)
class Item:
    """Whose entry it is, which projects it names, and what it says."""

    entry_key: str
    projects: tuple[str, ...]
    fields: Mapping[str, object]


def compare(expected: Mapping[str, object], found: Mapping[str, object]) -> Differences:
    """Return the fields that are not the same on both sides."""
    names = [*expected, *(name for name in found if name not in expected)]
    pairs = {name: (expected.get(name, ABSENT), found.get(name, ABSENT)) for name in names}
    return {name: pair for name, pair in pairs.items() if not same(*pair)}


def is_seen(name: str, expected: object) -> bool:
    """Tell whether an input is certain although not all inputs are known.

    The clone that is there, the path a person set.
    """
    return name == "local_paths" and bool(expected) and expected != ABSENT


def same(one: object, other: object) -> bool:
    """Tell whether two values are equal, types included: 1 is not true."""
    if type(one) is not type(other):
        return False
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(value, other[key]) for key, value in one.items())
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    return one == other


def mapping(value: object, what: str) -> dict[str, object]:
    """Return what should be a mapping; raises ValueError if it is none."""
    if not isinstance(value, dict):
        raise ValueError(f"{what} is no mapping")  # noqa: TRY004 - bad content, not a bad call
    return {str(key): each for key, each in value.items()}


def sequence(value: object, what: str) -> list[object]:
    """Return what should be a list; raises ValueError if it is none."""
    if not isinstance(value, list):
        raise ValueError(f"{what} is no list")  # noqa: TRY004 - as above
    return value


def without(parsed: Mapping[str, object], entries: str) -> Mapping[str, object]:
    """Return what a file says besides its entries and the time."""
    return {name: value for name, value in parsed.items() if name not in (entries, "generated_at")}
