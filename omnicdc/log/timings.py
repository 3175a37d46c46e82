"""Where the time of a cycle goes: milliseconds by stage, for the log and for `status`. No I/O."""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


ORDER = ("wake", "read", "scan", "render", "publish", "acknowledge")
"""From a commit on: `wake` is told by the server's clock, the others are measured here."""


class Timings:
    """Milliseconds spent in each stage, by a monotonic clock; a stage that is entered again adds up."""

    def __init__(self) -> None:
        self._ms: dict[str, float] = {}
        self._within = 0.0

    @property
    def ms(self) -> dict[str, float]:
        """What was measured, in the order of the stages."""
        return {stage: self._ms[stage] for stage in ORDER if stage in self._ms}

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        """Time what is done inside, unless it fails; a stage within it counts for itself alone."""
        before, self._within = self._within, 0.0
        started = time.perf_counter()
        yield
        took = (time.perf_counter() - started) * 1000
        self.add(stage, took - self._within)
        self._within = before + took

    def add(self, stage: str, ms: float) -> None:
        """Add what was measured elsewhere."""
        self._ms[stage] = self._ms.get(stage, 0.0) + ms
