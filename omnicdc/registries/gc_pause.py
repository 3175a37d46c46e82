"""Turns Python's garbage collector off while many entries are created. They form no reference cycles."""

from __future__ import annotations

import gc
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def without_garbage_collection() -> Iterator[None]:
    """Turn the collector off inside the block: it would visit every row repeatedly, a third of the time.

    `gc.freeze` is not used, because a frozen object that is part of a cycle is never freed. The state of a
    lost session is part of one.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
