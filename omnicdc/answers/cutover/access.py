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
from omnicdc.answers.doctor.users import READ, WRITE, process_user
from omnicdc.errors import ConfigError
from omnicdc.files.lock import LOCK
from omnicdc.filesystem import mount
from omnicdc.filesystem.atomic import REGISTRY

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from omnicdc.answers.doctor.users import User


def refuse_unwritable(
    pid: int,
    command: str,
    *,
    by_daemon: Iterable[Path],
    by_caller: Iterable[Path],
    read_by_caller: Iterable[Path] = (),
) -> None:
    """Raise ConfigError with a line for each directory and file that cannot be written.

    `pid` is the daemon, `command` what the user runs. `by_daemon` and `by_caller` are the directories in
    which each of them replaces files; a directory that is missing is created.
    """
    daemon = process_user(pid)
    faults = [
        *(fault for it in _existing(by_daemon) for fault in daemon_faults(it, daemon, mounts_of(pid))),
        *caller_faults(pid, daemon, command, _existing(by_caller), read_by_caller),
    ]
    if faults:
        raise ConfigError("\n".join(dict.fromkeys(faults)))


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
    pid: int, daemon: User, command: str, written: Iterable[Path], read: Iterable[Path]
) -> Iterator[str]:
    """Yield what the user who runs the command may not do."""
    as_root = f"run it as root: `sudo {command}`" if os.geteuid() else "`findmnt -T {0}`, `ls -ld {0}`"
    try:
        os.kill(pid, 0)
    except PermissionError:
        yield f"process {pid}, the daemon, belongs to {daemon.name} - {as_root.format('')}"
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
