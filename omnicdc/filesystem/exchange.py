"""Swaps two names at once.

What another process put in a file's place at the last moment is so found, and is not lost. rename(2) destroys
what it replaces. renameat2(2) with RENAME_EXCHANGE does not; Python has no name for it.
"""

from __future__ import annotations

import ctypes
import errno
import os

_RENAME_EXCHANGE = 2
"""Of linux/fs.h."""

_NOT_HERE = {errno.ENOENT, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP}
"""One of the two is missing, or the file system (NFS, FUSE) or the kernel cannot."""

_libc = ctypes.CDLL(None, use_errno=True)


def exchange(directory: int, one: str, other: str) -> bool:
    """Swap two names in an open directory, whatever they are.

    Returns whether that was done, which a repeat undoes.

    A program that watches the directory (inotify) is told of two moves, one after the other: `one` becomes
    `other`, then `other` becomes `one`. So `one`, which is the name that others watch, ends with an arrival.

    Not done where one of them is missing, or the file system cannot. Raises OSError for what rename would be
    refused for, too.
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
    )  # as rename(2) would be told: `one` is to be replaced
