"""Python's garbage collector, kept away from what it has no business with: a hundred thousand entries, no cycles."""

from __future__ import annotations

import gc
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def uncollected(*, freeze: bool = False) -> Iterator[None]:
    """Spare it all that is made inside: it would look at every row again and again, a third of the time.

    With `freeze`, what is there at the end is never looked at again: a later collection would stand
    still for it. It is freed all the same when nothing refers to it any more.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if freeze:
            gc.freeze()
        if enabled:
            gc.enable()
