"""A reading: the result of parsing data that people or other programs wrote, with its faults."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

from omnicdc.formats.urls import names_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

T_co = TypeVar("T_co", covariant=True)


@dataclass(frozen=True, slots=True)
class Reading(Generic[T_co]):
    """A value, and one text for each fault that a user should fix.

    A fault says where it is, what is wrong, and what happens: `FILE:LINE: no text repo; this entry is
    skipped`.
    """

    value: T_co
    faults: tuple[str, ...] = ()
    notices: tuple[str, ...] = ()
    """Entries that may be a mistake and have no effect."""
    entries: tuple[Named, ...] = ()
    """The repositories that each entry names. Empty for other data than people's files."""
    blank: bool = False
    """True if there is no list, not even an empty one.

    Either the file has no content yet, or its write was cut off.
    """


@dataclass(frozen=True, slots=True)
class Named:
    """One entry of a people's file, and the repositories that it names."""

    where: str
    """`FILE:LINE`."""
    names: tuple[str, ...]
    """Overrides: URL keys. Exclusions: `name` or `owner/name`."""


def without_match(entries: Iterable[Named], keys: Iterable[str]) -> Iterator[Named]:
    """Yield the entries of people's files that name none of these URL keys."""
    known = {name for key in keys for name in names_of(key)}
    return (entry for entry in entries if known.isdisjoint(entry.names))


def place_of(entries: Sequence[Named], name: str) -> str:
    """Return where the entry that counts for a name is, the last one: `FILE:LINE`; empty if there is none."""
    return next((entry.where for entry in reversed(entries) if name in entry.names), "")
