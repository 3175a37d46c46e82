"""Watches the registries for writes by other processes than the daemon."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from omnicdc.answers.cutover.writers import looking_like, writing
from omnicdc.files.drift import signature
from omnicdc.files.lock import holder_of
from omnicdc.files.manifest import is_published

if TYPE_CHECKING:
    import re
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from omnicdc.answers.cutover.writers import Writer

LOOK_S = 0.02
"""Seconds between two looks. A scanner that writes 30 MB in place has the file open for longer."""


def foreign_writes(
    root: Path, paths: Sequence[str], wanted: re.Pattern[str]
) -> Iterator[tuple[str, list[Writer]]]:
    """Yield each path that another process than the daemon has written, and the processes. It never ends.

    The processes are those that have the file open for writing; else those that look like a scanner. There
    are none if the process ended before it was seen.
    """
    before = {path: signature(root / path) for path in paths}
    while True:
        time.sleep(LOOK_S)
        for path in paths:
            now = signature(root / path)
            if now == before[path]:
                continue
            before[path] = now
            if now and not is_published(root, path, now):
                daemon = holder_of(root)
                yield path, writing([root / path], but=daemon) or looking_like(wanted)
