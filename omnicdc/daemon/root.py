"""Holds the lock on the infrastructure root, and waits for it if that makes sense."""

from __future__ import annotations

import time
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from omnicdc.errors import LockBusy, TransientError
from omnicdc.files.lock import RootLock
from omnicdc.log.events import Repeating

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from omnicdc.config.settings import Config
    from omnicdc.stop import Stop

PAUSE_S = 0.2
"""Seconds between two attempts to get the lock."""


@contextmanager
def hold_root(
    config: Config, stop: Stop, waiting: Callable[[str], None], *, standby: bool
) -> Iterator[RootLock]:
    """Hold the lock on the root during the `with` block.

    With `standby`, this waits while another daemon holds the lock; otherwise it raises LockBusy. Every daemon
    waits while the disk is full. `waiting` is called with the root's name during the wait. If a stop is
    requested during the wait, the block runs without the lock.
    """
    busy = Repeating("standing_by", time.monotonic)
    lock = RootLock(config.require_output_root())
    with ExitStack() as held:
        while not stop.requested:
            try:
                held.enter_context(lock)
                break
            except TransientError as exc:
                if isinstance(exc, LockBusy) and not standby:
                    raise
                busy.failed(exc.message, error=exc.message, hint=exc.advice(retrying=True))
                waiting(f"the root {config.require_output_root()}")
                stop.wait(PAUSE_S)
        busy.recovered()
        yield lock
