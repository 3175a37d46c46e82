"""Watches directories with inotify, so that a new clone is found at once.

This uses the C library and not a package, because directories are added and removed one by one, and the
directory for which the kernel has no watch left must be known. The caller searches directories that cannot be
watched from time to time.
"""

from __future__ import annotations

import ctypes
import errno
import os
import select
import struct
from threading import Lock
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

MOST = 8192
"""Most directories that one daemon watches. The kernel's limit, for all programs of a user, may be lower."""

_MODIFIED, _MOVED_FROM, _MOVED_TO, _CREATE, _DELETE = 0x8, 0x40, 0x80, 0x100, 0x200
_DELETE_SELF, _MOVE_SELF, _OVERFLOW, _IGNORED = 0x400, 0x800, 0x4000, 0x8000
_ONLYDIR, _ISDIR = 0x01000000, 0x40000000
_COMES_OR_GOES = _MOVED_FROM | _MOVED_TO | _CREATE | _DELETE | _DELETE_SELF | _MOVE_SELF | _ONLYDIR
_EVENT = struct.Struct("iIII")
_NAMES = frozenset({b".git", b"config", b"commondir"})
"""Names of files whose change may change a clone."""

_LIMIT = "the kernel has no watch left for {path}: new clones there are found only after a while - "
_REMEDY = "`sysctl fs.inotify.max_user_watches fs.inotify.max_user_instances` shows the limits; raise them"


class Watches:
    """Watched directories and their owners. Only one thread may wait and close; any thread may watch."""

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._lock = Lock()
        self._handles: dict[str, int] = {}
        self._owners: dict[int, set[int]] = {}
        self._fd: int = self._libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)

    @property
    def working(self) -> bool:
        """True if the kernel supports watches, and until `close`."""
        return self._fd >= 0

    def close(self) -> None:
        """End all watches."""
        with self._lock:
            fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def watch(self, owner: int, directories: Iterable[str]) -> tuple[bool, str]:
        """Watch exactly these directories for an owner. Return True if some are new, and a fault or "".

        The fault says that some cannot be watched. This waits if a mount hangs. A change before it returned
        may be missed, so the caller must search new directories once.
        """
        wanted = {*directories}
        with self._lock:
            known = {path for path, handle in self._handles.items() if owner in self._owners.get(handle, ())}
            for path in known - wanted:
                self._leave(owner, path)
        added_any, fault = False, ""
        for path in sorted(wanted - known, key=lambda path: (path.count("/"), path)):
            added, fault = self._add(owner, path)
            added_any |= added
            if fault:
                break
        return added_any, fault

    def wait(self, seconds: float) -> set[int]:
        """Wait for a change that may concern clones, and return the owners of the directories.

        Returns an empty set after so many seconds. Only one thread may wait.
        """
        fd = self._fd
        if fd < 0:
            return set()
        try:
            if not select.select([fd], [], [], seconds)[0]:
                return set()
            data = os.read(fd, 1 << 16)
        except (OSError, ValueError):  # closed meanwhile
            return set()
        return self._concerned(data)

    def _add(self, owner: int, path: str) -> tuple[bool, str]:
        """Watch one directory. Return True if it is watched, and a fault or "".

        A directory that is missing or that we may not read is no fault.
        """
        with self._lock:
            fd, full = self._fd, len(self._handles) >= self._most and path not in self._handles
        if fd < 0 or full:
            return False, _LIMIT.format(path=path) + _REMEDY
        handle = self._libc.inotify_add_watch(fd, os.fsencode(path), ctypes.c_uint32(_mask(path)))
        if handle < 0:
            full = ctypes.get_errno() in (errno.ENOSPC, errno.ENOMEM)
            return False, _LIMIT.format(path=path) + _REMEDY if full else ""
        with self._lock:
            self._handles[path] = handle
            self._owners.setdefault(handle, set()).add(owner)
        return True, ""

    def _leave(self, owner: int, path: str) -> None:
        handle = self._handles[path]
        self._owners[handle].discard(owner)
        if not self._owners[handle]:
            del self._handles[path], self._owners[handle]
            self._libc.inotify_rm_watch(self._fd, handle)

    def _concerned(self, data: bytes) -> set[int]:
        owners: set[int] = set()
        at = 0
        with self._lock:
            while at < len(data):
                handle, mask, _cookie, length = _EVENT.unpack_from(data, at)
                name = data[at + _EVENT.size : at + _EVENT.size + length].rstrip(b"\0")
                at += _EVENT.size + length
                if mask & _OVERFLOW:
                    return set().union(*self._owners.values())
                if mask & (_ISDIR | _DELETE_SELF | _MOVE_SELF | _IGNORED) or name in _NAMES:
                    owners |= self._owners.get(handle, set())
                if mask & _IGNORED:
                    self._forget(handle)
        return owners

    def _forget(self, handle: int) -> None:
        self._owners.pop(handle, None)
        self._handles = {path: other for path, other in self._handles.items() if other != handle}


def _mask(path: str) -> int:
    # Writes to files matter only in a directory with a `config`. In other directories people compile
    # programs.
    return _COMES_OR_GOES | (_MODIFIED if os.path.lexists(f"{path}/config") else 0)
