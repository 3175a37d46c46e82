"""Checks the room on the disks of the registries and of the state directory."""

from __future__ import annotations

import os
import shlex
from typing import TYPE_CHECKING

from omnicdc.answers.doctor.finding import Finding, fail, ok, warn
from omnicdc.answers.doctor.registry_files import exists
from omnicdc.filesystem.atomic import REGISTRY
from omnicdc.filesystem.mount import mount_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from omnicdc.answers.doctor.site import Site


def check_room(site: Site) -> Iterator[Finding]:
    """Whether the disk has room for the old and the new version of all registries at once."""
    sizes = [
        file.stat().st_size if exists(file) else 0
        for file in (site.root / it.path for it in site.scanners.values())
    ]
    places = [it for it in (site.config.state_dir, site.root / REGISTRY) if exists(it)]
    yield from rooms((it, sizes) for it in {it.stat().st_dev: it for it in places}.values())


def rooms(sizes: Iterable[tuple[Path, Sequence[int]]]) -> Iterator[Finding]:
    """Judge the room of each file system. `sizes` are those of the files to be written at each place.

    Raises OSError if a place does not exist.
    """
    places: dict[int, tuple[Path, list[int]]] = {}
    for place, below in sizes:
        places.setdefault(place.stat().st_dev, (place, []))[1].extend(below)
    for place, below in places.values():
        found = os.statvfs(place)
        yield room(place, found.f_bavail * found.f_frsize, found.f_favail if found.f_files else None, below)


def room(place: Path, free: int, inodes: int | None, sizes: Sequence[int]) -> Finding:
    """Judge the space that is free at a place, in bytes, and its inodes (None: no limit)."""
    needed, most = sum(sizes), max(sizes, default=0)
    mount = shlex.quote(str(mount_of(place).point))
    seen = f"{size(free)} free at {place}, the registries are {size(needed)}"
    if inodes is not None and inodes < len(sizes) + 1:
        return fail(f"{inodes} inodes are free at {place}", f"remove files: `df -i {mount}`")
    if free < most:
        return fail(f"{seen}: no room for a new version of the largest", f"free space: `df -h {mount}`")
    if free < needed:
        return warn(f"{seen}: no room for new versions of all at once", f"free space: `df -h {mount}`")
    return ok(seen)


def size(count: float) -> str:
    """Return a number of bytes for people."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:  # noqa: PLR2004 - the step between two units
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"
