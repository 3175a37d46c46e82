"""Where a server of the tests keeps its data.

In memory, where there is enough of it, as nothing of it has to last.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

_SHARED = Path("/dev/shm")
_ENOUGH = 4 << 30
"""Bytes; a run of all tests takes less than one of them a process."""


def in_memory() -> Path | None:
    """Return a directory in memory, or None where there is none, or little room in it."""
    if os.access(_SHARED, os.W_OK | os.X_OK) and shutil.disk_usage(_SHARED).free > _ENOUGH:
        return _SHARED
    return None
