"""The flag that a signal handler sets to stop the process; every wait looks at it."""

from __future__ import annotations

import time

SLICE_S = 0.2
"""Waits are cut into slices: neither psycopg's `notifies` nor a sleep ends early for a signal handler."""


class Stop:
    """A flag, callable as a signal handler.

    A plain attribute and not a `threading.Event`: setting an event inside a handler can hang
    when the main thread is waiting on it.
    """

    def __init__(self) -> None:
        self.requested = False

    def __call__(self, *_signal: object) -> None:
        """Ask to stop; asking twice changes nothing."""
        self.requested = True

    def wait(self, seconds: float) -> None:
        """Sleep, but no longer than one slice after a stop was asked for."""
        end = time.monotonic() + seconds
        while not self.requested and (left := end - time.monotonic()) > 0:
            time.sleep(min(left, SLICE_S))
