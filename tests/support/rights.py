"""The permissions of files, which bind everybody but root.

A test that is run by root puts that right away for a while.
"""

from __future__ import annotations

import ctypes
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_VERSION_3 = 0x20080522
_OVER_FILES = 1 << 1 | 1 << 2
"""CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH: capabilities(7)."""

_libc = ctypes.CDLL(None, use_errno=True)


@contextmanager
def bound_by_permissions() -> Iterator[None]:
    """Be refused what the permissions of a file refuse its owner.

    This is for this thread, and not for what it starts.
    """
    mine = _capabilities()
    _take(mine[0] & ~_OVER_FILES, *mine[1:])
    try:
        yield
    finally:
        _take(*mine)


@contextmanager
def another_user(user: int = 65534) -> Iterator[None]:
    """Act as a user without rights, for those who test as root."""
    if os.geteuid():
        yield
        return
    os.setegid(65534)
    os.seteuid(user)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)


def _capabilities() -> list[int]:
    """Return what is effective, permitted and inheritable, of the first 32, then of the others."""
    found = (ctypes.c_uint32 * 6)()
    _call(_libc.capget, found)
    return list(found)


def _take(*capabilities: int) -> None:
    _call(_libc.capset, (ctypes.c_uint32 * 6)(*capabilities))


def _call(function: ctypes._NamedFuncPointer, sets: ctypes.Array[ctypes.c_uint32]) -> None:
    if function((ctypes.c_uint32 * 2)(_VERSION_3, 0), sets):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
