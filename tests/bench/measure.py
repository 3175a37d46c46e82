"""Figures: what was measured, against what, and whether that is what was promised. Pure.

Every promise about time is a ratio to something measured in the same run, so that a slow machine
is slow on both sides: `Figure` refuses any other. Bytes and rows are counted, and stand for themselves.
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
    """One thing, measured again and again."""

    values: tuple[float, ...]
    unit: str

    def __post_init__(self) -> None:
        """Refuse to be empty: the part that measured nothing fails, and not the report."""
        if not self.values:
            raise ValueError("nothing was measured")

    @property
    def p50(self) -> float:
        """The median."""
        return median(self.values)

    @property
    def p99(self) -> float:
        """Of fewer than a hundred values: the highest."""
        return quantiles(self.values, n=100)[98] if len(self.values) >= 100 else self.highest

    @property
    def highest(self) -> float:
        """The worst of times, the best of rates."""
        return max(self.values)

    @property
    def lowest(self) -> float:
        """The best of times, the worst of rates."""
        return min(self.values)


@dataclass(frozen=True, slots=True)
class Figure:
    """One promise: a statistic of what was measured, or its ratio to `against`, and its limit."""

    claim: str
    ours: Series
    limit: float
    against: Series | None = None
    against_name: str = ""
    statistic: Statistic = "p50"
    """Of ours; what it is compared with always stands with its median."""
    at_least: bool = False
    """Whether the limit is from below."""

    def __post_init__(self) -> None:
        """Refuse a promise that another machine would keep or break by its speed alone."""
        if self.against is None and self.ours.unit not in COUNTED:
            raise ValueError(f"{self.claim}: {self.ours.unit} of this machine are compared with nothing")

    @property
    def value(self) -> float:
        """What is held against the limit."""
        own = float(getattr(self.ours, self.statistic))
        if self.against is None:
            return own
        return own / self.against.p50 if self.against.p50 else nan

    @property
    def met(self) -> bool:
        """Whether the promise is kept."""
        return self.value >= self.limit if self.at_least else self.value <= self.limit


@dataclass(frozen=True, slots=True)
class Curve:
    """How something grows: a series for each of a few sizes."""

    topic: str
    """What it is part of: curves of one topic are drawn and listed together."""
    name: str
    x_name: str
    points: Mapping[int, Series]


@dataclass(frozen=True, slots=True)
class Contender:
    """Another way to do the same: commit to consumer, and what its writers achieve."""

    name: str
    latency: Series
    tps: Series
    remark: str = ""


@dataclass(slots=True)
class Results:
    """All of a run."""

    figures: list[Figure] = field(default_factory=list)
    contenders: list[Contender] = field(default_factory=list)
    curves: list[Curve] = field(default_factory=list)
    stages: dict[int, dict[str, Series]] = field(default_factory=dict)
    """Projects to stage to milliseconds, of one upsert."""
    remarks: list[str] = field(default_factory=list)
    """What could not be measured here, and why."""


def alternated(rounds: int, contenders: Mapping[str, Callable[[], Iterable[T]]]) -> dict[str, list[T]]:
    """Have everybody go once a round, each round in the opposite order of the one before."""
    found: dict[str, list[T]] = {name: [] for name in contenders}
    order: Sequence[str] = list(contenders)
    for _ in range(rounds):
        for name in order:
            found[name].extend(contenders[name]())
        order = order[::-1]
    return found
