"""Draws the small charts as inline SVG: lag over time, and the stages of a generation. Pure functions.

The browser gets no script and no style with them: positions are attributes, and colours are classes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from markupsafe import Markup

from omnicdc.log.timings import IN_HISTORY

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

WIDTH, HEIGHT = 180, 36
BAR = 3
"""Width of one bar and its gap, in pixels."""
WINDOW_S = 600.0
"""The chart shows so many seconds."""
FLOOR_MS, CEILING_MS = 1.0, 100_000.0
"""The scale is logarithmic from 1 ms to 100 s: usual lags are milliseconds, and faults are minutes."""

STAGES_WIDTH, STAGES_HEIGHT = 140, 12


@dataclass(frozen=True, slots=True)
class Point:
    """One generation in the chart: how long ago it was published, and the time from the write until then."""

    ago_s: float
    lag_ms: float


def height_of(lag_ms: float) -> float:
    """Return the height of a lag in pixels. Every lag is visible; one beyond the scale is as high as it."""
    share = math.log10(min(max(lag_ms, FLOOR_MS), CEILING_MS) / FLOOR_MS) / math.log10(CEILING_MS / FLOOR_MS)
    return round(2 + share * (HEIGHT - 3), 1)


def lag_chart(points: Iterable[Point], now_ms: float | None, *, late_ms: float) -> Markup:
    """Return the chart of one consumer. `now_ms` is the lag now; None if nothing waits.

    Each bar is the highest lag of its few seconds. A lag of more than `late_ms` is drawn in another colour.
    """
    columns: dict[int, float] = {}
    bars = WIDTH // BAR
    for point in points:
        if 0 <= point.ago_s < WINDOW_S:
            column = bars - 1 - int(point.ago_s / WINDOW_S * bars)
            columns[column] = max(columns.get(column, 0.0), point.lag_ms)
    highest = max(columns.values(), default=None)
    if now_ms is not None:
        columns[bars - 1] = max(columns.get(bars - 1, 0.0), now_ms)
    words = [
        "Lag in the last 10 minutes:",
        "nothing was published;" if highest is None else f"at most {duration(highest)};",
        "nothing waits now" if now_ms is None else f"{duration(now_ms)} now",
    ]
    shapes = [
        Markup('<line class="grid" x1="0" x2="{}" y1="{}" y2="{}"/>').format(WIDTH, y, y)
        for y in (round(HEIGHT - height_of(ms), 1) for ms in (100.0, 10_000.0))
    ]
    for column, lag_ms in sorted(columns.items()):
        tall = height_of(lag_ms)
        kind = "late" if lag_ms > late_ms else "now" if column == bars - 1 and now_ms is not None else "bar"
        shapes.append(
            Markup('<rect class="{}" x="{}" y="{}" width="{}" height="{}"/>').format(
                kind, column * BAR, round(HEIGHT - tall, 1), BAR - 1, tall
            )
        )
    return Markup(
        '<svg class="chart" width="{w}" height="{h}" viewBox="0 0 {w} {h}" role="img" aria-label="{words}">'
        '<title>{words}</title>{shapes}<line class="axis" x1="0" x2="{w}" y1="{y}" y2="{y}"/></svg>'
    ).format(w=WIDTH, h=HEIGHT, y=HEIGHT - 0.5, words=" ".join(words), shapes=Markup("").join(shapes))


def stage_bar(timings: Mapping[str, float]) -> Markup:
    """Return a bar with one part for each stage, as wide as its share of the time."""
    known = [(stage, max(0.0, float(timings[stage]))) for stage in IN_HISTORY if stage in timings]
    total = sum(ms for _, ms in known) or 1.0
    shapes, x = [], 0.0
    for stage, ms in known:
        wide = ms / total * STAGES_WIDTH
        shapes.append(
            Markup('<rect class="stage-{}" x="{}" y="0" width="{}" height="{}"/>').format(
                stage, round(x, 2), round(wide, 2), STAGES_HEIGHT
            )
        )
        x += wide
    words = ", ".join(f"{stage} {duration(ms)}" for stage, ms in known) or "no stages are known"
    return Markup(
        '<svg class="stages" width="{w}" height="{h}" viewBox="0 0 {w} {h}" role="img" aria-label="{words}">'
        "<title>{words}</title>{shapes}</svg>"
    ).format(w=STAGES_WIDTH, h=STAGES_HEIGHT, words=words, shapes=Markup("").join(shapes))


def total_ms(timings: Mapping[str, float]) -> float:
    """Return the time from the write until the files are published, in milliseconds."""
    return sum(max(0.0, float(timings[stage])) for stage in IN_HISTORY if stage in timings)


def duration(ms: float) -> str:
    """Return a duration for people, with three digits at most: `0.4 ms`, `12 ms`, `1.5 s`, `4 min`, `3 h`."""
    if ms < 10:  # noqa: PLR2004 - two digits from here on
        return f"{ms:.1f} ms"
    if ms < 1000:  # noqa: PLR2004 - milliseconds in a second
        return f"{ms:.0f} ms"
    seconds = ms / 1000
    for unit, limit, size in (("s", 10, 1), ("s", 120, 1), ("min", 7200, 60), ("h", 172_800, 3600)):
        if seconds < limit:
            return f"{seconds / size:.{1 if limit == 10 else 0}f} {unit}"  # noqa: PLR2004 - as above
    return f"{seconds / 86_400:.0f} d"
