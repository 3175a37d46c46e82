"""Decides whether a kept generation must be dropped before a new one is written. No I/O."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

CLUSTER = 4096
"""What a file takes at least on a disk, in bytes."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """How much may be kept: the settings `keep_generations` and `keep_bytes`."""

    generations: int
    size: int


@dataclass(frozen=True, slots=True)
class Usage:
    """What is kept if the new generation is added. Sizes are in bytes, as a disk counts them."""

    generations: int
    size: int
    free: int
    """What the disk has left then."""
    reserve: int
    """What must stay free for the next publication: it writes the new files beside the old ones."""


def on_disk(length: int) -> int:
    """Return what a file of this length takes on a disk."""
    return -(-length // CLUSTER) * CLUSTER


def excess(bounds: Bounds, usage: Usage) -> Literal["generations", "size", "disk"] | None:
    """Return which bound is exceeded; None if the new generation fits."""
    if usage.generations > bounds.generations:
        return "generations"
    if usage.size > bounds.size:
        return "size"
    return "disk" if usage.free < usage.reserve else None
