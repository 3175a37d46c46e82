"""How much is measured: everything, or what shows in two minutes that nothing went wrong."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from bench.ground import Ground
    from bench.measure import Results


@dataclass(frozen=True, slots=True)
class Effort:
    """Sizes, and how often."""

    quick: bool
    sizes: tuple[int, ...]
    """Projects in CMP, from few to many."""
    rounds: int
    """In which the contenders take turns."""
    pgbench_s: int
    """Seconds of one run of pgbench."""
    sustained_s: int
    """Seconds of steady writing."""


FULL = Effort(quick=False, sizes=(100, 10_000, 100_000), rounds=5, pgbench_s=2, sustained_s=60)
QUICK = Effort(quick=True, sizes=(100, 10_000), rounds=5, pgbench_s=1, sustained_s=5)


@dataclass(frozen=True, slots=True)
class Run:
    """One run of the benchmark: what every part of it is given."""

    ground: Ground
    results: Results
    effort: Effort
    tell: Callable[[str], None]
    """Says what is being measured now."""
