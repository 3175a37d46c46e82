"""Makes tests that run as root obey file permissions for a while."""

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
def without_root_override() -> Iterator[None]:
    """Obey the permissions of files during the `with` block, also as root.

    This applies to the current thread, and not to processes that it starts.
    """
    before = _capabilities()
    _set_capabilities(before[0] & ~_OVER_FILES, *before[1:])
    try:
        yield
    finally:
        _set_capabilities(*before)


@contextmanager
def another_user(user: int = 65534) -> Iterator[None]:
    """Act as a user without rights during the `with` block, if the test runs as root."""
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
    """Return the effective, permitted and inheritable sets: capabilities 0 to 31, then the others."""
    found = (ctypes.c_uint32 * 6)()
    _call(_libc.capget, found)
    return list(found)


def _set_capabilities(*capabilities: int) -> None:
    _call(_libc.capset, (ctypes.c_uint32 * 6)(*capabilities))


def _call(function: ctypes._NamedFuncPointer, sets: ctypes.Array[ctypes.c_uint32]) -> None:
    if function((ctypes.c_uint32 * 2)(_VERSION_3, 0), sets):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
