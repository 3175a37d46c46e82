"""A directory that is missing for a while."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

from support.numbered_updates import put_back

from omnicdc.filesystem.exchange import exchange

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextmanager
def moved_away(place: Path, replacement: str = "") -> Iterator[None]:
    """Rename a directory, and rename it back later.

    Meanwhile its path is a file, a symbolic link to `replacement`, or missing.
    """
    away = place.with_name("away")
    if replacement == "file":
        away.touch()
    elif replacement:
        away.symlink_to(replacement)
    if replacement:
        # In one step, because the daemon creates a missing directory at once.
        directory = os.open(place.parent, os.O_RDONLY)
        assert exchange(directory, place.name, away.name)
        os.close(directory)
    else:
        place.rename(away)
    try:
        yield
    finally:
        put_back(away, place)
