"""A reading: what was understood of something that other people or programs wrote, and what was not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

T_co = TypeVar("T_co", covariant=True)


@dataclass(frozen=True, slots=True)
class Reading(Generic[T_co]):
    """A value, and beside it one text for each thing a person should fix.

    A fault says where, what is wrong, and what happens: `FILE:LINE: no text repo; this entry is skipped`.
    """

    value: T_co
    faults: tuple[str, ...] = ()
    notices: tuple[str, ...] = ()
    """What is perhaps a slip of the pen, and changes nothing."""
    entries: tuple[Named, ...] = ()
    """Which repositories each entry names, where that is known."""
    blank: bool = False
    """Whether there is no list at all, not even an empty one.

    Nothing was written yet, or a write was cut off.
    """


@dataclass(frozen=True, slots=True)
class Named:
    """One entry of a person's file, and the repositories that it names."""

    where: str
    """`FILE:LINE`."""
    names: tuple[str, ...]
    """URL keys of the overrides; `name` or `owner/name` of the exclusions."""
