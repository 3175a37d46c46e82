"""Turns an OSError into a RegistryError with the command that shows or removes the cause."""

from __future__ import annotations

import errno
import os
import pwd
import shlex
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from omnicdc.errors import RegistryError
from omnicdc.filesystem.mount import mount_of

if TYPE_CHECKING:
    from collections.abc import Iterator

TEMPORARY = ".omnicdc-tmp"
"""Suffix of the hidden name of an unfinished file. A file that a killed process left is replaced."""


@contextmanager
def registry_errors(deed: str, place: Path) -> Iterator[None]:
    """Turn OSError into RegistryError: `deed` says what was tried, and `place` is the path for the hint."""
    try:
        yield
    except OSError as exc:
        where = _refused(exc, place)
        raise RegistryError(
            f"cannot {deed}: {exc.strerror or exc}", hint=remedy(exc, where), path=str(where), errno=exc.errno
        ) from exc


def _refused(exc: OSError, place: Path) -> Path:
    """Return the path that the error is about.

    This is the error's own path if it is absolute or a temporary file beside `place`; else `place`.
    """
    named = exc.filename2 or exc.filename
    known = isinstance(named, str) and (named.startswith("/") or named.endswith(TEMPORARY))
    return place.parent / named if known else place


def remedy(exc: OSError, place: Path) -> str:
    """Return the command that shows or removes the cause; empty if none is known."""
    above = next((it for it in place.parents if os.access(it, os.F_OK)), Path("/"))
    mount = mount_of(place if exc.errno == errno.EBUSY else above)
    directory, disk, file = (shlex.quote(str(it)) for it in (above, mount.point, place))
    bind = "bind," if mount.only_here_read_only else ""
    return {
        errno.ENOSPC: f"free space on {disk}: `df -h {disk}`; inodes: `df -i {disk}`",
        errno.EDQUOT: f"free space of {user_name()} on {disk}: `quota -u {user_name()}`",
        errno.EROFS: f"under systemd, ReadWritePaths= (docs/install.md, Another root); else `mount -o "
        f"remount,{bind}rw {disk}`",
        errno.EACCES: f"`chown {user_name()} {directory}`, `chmod u+rwx {directory}`",
        errno.EPERM: f"look for an immutable flag: `lsattr -d {directory} {file}`",
        errno.EIO: "look for a failing disk: `dmesg`",
        errno.EBUSY: f"mount its directory, not the file alone: `findmnt {disk}`",
        errno.EISDIR: f"`mv {file} {file}.aside`",
        errno.EFBIG: "raise the limit for files: `ulimit -f`",
        errno.ENOTDIR: f"remove the file that stands in a directory's place: `ls -ld {directory}`",
        errno.ENXIO: f"remove what is no file: `ls -ld {file}`",
        errno.ELOOP: f"remove the symlink: `ls -ld {directory} {file}`",
        errno.ENAMETOOLONG: "name a root with a shorter path: --root DIR or OMNICDC_ROOT",
        errno.ESTALE: f"mount {disk} again",
        errno.ENOENT: f"make or mount the root, which is not in {directory}",
    }.get(exc.errno or 0, "")


def user_name() -> str:
    """Return the name of this process's user, or its number if it has no name."""
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return str(os.geteuid())
