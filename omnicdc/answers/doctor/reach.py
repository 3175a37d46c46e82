"""Asks whether a file system answers, without waiting for one that hangs."""

from __future__ import annotations

import os
import threading
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

PATIENCE_S = 5.0
"""A file system that does not answer for longer counts as one that hangs."""


def answers_in_time(path: Path, patience_s: float = PATIENCE_S) -> bool:
    """Whether the file system of a path answers within `patience_s` seconds, be it with an error."""
    answered = threading.Event()

    def look() -> None:
        with suppress(OSError):
            os.listdir(path)  # noqa: PTH208 - the status alone may come from the kernel's cache
        answered.set()

    threading.Thread(target=look, name="reach", daemon=True).start()
    return answered.wait(patience_s)
