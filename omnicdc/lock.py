"""One process publishes below a root; a second one is told who does. What it publishes: `publish`."""

from __future__ import annotations

import errno
import fcntl
import os
import shlex
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Self

from omnicdc import plain
from omnicdc.errors import ConfigError, LockBusy, OmnicdcError, RegistryError, TransientError
from omnicdc.publish import REGISTRY, directory_below, mend

if TYPE_CHECKING:
    from pathlib import Path

LOCK = REGISTRY / ".omnicdc.lock"

NAMED_S = 0.02
"""Who has only just taken the lock writes its name on it next: until then a predecessor's stands there, or none."""

_LOCK_FILE = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
_LASTING = {
    errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EISDIR, errno.ENXIO, errno.EACCES, errno.EPERM, errno.EROFS,
    errno.ENOLCK,
}  # fmt: skip
"""What no waiting mends."""


class RootLock:
    """Keeps a second process from publishing below the same root, while it is entered.

    The kernel releases it with the process, however that ends. The file stays: removing it would let
    two processes lock two files of one name. Somebody may remove it all the same: see `kept`.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._file = -1

    def __enter__(self) -> Self:
        """Raise LockBusy if another process has it, ConfigError if nobody can write there.

        Raises TransientError for what may pass, such as a full disk.
        """
        try:
            with directory_below(self._root, self._root / REGISTRY) as directory:
                self._file = os.open(LOCK.name, _LOCK_FILE, 0o644, dir_fd=directory)
            self._take()
        except OSError as exc:
            kind = ConfigError if exc.errno in _LASTING else TransientError
            what = f"cannot publish below {self._root}: {exc.strerror}"
            raise kind(what, hint=_root_mend(exc, self._root)) from exc
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
        published any more. Where nobody can lock a file now, nobody else publishes either.
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

    def _take(self) -> None:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as exc:
            time.sleep(NAMED_S)
            pid, _, host = os.pread(self._file, 300, 0).decode(errors="replace").strip().partition(" ")
            self.__exit__()
            raise LockBusy(
                f"process {pid or '?'} on {host or 'this host'} already publishes below {self._root}",
                hint=f"`systemctl stop omnicdc` or `kill {pid or 'PID'}` there, or wait until it ends",
                pid=pid,
            ) from exc
        if not plain.alone(os.fstat(self._file)):
            return
        with suppress(OSError):  # on a full disk the lock holds all the same, without a name on it
            os.ftruncate(self._file, 0)
            os.pwrite(self._file, f"{os.getpid()} {os.uname().nodename}\n".encode(), 0)


def _close(file: int) -> None:
    if file >= 0:
        os.close(file)


def _root_mend(exc: OSError, root: Path) -> str:
    if exc.errno == errno.ENOENT:
        return f"`mkdir -p {shlex.quote(str(root))}`, or name another root: --root DIR or OMNICDC_ROOT"
    return mend(exc, root / LOCK)
