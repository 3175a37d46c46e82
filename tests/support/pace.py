"""Measures how fast this machine is while a test runs, and adapts limits in seconds to it.

A limit such as "within a second" is chosen on one machine without other work. On another machine, or beside
other work, the same steps take longer. So a thread repeats one small piece of work during the test, and the
limit grows with the time of that work.
"""

from __future__ import annotations

import statistics
import threading
import time
from typing import Self

UNIT_S = 0.0025
"""The time of the piece of work on the machine where the limits were chosen: 2 cores without other work."""

REST_S = 0.03
LOOPS = 20_000
STALLS = 10
"""How many of the longest measured stalls a limit allows for."""


class Pace:
    """Measures in the background during a `with` block. It takes 5 % of a processor."""

    def __init__(self) -> None:
        self._took = [_unit()]
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._measure, daemon=True)

    def allows(self, seconds: float) -> float:
        """Return the limit, on this machine now, for work that takes at most `seconds` without other work.

        The limit is never less than `seconds`.
        """
        took = [*self._took, _unit()]
        slowness = max(1.0, statistics.median(took) / UNIT_S)
        return seconds * slowness + STALLS * max(took)

    def _measure(self) -> None:
        while not self._ended.wait(REST_S):
            self._took.append(_unit())

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_exc: object) -> None:
        self._ended.set()
        self._thread.join()


def _unit() -> float:
    """Sleep shortly, then compute; return the seconds that both took."""
    started = time.perf_counter()
    time.sleep(0.001)  # until it is our turn again
    for _ in range(LOOPS):
        pass
    return time.perf_counter() - started
