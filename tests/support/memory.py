"""Where test servers keep their data: in memory, if there is enough, as the data is temporary."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

_SHARED = Path("/dev/shm")
_ENOUGH = 4 << 30
"""Bytes. A run of all tests takes less than 1 GiB for each process."""


def in_memory() -> Path | None:
    """Return a directory in memory; None if there is none, or too little free space."""
    if os.access(_SHARED, os.W_OK | os.X_OK) and shutil.disk_usage(_SHARED).free > _ENOUGH:
        return _SHARED
    return None
