"""What the metrics show, at one moment: immutable facts. No I/O, and nothing of Prometheus.

`meter` collects the facts, `samples` gives them their names, `health` judges them.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

BOUNDS_S = (
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05,
    0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0,
)  # fmt: skip
"""Upper bounds of the buckets of all histograms, in seconds."""


@dataclass(frozen=True, slots=True)
class Histogram:
    """How often a duration was in which bucket. The last bucket has no upper bound."""

    counts: tuple[int, ...] = (0,) * (len(BOUNDS_S) + 1)
    sum_s: float = 0.0

    def with_value(self, seconds: float) -> Histogram:
        """Return this histogram with one more duration."""
        place = bisect_left(BOUNDS_S, seconds)
        counts = (*self.counts[:place], self.counts[place] + 1, *self.counts[place + 1 :])
        return Histogram(counts, self.sum_s + seconds)


@dataclass(frozen=True, slots=True)
class Done:
    """What the cycles of this process have done so far. It grows and is never reset."""

    generations: int = 0
    """Cycles that rewrote at least one file."""
    changes: int = 0
    """Rows of the log that were read and acknowledged."""
    stages: Mapping[str, Histogram] = field(default_factory=dict)
    cycles: Histogram = Histogram()
    """All stages of a cycle together."""
    writes: Mapping[str, int] = field(default_factory=dict)
    """Registry to how often its file was rewritten."""
    written_bytes: Mapping[str, int] = field(default_factory=dict)

    def with_cycle(self, changes: int, ms: Mapping[str, float], written: Mapping[str, int]) -> Done:
        """Return this with one more cycle: its stages, and the size of each file that it rewrote."""
        seconds = {stage: value / 1000 for stage, value in ms.items()}
        stages = {it: self.stages.get(it, Histogram()).with_value(value) for it, value in seconds.items()}
        return Done(
            self.generations + bool(written),
            self.changes + changes,
            {**self.stages, **stages},
            self.cycles.with_value(sum(seconds.values())),
            {**self.writes, **{name: self.writes.get(name, 0) + 1 for name in written}},
            {**self.written_bytes, **{it: self.written_bytes.get(it, 0) + n for it, n in written.items()}},
        )


@dataclass(frozen=True, slots=True)
class RegistryFacts:
    """One registry, as it was after the last cycle."""

    entries: int | None
    """None if it was never published."""
    size: int | None
    """Bytes."""
    published_at: float | None
    """Unix time of the last rewrite of its file."""
    held: bool
    quarantined: int
    drifts: int
    """External changes since the process started."""


@dataclass(frozen=True, slots=True)
class HookFacts:
    """The runs of one command after publications, since the process started."""

    succeeded: int
    failed: int
    failing: bool
    """Whether its last run failed."""


@dataclass(frozen=True, slots=True)
class CanaryFacts:
    """The last self-test."""

    passed: bool | None = None
    """None before the first result."""
    took_s: float | None = None
    """How long the last one that passed took, from its sending to the check of its acknowledgement."""
    passed_at: float | None = None
    """Unix time of the last one that passed."""


@dataclass(frozen=True, slots=True)
class Facts:
    """Everything that the metrics and the health show."""

    consumer: str
    version: str
    started_at: float
    """Unix time of the start of the daemon's process."""
    turned_s: float
    """Seconds since the loop last made progress."""
    connected: bool
    """Whether a session with CMP is open."""
    published: bool
    """Whether this process has published everything once."""
    lag_s: float
    """For how long a committed change may be missing in the files; 0 while nothing waits."""
    backlog: int
    """Changes that are known and not acknowledged yet."""
    capture_fault: str
    """Empty if the capture works."""
    held: Mapping[str, str]
    """Registry to the reason why it is held."""
    done: Done
    registries: Mapping[str, RegistryFacts]
    hooks: Mapping[str, HookFacts]
    canary: CanaryFacts
    reconnects: int
    notifications: int
    transactions: int
    log_rows: int | None
    """None before the first count."""
    last_published_at: float | None
    """Unix time of the last generation; None if this process has rewritten nothing yet."""
