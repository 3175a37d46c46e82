"""The flag that a signal handler sets to stop the process. Every wait checks it."""

from __future__ import annotations

import time

SLICE_S = 0.2
"""Longest slice of a wait, because a signal handler ends neither psycopg's `notifies` nor a sleep early."""


class Stop:
    """A flag that is a signal handler: a call sets it.

    It is a plain attribute and not a `threading.Event`, because setting an event inside a handler can hang
    while the main thread waits for it.
    """

    def __init__(self) -> None:
        self.requested = False

    def __call__(self, *_signal: object) -> None:
        """Request a stop. A second request changes nothing."""
        self.requested = True

    def wait(self, seconds: float) -> None:
        """Sleep; after a stop is requested, end within one slice."""
        end = time.monotonic() + seconds
        while not self.requested and (left := end - time.monotonic()) > 0:
            time.sleep(min(left, SLICE_S))
