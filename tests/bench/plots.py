"""Two plots, as SVG: latency against the number of projects, and throughput against the number of writers."""

from __future__ import annotations

from math import floor, isfinite, log10
from typing import TYPE_CHECKING, TypeAlias, TypedDict

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from bench import wording
from bench.measure import Series

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from matplotlib.axes import Axes

    from bench.measure import Curve, Results

    Points: TypeAlias = Mapping[str, Mapping[int, Series]]
    """The series of each curve, by name, then by size."""

OURS = "omnicdc"


class Look(TypedDict):
    """The style of one curve. Curves in a plot never differ by colour alone."""

    color: str
    marker: str
    linestyle: str
    linewidth: float


# The colours are those of Okabe and Ito, for all kinds of colour vision. The green is darker.
LOOKS = {
    OURS: Look(color="#0072B2", marker="o", linestyle="-", linewidth=2.2),
    "floor": Look(color="#555555", marker="s", linestyle="--", linewidth=1.4),
    "full rebuild": Look(color="#D55E00", marker="^", linestyle="-.", linewidth=1.4),
    "no capture": Look(color="#555555", marker="s", linestyle="--", linewidth=1.4),
    "empty trigger": Look(color="#007A5A", marker="D", linestyle=":", linewidth=1.4),
    "pg_notify row trigger": Look(color="#D55E00", marker="^", linestyle="-.", linewidth=1.4),
}

SETTINGS = {
    "svg.hashsalt": "omnicdc",  # the same figures give the same file
    "svg.fonttype": "none",  # text stays text, which is small and can be searched
    "font.size": 10,
    "lines.markersize": 5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#555555",
    "axes.titlelocation": "left",
    "axes.titlesize": 11,
    "grid.color": "#e0e0e0",
    "axes.axisbelow": True,
}

LABEL_PT = 12.0
"""The distance from one label to the next."""


def latency(results: Results, path: Path) -> bool:
    """Draw the curves of the topic "latency"; see `_plot`."""
    return _plot(results, path, "latency", ("full rebuild", OURS, "floor"), _latency)


def writers(results: Results, path: Path) -> bool:
    """Draw the curves of the topic "writers"; see `_plot`."""
    names = ("no capture", "empty trigger", OURS, "pg_notify row trigger")
    return _plot(results, path, "writers", names, _writers)


def _plot(
    results: Results, path: Path, topic: str, names: Sequence[str], draw: Callable[[Axes, Points], None]
) -> bool:
    """Write an SVG of the measured curves, and return whether it was written.

    A missing curve becomes a remark in the results. Without the curve of omnicdc, or with no other curve,
    there is no plot.
    """
    points = {
        curve.name: found for curve in results.curves if curve.topic == topic and (found := _measured(curve))
    }
    wanted = {name: points[name] for name in names if name in points}
    if missing := ", ".join(name for name in names if name not in points):
        results.remarks.append(f"the plot of {topic} lacks what was not measured: {missing}")
    if OURS not in wanted or len(wanted) == 1:
        return False
    with mpl.rc_context(SETTINGS):
        figure = Figure(figsize=(7.2, 4.2), facecolor="white")
        figure.subplots_adjust(left=0.1, right=0.8, top=0.9, bottom=0.13)
        draw(figure.add_subplot(), wanted)
        figure.savefig(path, format="svg", metadata={"Date": None, "Creator": None})
    return True


def _measured(curve: Curve) -> dict[int, Series]:
    return {x: series for x, series in sorted(curve.points.items()) if isfinite(series.p50)}


def _latency(axes: Axes, points: Points) -> None:
    points = {
        name: {x: wording.converted(series, "s") for x, series in them.items()}
        for name, them in points.items()
    }
    for name, them in points.items():
        axes.plot(list(them), [series.p50 for series in them.values()], **LOOKS[name])
    ours = points[OURS].values()
    axes.fill_between(
        list(points[OURS]), [series.p50 for series in ours], [series.p99 for series in ours],
        color=LOOKS[OURS]["color"], alpha=0.2, linewidth=0,
    )  # fmt: skip
    axes.set_title("Commit → all files durable (median; shaded: up to p99)")
    axes.set_yscale("log")
    axes.set_ylim(bottom=10 ** floor(log10(min(s.p50 for them in points.values() for s in them.values()))))
    axes.yaxis.set_major_locator(LogLocator(10))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(_time))
    _finish(axes, points, "projects", 10)


def _writers(axes: Axes, points: Points) -> None:
    for name, them in points.items():
        middle = [series.p50 for series in them.values()]
        below = [series.p50 - series.lowest for series in them.values()]
        above = [series.highest - series.p50 for series in them.values()]
        axes.errorbar(list(them), middle, (below, above), capsize=3, elinewidth=1, **LOOKS[name])
    unit = next(iter(points[OURS].values())).unit
    axes.set_title(f"Writers' throughput, {unit} (median; bars: lowest to highest)")
    axes.set_ylim(bottom=0)
    axes.yaxis.set_major_formatter(FuncFormatter(_count))
    _finish(axes, points, "clients", 2)


def _finish(axes: Axes, points: Points, x_name: str, base: int) -> None:
    """Put a tick at each measured size, and the name at the end of each curve."""
    axes.set_xscale("log", base=base)
    axes.set_xticks(sorted({x for them in points.values() for x in them}))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(_count))
    axes.set_xlabel(x_name)
    axes.grid(axis="y")
    ends = {name: (x := max(them), them[x].p50) for name, them in points.items()}
    heights = {name: axes.transData.transform(end)[1] * 72 / axes.figure.dpi for name, end in ends.items()}
    for name, height in apart(heights).items():
        axes.annotate(
            name, ends[name], (9, height - heights[name]), textcoords="offset points", va="center",
            color=LOOKS[name]["color"], weight="bold" if name == OURS else "normal", annotation_clip=False,
        )  # fmt: skip


def apart(heights: Mapping[str, float]) -> dict[str, float]:
    """Return the heights of labels, moved up so that they do not overlap."""
    free = float("-inf")
    found = {}
    for name, height in sorted(heights.items(), key=lambda item: item[1]):
        found[name] = max(height, free)
        free = found[name] + LABEL_PT
    return found


def _time(seconds: float, _position: object) -> str:
    series = wording.readable(Series((seconds,), "s"))
    return f"{wording.trimmed(series.p50)} {series.unit}"


def _count(value: float, _position: object) -> str:
    return f"{value:,.0f}"
