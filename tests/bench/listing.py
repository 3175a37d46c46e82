"""The results as tables of text, for the terminal (`table`) and for Markdown (`document`). Pure functions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench import wording

if TYPE_CHECKING:
    from collections.abc import Iterable

    from bench.measure import Contender, Curve, Figure, Results, Series

STARTS = f"0123456789-{wording.UNKNOWN}"
"""The characters with which a numeric cell begins. An empty cell counts as numeric."""


@dataclass(frozen=True, slots=True)
class Table:
    """A table. No cell contains a line break or a tab."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    @property
    def numeric(self) -> tuple[bool, ...]:
        """For each column: whether all of its cells begin like a number."""
        return tuple(all(cell[:1] in STARTS for cell in column) for column in zip(*self.rows, strict=True))

    @property
    def widths(self) -> tuple[int, ...]:
        """For each column: the length of its longest cell."""
        return tuple(max(map(len, column)) for column in zip(self.columns, *self.rows, strict=True))


def tables(results: Results) -> list[Table]:
    """Return all tables in their order. A table without rows is left out."""
    found = [
        _table(
            "Targets",
            ("claim", "target", "figure", "against", "ratio", "verdict"),
            map(_figure, results.figures),
        ),
        _table(
            "Contenders",
            ("contender", "latency p50", "p99", "throughput", "remark"),
            map(_contender, results.contenders),
        ),
        _stages(results.stages),
        *_curves(results.curves),
    ]
    return [table for table in found if table.rows]


def summary(results: Results) -> str:
    """Return a text: how many targets are met."""
    return f"{sum(figure.met for figure in results.figures)} of {len(results.figures)} targets met"


def line(text: str) -> str:
    """Return a text as one line."""
    return " ".join(text.split())


def _table(title: str, columns: Iterable[str], rows: Iterable[Iterable[str]]) -> Table:
    return Table(title, tuple(map(line, columns)), tuple(tuple(map(line, row)) for row in rows))


def _figure(figure: Figure) -> tuple[str, ...]:
    texts = (wording.target, wording.found, wording.against, wording.ratio, wording.verdict)
    return (figure.claim, *(to_text(figure) for to_text in texts))


def _contender(contender: Contender) -> tuple[str, ...]:
    latency = wording.readable(contender.latency)
    p50, p99 = (wording.quantity(value, latency.unit) for value in (latency.p50, latency.p99))
    return (contender.name, p50, p99, wording.spread(contender.tps), contender.remark)


def _stages(stages: dict[int, dict[str, Series]]) -> Table:
    """Return a table with one column of medians for each number of projects.

    The medians of a column need not add up to the latency.
    """
    sizes = sorted(stages)
    names = dict.fromkeys(name for size in sizes for name in stages[size])
    rows = [(name, *(_median(stages[size].get(name)) for size in sizes)) for name in names]
    return _table(
        "Stages of one upsert: milliseconds, p50", ("stage", *(f"N = {size:,}" for size in sizes)), rows
    )


def _median(series: Series | None) -> str:
    return wording.number(series.p50) if series else wording.UNKNOWN


def _curves(curves: list[Curve]) -> list[Table]:
    """Return one table for each topic, with one column for each curve."""
    topics: dict[tuple[str, str], list[Curve]] = {}
    for curve in curves:
        topics.setdefault((curve.topic, curve.x_name), []).append(curve)
    return [_topic(topic, x_name, them) for (topic, x_name), them in topics.items()]


def _topic(topic: str, x_name: str, curves: list[Curve]) -> Table:
    title = topic if topic == x_name else f"{topic}, by {x_name}"
    sizes = sorted({x for curve in curves for x in curve.points})
    rows = [(f"{x:,}", *(_point(curve.points.get(x)) for curve in curves)) for x in sizes]
    return _table(title[:1].upper() + title[1:], (x_name, *(curve.name for curve in curves)), rows)


def _point(series: Series | None) -> str:
    return wording.spread(wording.readable(series)) if series else wording.UNKNOWN
