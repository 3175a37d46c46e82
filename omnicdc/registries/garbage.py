"""Switches Python's garbage collector off while a hundred thousand entries are made, which have no cycles."""

from __future__ import annotations

import gc
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def uncollected() -> Iterator[None]:
    """Spare it all that is made inside: it would look at every row again and again, a third of the time.

    Nothing is frozen: a frozen state that is part of a cycle would never be freed, and a session that is lost
    leaves one.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
