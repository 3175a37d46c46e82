"""Reads a file that anybody may have put there.

A pipe would make us wait for its writer, and a device has no end.
"""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def read(path: Path) -> bytes:
    """Return the bytes of a plain file; a symlink to one will do.

    Raises OSError: ENXIO for what is no file.
    """
    with open(path, "rb", opener=without_waiting) as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise OSError(errno.ENXIO, "it is no plain file", str(path))
        return file.read()


def alone(status: os.stat_result) -> bool:
    """Whether it is a plain file of one name.

    Only such a one may be written in place, another name may be precious.
    """
    return stat.S_ISREG(status.st_mode) and status.st_nlink == 1


def without_waiting(path: str, flags: int) -> int:
    """Open no pipe that would make us wait for its writer."""
    return os.open(path, flags | os.O_NONBLOCK)
