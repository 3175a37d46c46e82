"""The lock of an infrastructure root: one process publishes there, and a second one learns which."""

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
"""How often a lock is tried whose file another process replaces meanwhile."""

NAMED_S = 0.02
"""Who has only just taken the lock writes its name on it next: until then a predecessor's stands there, or
none."""

_LOCK_FILE = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
_LASTING = {
    errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EISDIR, errno.ENXIO, errno.EACCES, errno.EPERM,
    errno.EROFS, errno.ENOLCK, errno.ENAMETOOLONG,
}  # fmt: skip
"""What waiting does not fix."""


class RootLock:
    """Keeps a second process from publishing below the same root, while it is entered.

    The kernel releases it with the process, however that ends. The file stays: removing it would let
    two processes lock two files of one name. Another process may remove it all the same: see `kept`.

    flock(2) asks for no more than an open file, so whoever may read the file could lock it and keep the
    daemon out. It is private for that reason; one that others may open is replaced by a new one, as they may
    have it open already.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._file = -1

    def __enter__(self) -> Self:
        """Raise LockBusy if another process has it, ConfigError if this process cannot write there.

        Raises TransientError for what may pass, such as a full disk.
        """
        try:
            with directory_below(self._root, self._root / REGISTRY) as directory:
                self._take(directory)
        except OSError as exc:
            kind = ConfigError if exc.errno in _LASTING else TransientError
            what = f"cannot publish below {self._root}: {exc.strerror}"
            raise kind(what, hint=_root_remedy(exc, self._root)) from exc
        except RegistryError as exc:
            raise ConfigError(exc.message, hint=exc.hint) from exc
        return self

    def __exit__(self, *_exception: object) -> None:
        """Let the next process have it."""
        _close(self._file)
        self._file = -1

    def kept(self) -> bool:
        """Whether this process still keeps every other one out.

        A file that was removed or replaced is taken anew, unless another process has: then nothing may be
        published any more. Where no process can lock a file now, no other publishes either.
        """
        if self._stands():
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

    def _stands(self) -> bool:
        """Whether the file that is locked is the one that others find."""
        try:
            return os.path.samestat(os.fstat(self._file), os.lstat(self._root / LOCK))
        except OSError:
            return False

    def _take(self, directory: int) -> None:
        for _ in range(ATTEMPTS):
            if self._taken(directory):
                return
            self.__exit__()
        raise TransientError(
            f"cannot publish below {self._root}: {LOCK} is replaced again and again",
            hint=f"look for another process that writes there: `ls -l --time-style=full-iso "
            f"{shlex.quote(str(self._root / LOCK))}`",
        )

    def _taken(self, directory: int) -> bool:
        """Lock the file that others find.

        False if another process has just replaced it, so that it is to be tried again.
        """
        self._file = os.open(LOCK.name, _LOCK_FILE, 0o600, dir_fd=directory)
        found = os.fstat(self._file)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._give_way(found)
        if not _same_file(directory, self._file):
            return False
        if not _is_private(found):
            self._replace(directory, found)
        if not _same_file(directory, self._file):
            return False
        if regular.alone(os.fstat(self._file)):
            with suppress(OSError):  # on a full disk the lock holds all the same, without a name on it
                os.ftruncate(self._file, 0)
                os.pwrite(self._file, f"{os.getpid()} {os.uname().nodename}\n".encode(), 0)
        return True

    def _give_way(self, found: os.stat_result) -> None:
        """Raise LockBusy, unless the lock's holder may only read the file, and so publishes nothing."""
        time.sleep(NAMED_S)
        name = os.pread(self._file, 300, 0).decode(errors="replace").strip()
        if not _is_private(found) and _has_ended(name):
            return
        pid, _, host = name.partition(" ")
        holder = _holder(found)
        self.__exit__()
        what = f"process {pid or '?'} on {host or 'this host'} already publishes below {self._root}"
        hint = f"`systemctl stop omnicdc` or `kill {pid or 'PID'}` there, or wait until it ends"
        if holder and holder != pid:
            # A container's process has another number here; or the name is that of an earlier holder.
            file = shlex.quote(str(self._root / LOCK))
            what += f"; here, process {holder} holds its lock"
            hint = f"`ps -fp {holder}` shows it: `kill {holder}`, or `rm {file}` if it is no omnicdc"
        raise LockBusy(what, hint=hint, pid=pid)

    def _replace(self, directory: int, old: os.stat_result) -> None:
        """Put a private file of the same owner, already locked, in the place of the old one.

        Others may have the old one open.
        """
        new = f".{LOCK.name}{TEMPORARY}"
        with suppress(FileNotFoundError):
            os.unlink(new, dir_fd=directory)
        file = os.open(new, _LOCK_FILE | os.O_EXCL, 0o600, dir_fd=directory)
        try:
            with suppress(OSError):  # only root may give it away, and needs to
                os.fchown(file, old.st_uid, old.st_gid)
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.rename(new, LOCK.name, src_dir_fd=directory, dst_dir_fd=directory)
        except OSError:
            os.close(file)
            raise
        _close(self._file)
        self._file = file


def _is_private(found: os.stat_result) -> bool:
    """Whether only the owner may open the file; what is no file has no readers to fear.

    With an ACL, the group's bits are what named users may have at most.
    """
    return not (stat.S_ISREG(found.st_mode) and found.st_mode & 0o077)


def _same_file(directory: int, file: int) -> bool:
    """Whether the file that is open is the one that others find under the lock's name."""
    try:
        return os.path.samestat(os.fstat(file), os.stat(LOCK.name, dir_fd=directory, follow_symlinks=False))
    except FileNotFoundError:
        return False


def _has_ended(name: str) -> bool:
    """Whether the process that wrote its name on the lock is gone; False where that cannot be told."""
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
    """Return the process that has locked a file, as the kernel says; empty where it does not.

    Proc_locks(5).
    """
    place = f"{os.major(found.st_dev):02x}:{os.minor(found.st_dev):02x}:{found.st_ino}"
    try:
        lines = regular.read(Path("/proc/locks")).decode().splitlines()
    except OSError:
        return ""
    held = (line.split() for line in lines)
    return next((it[4] for it in held if it[1:2] == ["FLOCK"] and it[5] == place and int(it[4]) > 0), "")


def _close(file: int) -> None:
    if file >= 0:
        os.close(file)


def _root_remedy(exc: OSError, root: Path) -> str:
    if exc.errno == errno.ENOENT:
        return f"`mkdir -p {shlex.quote(str(root))}`, or name another root: --root DIR or OMNICDC_ROOT"
    return remedy(exc, root / LOCK)
