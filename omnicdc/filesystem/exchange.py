"""Exchanges two file names in one step.

A file that another process wrote at the last moment is so not lost: rename(2) removes the file that it
replaces, but renameat2(2) with RENAME_EXCHANGE does not. Python has no function for it.
"""

from __future__ import annotations

import ctypes
import errno
import os

_RENAME_EXCHANGE = 2
"""From linux/fs.h."""

_NOT_HERE = {errno.ENOENT, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP}
"""One of the names is missing, or the file system (NFS, FUSE) or the kernel does not support this."""

_libc = ctypes.CDLL(None, use_errno=True)


def exchange(directory: int, one: str, other: str) -> bool:
    """Exchange two names in an open directory. Return True if that was done; a repeat undoes it.

    Returns False if one of the names is missing, or if the file system does not support this. Raises OSError
    in the cases in which rename(2) fails too.

    A program that watches the directory (inotify) gets two moves, one after the other: `one` becomes `other`,
    then `other` becomes `one`. So for `one`, which is the name that programs watch, the last event is an
    arrival.
    """
    names = os.fsencode(one), os.fsencode(other)
    try:
        failed = _libc.renameat2(directory, names[0], directory, names[1], _RENAME_EXCHANGE)
    except AttributeError:  # a C library older than glibc 2.28
        return False
    if not failed:
        return True
    number = ctypes.get_errno()
    if number in _NOT_HERE:
        return False
    raise OSError(
        number, os.strerror(number), other, None, one
    )  # in the order of rename(2), because `one` is the name that is replaced
