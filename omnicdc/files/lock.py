"""The lock of an infrastructure root: only one process publishes below it. A second one reports its pid."""

from __future__ import annotations

import errno
import fcntl
import os
import shlex
import stat
import time
from contextlib import suppress
from pathlib import Path
from typing import Self

from omnicdc.errors import ConfigError, LockBusy, OmnicdcError, RegistryError, TransientError
from omnicdc.filesystem import regular
from omnicdc.filesystem.atomic import REGISTRY, directory_below
from omnicdc.filesystem.remedy import TEMPORARY, remedy

LOCK = REGISTRY / ".omnicdc.lock"

ATTEMPTS = 100
"""Attempts to lock the file while another process replaces it."""

NAME_WAIT_S = 0.02
"""Seconds to wait before the holder's name is read. A process writes its name just after it takes the lock;
until then the file has an older name or none."""

_LOCK_FILE = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
_PERMANENT = {
    errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EISDIR, errno.ENXIO, errno.EACCES, errno.EPERM,
    errno.EROFS, errno.ENOLCK, errno.ENAMETOOLONG,
}  # fmt: skip
"""Errors that do not pass without a fix."""


class RootLock:
    """A context manager. Inside it, no second process can publish below the same root.

    The kernel releases the lock when the process ends, even if it is killed. The file stays: if it were
    removed, two processes could lock two files of the same name. Another program may still remove it: see
    `kept`.

    flock(2) needs only an open file, so any user who may read the file could lock it and keep the daemon out.
    Therefore the file is private. A file that others may open is replaced by a new one, because they may
    already have it open.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._file = -1

    def __enter__(self) -> Self:
        """Take the lock.

        Raises LockBusy if another process holds it, ConfigError if this process cannot write there, and
        TransientError for an error that may pass, such as a full disk.
        """
        try:
            with directory_below(self._root, self._root / REGISTRY) as directory:
                self._lock(directory)
        except OSError as exc:
            kind = ConfigError if exc.errno in _PERMANENT else TransientError
            what = f"cannot publish below {self._root}: {exc.strerror}"
            raise kind(what, hint=_root_remedy(exc, self._root)) from exc
        except RegistryError as exc:
            raise ConfigError(exc.message, hint=exc.hint) from exc
        return self

    def __exit__(self, *_exception: object) -> None:
        """Release the lock."""
        _close(self._file)
        self._file = -1

    def kept(self) -> bool:
        """Return True if no other process can publish below the root. If False, publish nothing more.

        If the lock's file was removed or replaced, the new file is locked. The result is False if another
        process has locked it. It is True if no process can lock a file there now, for example on a full disk.
        """
        if self._is_in_place():
            return True
        old, self._file = self._file, -1
        try:
            self.__enter__()
        except LockBusy:
            _close(old)
            return False
        except OmnicdcError:
            _close(self._file)
            self._file = old
            return old >= 0
        _close(old)
        return True

    def _is_in_place(self) -> bool:
        """Return True if the locked file is still at the lock's path."""
        try:
            return os.path.samestat(os.fstat(self._file), os.lstat(self._root / LOCK))
        except OSError:
            return False

    def _lock(self, directory: int) -> None:
        for _ in range(ATTEMPTS):
            if self._try_to_lock(directory):
                return
            self.__exit__()
        raise TransientError(
            f"cannot publish below {self._root}: {LOCK} is replaced again and again",
            hint=f"look for another process that writes there: `ls -l --time-style=full-iso "
            f"{shlex.quote(str(self._root / LOCK))}`",
        )

    def _try_to_lock(self, directory: int) -> bool:
        """Lock the file at the lock's path. Return False if another process has just replaced it."""
        self._file = os.open(LOCK.name, _LOCK_FILE, 0o600, dir_fd=directory)
        found = os.fstat(self._file)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._check_holder(found)
        if not _same_file(directory, self._file):
            return False
        if not _is_private(found):
            self._replace(directory, found)
        if not _same_file(directory, self._file):
            return False
        if regular.has_one_name(os.fstat(self._file)):
            with suppress(OSError):  # on a full disk the lock works without a name
                os.ftruncate(self._file, 0)
                os.pwrite(self._file, f"{os.getpid()} {os.uname().nodename}\n".encode(), 0)
        return True

    def _check_holder(self, found: os.stat_result) -> None:
        """Raise LockBusy, unless the holder can only read the file: such a process publishes nothing."""
        time.sleep(NAME_WAIT_S)
        name = os.pread(self._file, 300, 0).decode(errors="replace").strip()
        if not _is_private(found) and _has_ended(name):
            return
        pid, _, host = name.partition(" ")
        holder = _holder(found)
        self.__exit__()
        what = f"process {pid or '?'} on {host or 'this host'} already publishes below {self._root}"
        hint = f"`systemctl stop omnicdc` or `kill {pid or 'PID'}` there, or wait until it ends"
        if holder and holder != pid:
            # The process runs in a container and has another pid here, or the name is of an earlier holder.
            file = shlex.quote(str(self._root / LOCK))
            what += f"; here, process {holder} holds its lock"
            hint = f"`ps -fp {holder}` shows it: `kill {holder}`, or `rm {file}` if it is no omnicdc"
        raise LockBusy(what, hint=hint, pid=pid)

    def _replace(self, directory: int, old: os.stat_result) -> None:
        """Replace the file by a private one of the same owner, which is already locked.

        This is needed because other processes may have the old file open.
        """
        new = f".{LOCK.name}{TEMPORARY}"
        with suppress(FileNotFoundError):
            os.unlink(new, dir_fd=directory)
        file = os.open(new, _LOCK_FILE | os.O_EXCL, 0o600, dir_fd=directory)
        try:
            with suppress(OSError):  # only root may change the owner, and only for root it differs
                os.fchown(file, old.st_uid, old.st_gid)
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.rename(new, LOCK.name, src_dir_fd=directory, dst_dir_fd=directory)
        except OSError:
            os.close(file)
            raise
        _close(self._file)
        self._file = file


def holder_of(root: Path) -> int | None:
    """Return the pid of the process that publishes below `root` on this host; None if there is none."""
    try:
        found = os.stat(root / LOCK)  # noqa: PTH116 - as the others here
        name = regular.read(root / LOCK).decode(errors="replace") if not (pid := _holder(found)) else ""
    except OSError:
        return None
    named, _, host = name.strip().partition(" ")
    if host == os.uname().nodename and named in _lock_holders(found.st_ino):
        # On some file systems (overlay, btrfs), stat(2) shows another device than /proc/locks.
        pid = named
    return int(pid) if pid else None


def _is_private(found: os.stat_result) -> bool:
    """Return True if only the owner may open the file, or if it is not a regular file.

    If the file has an ACL, the group's bits are the most that a named user may do.
    """
    return not (stat.S_ISREG(found.st_mode) and found.st_mode & 0o077)


def _same_file(directory: int, file: int) -> bool:
    """Return True if the open file is the one at the lock's path."""
    try:
        return os.path.samestat(os.fstat(file), os.stat(LOCK.name, dir_fd=directory, follow_symlinks=False))
    except FileNotFoundError:
        return False


def _has_ended(name: str) -> bool:
    """Return True if the process whose name is in the file has ended; False if this is not known."""
    pid, _, host = name.partition(" ")
    if not name:
        return True
    if host != os.uname().nodename or not pid.isdecimal():
        return False
    try:
        os.kill(int(pid), 0)
    except (ProcessLookupError, OverflowError):
        return True
    except OSError:
        pass
    return False


def _holder(found: os.stat_result) -> str:
    """Return the pid of the process that has locked a file, from /proc/locks; empty if it is not listed.

    See proc_locks(5).
    """
    place = f"{os.major(found.st_dev):02x}:{os.minor(found.st_dev):02x}"
    holders = _lock_holders(found.st_ino)
    return next((pid for pid, device in holders.items() if device == place), "")


def _lock_holders(inode: int) -> dict[str, str]:
    """Return the processes that have locked a file of this inode, and its device, from /proc/locks."""
    try:
        lines = regular.read(Path("/proc/locks")).decode().splitlines()
    except OSError:
        return {}
    held = (line.split() for line in lines)
    flocks = ((it[4], it[5].rpartition(":")) for it in held if it[1:2] == ["FLOCK"])
    return {pid: device for pid, (device, _, number) in flocks if number == str(inode) and int(pid) > 0}


def _close(file: int) -> None:
    if file >= 0:
        os.close(file)


def _root_remedy(exc: OSError, root: Path) -> str:
    if exc.errno == errno.ENOENT:
        return f"`mkdir -p {shlex.quote(str(root))}`, or name another root: --root DIR or OMNICDC_ROOT"
    return remedy(exc, root / LOCK)
