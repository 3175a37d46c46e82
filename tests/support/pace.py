"""How fast this machine is while a test runs: the yardstick of every claim about seconds.

A claim such as "within a second" holds on the machine where the limit was chosen, with nothing else to do. On
another machine, or beside other work, the same steps take longer. So a thread repeats one small piece of work
throughout the test, and the limit grows with what that takes.
"""

from __future__ import annotations

import statistics
import threading
import time
from typing import Self

UNIT_S = 0.0025
"""What the piece of work takes on the machine where the limits were chosen: 2 quiet cores."""

REST_S = 0.03
LOOPS = 20_000
STALLS = 10
"""How many of the longest stalls that were seen may fall into what is claimed."""


class Pace:
    """Measures from `with` on, in the background, for 5 % of a processor."""

    def __init__(self) -> None:
        self._took = [_unit()]
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._measure, daemon=True)

    def allows(self, seconds: float) -> float:
        """Return the limit here and now of what takes at most `seconds` on a quiet machine.

        Never less than that.
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
    """Wait for a turn, then compute; returns the seconds that both took."""
    started = time.perf_counter()
    time.sleep(0.001)  # until it is our turn again
    for _ in range(LOOPS):
        pass
    return time.perf_counter() - started
