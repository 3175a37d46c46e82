"""Reads only regular files, because any user may have created the file at a path.

Reading a pipe would wait for its writer, and a device has no end.
"""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def read(path: Path) -> bytes:
    """Return the bytes of a regular file, or of the regular file that a symlink leads to.

    Raises OSError, with ENXIO for anything else, such as a pipe.
    """
    with open(path, "rb", opener=without_waiting) as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise OSError(errno.ENXIO, "it is no plain file", str(path))
        return file.read()


def has_one_name(status: os.stat_result) -> bool:
    """Return True for a regular file with one name only.

    Only such a file may be written in place. A second name (hard link) may belong to another program.
    """
    return stat.S_ISREG(status.st_mode) and status.st_nlink == 1


def without_waiting(path: str, flags: int) -> int:
    """Open a file without waiting for the writer of a pipe. An `opener` for `open`."""
    return os.open(path, flags | os.O_NONBLOCK)
