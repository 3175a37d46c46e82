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


MOST_FILES = 100
"""So many files must stay possible on the disk: some file systems have few inodes."""


@dataclass(frozen=True, slots=True)
class Room:
    """Room on a disk: bytes, and files (inodes)."""

    size: int
    files: int

    def fits(self, reserve: int) -> bool:
        """Return True if the next publication has the room that it needs: `reserve` bytes, and some files."""
        return self.size >= reserve and (not reserve or self.files >= MOST_FILES)


@dataclass(frozen=True, slots=True)
class Usage:
    """What is kept if the new generation is added. Sizes are in bytes, as a disk counts them."""

    generations: int
    size: int
    free: Room
    """What the disk has left then."""
    reserve: int
    """What must stay free for the next publication, which writes the new files beside the old ones; 0 if it
    uses another disk."""


def on_disk(length: int) -> int:
    """Return what a file of this length takes on a disk."""
    return -(-length // CLUSTER) * CLUSTER


def excess(bounds: Bounds, usage: Usage) -> Literal["generations", "size", "disk"] | None:
    """Return which bound is exceeded; None if the new generation fits."""
    if usage.generations > bounds.generations:
        return "generations"
    if usage.size > bounds.size:
        return "size"
    return None if usage.free.fits(usage.reserve) else "disk"
