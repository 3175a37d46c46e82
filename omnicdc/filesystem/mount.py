"""Finds the mount of a path in /proc/self/mountinfo (proc_pid_mountinfo(5)).

`os.path.ismount` does not detect a bind mount of the same file system. Containers and systemd's
ReadOnlyPaths= use such mounts.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

MOUNTINFO = Path("/proc/self/mountinfo")


@dataclass(frozen=True, slots=True)
class Mount:
    """A mount point. `only_here_read_only`: this mount is read-only, but its file system is not."""

    point: Path
    only_here_read_only: bool = False


def mount_of(path: Path) -> Mount:
    """Return the mount of a path. Symlinks are followed.

    Without /proc, `os.path.ismount` is used.
    """
    real = Path(os.path.realpath(path))
    try:
        return found(MOUNTINFO.read_text("utf-8", "surrogateescape"), real)
    except OSError:
        return Mount(next(it for it in (real, *real.parents) if os.path.ismount(it)))


def found(mountinfo: str, path: Path) -> Mount:
    """Return the mount of a path that has no symlinks.

    If several are at the same mount point, the last one covers the others.
    """
    mounts = [_mount(line) for line in mountinfo.splitlines()]
    above = [mount for mount in mounts if path.is_relative_to(mount.point)]
    return max(reversed(above), key=lambda it: len(it.point.parts), default=Mount(Path("/")))


def _mount(line: str) -> Mount:
    mount, _, file_system = line.partition(" - ")
    fields = mount.split(" ")
    point = re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), fields[4])
    here, everywhere = (options.split(",") for options in (fields[5], file_system.split(" ")[-1]))
    return Mount(Path(point), "ro" in here and "ro" not in everywhere)
