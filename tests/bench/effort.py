"""The extent of a run: everything, or a quick check of two minutes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from bench.ground import Ground
    from bench.measure import Results


@dataclass(frozen=True, slots=True)
class Effort:
    """Sizes, durations and numbers of repetitions."""

    quick: bool
    sizes: tuple[int, ...]
    """Projects in CMP, from few to many."""
    rounds: int
    """The number of rounds; in each, the contenders alternate."""
    pgbench_s: int
    """Seconds of one run of pgbench."""
    sustained_s: int
    """Seconds of steady writing."""


FULL = Effort(quick=False, sizes=(100, 10_000, 100_000), rounds=5, pgbench_s=2, sustained_s=60)
QUICK = Effort(quick=True, sizes=(100, 10_000), rounds=5, pgbench_s=1, sustained_s=5)


@dataclass(frozen=True, slots=True)
class Run:
    """One run of the benchmark. Every part gets it as its argument."""

    ground: Ground
    results: Results
    effort: Effort
    report: Callable[[str], None]
    """Shows what is being measured now."""
