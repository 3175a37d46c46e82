"""Figures: measured values, their comparison, and whether the target is met. Pure functions.

Every target for time is a ratio to something measured in the same run, so that a slow machine is slow on both
sides. `Figure` refuses any other. Bytes and rows are counted, and need no comparison.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import nan
from statistics import median, quantiles
from typing import TYPE_CHECKING, Literal, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

T = TypeVar("T")

COUNTED = ("bytes", "MB", "rows")
"""Units that are the same on every machine."""

Statistic = Literal["p50", "p99", "highest", "lowest"]


@dataclass(frozen=True, slots=True)
class Series:
    """The repeated measurements of one thing."""

    values: tuple[float, ...]
    unit: str

    def __post_init__(self) -> None:
        """Refuse an empty series. So the part that measured nothing fails, and not the report."""
        if not self.values:
            raise ValueError("nothing was measured")

    @property
    def p50(self) -> float:
        """The median."""
        return median(self.values)

    @property
    def p99(self) -> float:
        """The 99th percentile; for fewer than a hundred values, the highest."""
        return quantiles(self.values, n=100)[98] if len(self.values) >= 100 else self.highest

    @property
    def highest(self) -> float:
        """The highest value: the worst for times, the best for rates."""
        return max(self.values)

    @property
    def lowest(self) -> float:
        """The lowest value: the best for times, the worst for rates."""
        return min(self.values)


@dataclass(frozen=True, slots=True)
class Figure:
    """One target: a statistic of the measured values, or its ratio to `against`, and a limit."""

    claim: str
    ours: Series
    limit: float
    against: Series | None = None
    against_name: str = ""
    statistic: Statistic = "p50"
    """The statistic of `ours`. Of `against`, the median is used always."""
    at_least: bool = False
    """Whether the limit is a minimum."""

    def __post_init__(self) -> None:
        """Refuse a target that depends only on the speed of the machine."""
        if self.against is None and self.ours.unit not in COUNTED:
            raise ValueError(f"{self.claim}: {self.ours.unit} of this machine are compared with nothing")

    @property
    def value(self) -> float:
        """The value to compare with the limit."""
        own = float(getattr(self.ours, self.statistic))
        if self.against is None:
            return own
        return own / self.against.p50 if self.against.p50 else nan

    @property
    def met(self) -> bool:
        """Whether the target is met."""
        return self.value >= self.limit if self.at_least else self.value <= self.limit


@dataclass(frozen=True, slots=True)
class Curve:
    """The growth of something: a series for each of a few sizes."""

    topic: str
    """Curves of one topic are drawn and listed together."""
    name: str
    x_name: str
    points: Mapping[int, Series]


@dataclass(frozen=True, slots=True)
class Contender:
    """A program to compare: its latency from commit to consumer, and the throughput of its writers."""

    name: str
    latency: Series
    tps: Series
    remark: str = ""


@dataclass(slots=True)
class Results:
    """All results of a run."""

    figures: list[Figure] = field(default_factory=list)
    contenders: list[Contender] = field(default_factory=list)
    curves: list[Curve] = field(default_factory=list)
    stages: dict[int, dict[str, Series]] = field(default_factory=dict)
    """The milliseconds of each stage of one upsert, by number of projects and by stage."""
    remarks: list[str] = field(default_factory=list)
    """What could not be measured, and why."""


def alternated(rounds: int, contenders: Mapping[str, Callable[[], Iterable[T]]]) -> dict[str, list[T]]:
    """Run every contender once in each round. Each round has the opposite order of the one before."""
    found: dict[str, list[T]] = {name: [] for name in contenders}
    order: Sequence[str] = list(contenders)
    for _ in range(rounds):
        for name in order:
            found[name].extend(contenders[name]())
        order = order[::-1]
    return found
