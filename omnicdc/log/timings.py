"""Measures the stages of a cycle in milliseconds, for the log and for `status`. This module does no I/O."""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


ORDER = ("wake", "read", "scan", "render", "publish", "acknowledge")
"""The stages in order, from the commit on. The server's clock gives `wake`; this process measures the
others."""


IN_HISTORY = ORDER[:-1]
"""The stages in the history. A generation's row is written by its acknowledgement, so it cannot have its
duration."""


def stages(timings: Mapping[str, float] | None) -> dict[str, float]:
    """Return the milliseconds of a generation in the history, in the order of the stages.

    Daemons of 0.1.0 stored the duration of the previous acknowledgement with them: it is left out.
    """
    return {stage: timings[stage] for stage in IN_HISTORY if stage in timings} if timings else {}


class Timings:
    """The milliseconds spent in each stage, by a monotonic clock. The times of a repeated stage are added."""

    def __init__(self) -> None:
        self._ms: dict[str, float] = {}
        self._inner_ms = 0.0

    @property
    def ms(self) -> dict[str, float]:
        """The measured times, in the order of the stages."""
        return {stage: self._ms[stage] for stage in ORDER if stage in self._ms}

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        """Add the time of the `with` block to a stage, unless the block fails.

        The time of a stage inside the block counts only for the inner stage.
        """
        before, self._inner_ms = self._inner_ms, 0.0
        started = time.perf_counter()
        yield
        took = (time.perf_counter() - started) * 1000
        self.add(stage, took - self._inner_ms)
        self._inner_ms = before + took

    def add(self, stage: str, ms: float) -> None:
        """Add a time that was measured elsewhere."""
        self._ms[stage] = self._ms.get(stage, 0.0) + ms
