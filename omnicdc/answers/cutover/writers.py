"""Finds old scanners that still write registries: running processes, schedules, and what they left behind.

It reads /proc and the schedules of cron and systemd. As root it sees all processes, else the user's own.
"""

from __future__ import annotations

import os
import pwd
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from omnicdc.filesystem import regular

if TYPE_CHECKING:
    import re
    from collections.abc import Iterable, Iterator

SCHEDULES = (
    "etc/crontab",
    "etc/cron.d/*",
    "etc/cron.hourly/*",
    "etc/cron.daily/*",
    "etc/cron.weekly/*",
    "var/spool/cron/crontabs/*",
    "var/spool/cron/*",
    "etc/systemd/system/*.service",
    "etc/systemd/system/*.timer",
    "etc/systemd/system/*.service.d/*.conf",
    "lib/systemd/system/*.service",
)
"""Files that start programs regularly, below the root of the file system."""

MOST_LINE = 200
"""The largest number of characters of a command that is shown."""


@dataclass(frozen=True, slots=True)
class Writer:
    """A process that writes a registry, or that looks like a scanner."""

    pid: int
    user: str
    command: str
    file: str
    """The registry that it has open for writing; empty if it only looks like a scanner."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """A line that starts something that looks like a scanner."""

    file: str
    line: int
    text: str


def writing(paths: Iterable[Path], *, but: int | None = None) -> list[Writer]:
    """Return the processes that have one of these files open for writing, except the process `but`."""
    wanted = {os.path.realpath(path) for path in paths}
    found = []
    for process in _processes():
        if int(process.name) in {but, os.getpid()}:
            continue
        for file in _open_for_writing(process):
            if file.removesuffix(" (deleted)") in wanted:
                found.append(_writer(process, file.removesuffix(" (deleted)")))
                break
    return found


def looking_like(pattern: re.Pattern[str]) -> list[Writer]:
    """Return the running processes whose command line matches, except this one and its parents."""
    own = _ancestors(os.getpid())
    processes = (it for it in _processes() if int(it.name) not in own)
    return [_writer(it, "") for it in processes if pattern.search(_command(it))]


def schedules(pattern: re.Pattern[str], root: Path = Path("/")) -> list[Schedule]:
    """Return the lines of cron and systemd that match, without comments. Unreadable files are left out."""
    found, seen = [], set()
    for glob in SCHEDULES:
        for path in sorted(root.glob(glob)):
            with suppress(OSError, UnicodeDecodeError):
                if (real := os.path.realpath(path)) in seen or not path.is_file():
                    continue
                seen.add(real)
                lines = regular.read(Path(real)).decode().splitlines()
                found += [
                    Schedule(str(path), number, line.strip()[:MOST_LINE])
                    for number, line in enumerate(lines, 1)
                    if pattern.search(line) and not line.lstrip().startswith(("#", ";"))
                ]
    return found


def _processes() -> Iterator[Path]:
    for name in sorted(filter(str.isdecimal, os.listdir("/proc")), key=int):  # noqa: PTH208 - names only
        yield Path("/proc") / name


def _open_for_writing(process: Path) -> Iterator[str]:
    """Yield the files that a process has open for writing; none if it may not be inspected."""
    with suppress(OSError):
        for handle in (process / "fd").iterdir():
            with suppress(OSError, ValueError, IndexError):
                flags = (process / "fdinfo" / handle.name).read_text().split("flags:")[1].split()[0]
                if int(flags, 8) & (os.O_WRONLY | os.O_RDWR):
                    yield str(handle.readlink())


def _writer(process: Path, file: str) -> Writer:
    return Writer(int(process.name), _user(process), _command(process)[:MOST_LINE], file)


def _command(process: Path) -> str:
    try:
        words = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").split()
    except OSError:
        return ""
    return " ".join(words)  # on one line, whatever an argument contains


def _user(process: Path) -> str:
    try:
        uid = process.stat().st_uid
    except OSError:
        return "?"
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _ancestors(pid: int) -> frozenset[int]:
    found = set()
    while pid > 1 and pid not in found:
        found.add(pid)
        try:
            # The name, in parentheses, may contain anything; the parent is the second word after it.
            pid = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
        except (OSError, ValueError, IndexError):
            break
    return frozenset(found)
