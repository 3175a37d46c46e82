"""Checks, before a switch changes anything, that everything can be written that it will write.

The daemon writes the registries and its state directory. The user who runs the command writes the
configuration file and the copies of Omni's files.
"""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from omnicdc.answers.doctor.registry_files import directory
from omnicdc.answers.doctor.room import rooms
from omnicdc.answers.doctor.users import READ, WRITE, process_user
from omnicdc.errors import ConfigError
from omnicdc.files.lock import LOCK
from omnicdc.filesystem import mount
from omnicdc.filesystem.atomic import REGISTRY

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from omnicdc.answers.doctor.users import User


def refuse_unwritable(
    pid: int | None,
    command: str,
    *,
    by_daemon: Iterable[Path],
    by_caller: Iterable[Path],
    read_by_caller: Iterable[Path] = (),
) -> None:
    """Raise ConfigError with a line for each directory and file that cannot be written.

    `pid` is the daemon, None if none runs, and `command` what the user runs. `by_daemon` and `by_caller` are
    the directories in which each of them replaces files; a directory that is missing is created.
    """
    faults = list(caller_faults(pid, command, _existing(by_caller), read_by_caller))
    if pid is not None:
        user, mounts = process_user(pid), mounts_of(pid)
        faults = [
            *(fault for it in _existing(by_daemon) for fault in daemon_faults(it, user, mounts)),
            *faults,
        ]
    if faults:
        raise ConfigError("\n".join(dict.fromkeys(faults)))


def refuse_full(sizes: Mapping[Path, Sequence[int]], *, one_by_one: bool = False) -> None:
    """Raise ConfigError with a line for each file system that lacks room.

    `sizes` are those of the files to be written below each directory. With `one_by_one`, each new file
    replaces an old one before the next is written, so that the room for the largest suffices.
    """
    refused = {"fail"} if one_by_one else {"fail", "warn"}
    places = [(_existing([place])[0], below) for place, below in sizes.items()]
    if faults := [f"{it.seen} - {it.remedy}" for it in rooms(places) if it.status in refused]:
        raise ConfigError("\n".join(faults))


def published_in(root: Path, paths: Iterable[str]) -> list[Path]:
    """Return the directories below a root in which the daemon replaces files."""
    return sorted({root / REGISTRY, *((root / path).parent for path in paths)})


def daemon_faults(place: Path, daemon: User, mounts: str) -> Iterator[str]:
    """Yield why the daemon cannot write in a directory. `mounts` is the mountinfo of its process."""
    try:
        found = directory(place, daemon)
        lock = place / LOCK.name
        locked = lock.exists() and daemon.first_closed(lock, READ | WRITE)
    except PermissionError as exc:
        yield f"{exc.filename} cannot be looked at - run it as root"
        return
    if found.status == "fail":
        yield f"the daemon could not publish: {found.seen} - {found.remedy}"
    elif locked:
        yield (
            f"the daemon could not publish: {daemon.name} cannot write {lock} - "
            f"`chown {daemon.name} {shlex.quote(str(lock))}`"
        )
    elif mounts and mount.found(mounts, Path(os.path.realpath(place))).only_here_read_only:
        yield (
            f"the daemon could not publish: {place} is read-only for its service - `systemctl edit omnicdc`: "
            f"[Service] ReadWritePaths={place}; `systemctl restart omnicdc`"
        )


def caller_faults(
    pid: int | None, command: str, written: Iterable[Path], read: Iterable[Path]
) -> Iterator[str]:
    """Yield what the user who runs the command may not do."""
    as_root = f"run it as root: `sudo {command}`" if os.geteuid() else "`findmnt -T {0}`, `ls -ld {0}`"
    if pid is not None:
        try:
            os.kill(pid, 0)
        except PermissionError:
            yield f"process {pid}, the daemon, belongs to {process_user(pid).name} - {as_root.format('')}"
        except ProcessLookupError:
            yield f"there is no process {pid} - `systemctl status omnicdc`"
    wanted = [(it, os.W_OK | os.X_OK, "written in") for it in written] + [
        (it, os.R_OK, "read") for it in read
    ]
    for path, mode, what in wanted:
        if path.exists() and not os.access(path, mode, effective_ids=True):
            yield f"{path} cannot be {what} by this user - {as_root.format(shlex.quote(str(path)))}"


def mounts_of(pid: int) -> str:
    """Return the mounts that a process sees; empty text if this user may not know."""
    try:
        return Path(f"/proc/{pid}/mountinfo").read_text("utf-8", "surrogateescape")
    except OSError:
        return ""


def _existing(directories: Iterable[Path]) -> list[Path]:
    """Return each directory, or the one above it in which it would be created."""
    found: dict[Path, None] = {}
    for it in directories:
        while not os.path.lexists(it) and it != it.parent:
            it = it.parent  # noqa: PLW2901 - upwards
        found[it] = None
    return [*found]
