"""How a figure is said: numbers with three digits, targets, spreads and verdicts. Pure.

`listing` puts these words into tables.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from bench.measure import Series

if TYPE_CHECKING:
    from bench.measure import Figure

SECONDS = {"s": 1.0, "ms": 1e-3, "µs": 1e-6}
"""The units of time that are exchanged for one another, to keep numbers short."""

DASH = "\N{EN DASH}"
UNKNOWN = DASH


def number(value: float, digits: int = 3) -> str:
    """Return so many significant digits, thousands separated; small whole numbers as they are."""
    if not math.isfinite(value):
        return UNKNOWN
    if value == int(value) and abs(value) < 10_000:
        return f"{value:,.0f}"
    rounded = float(f"{value:.{digits - 1}e}")
    decimals = digits - 1 - math.floor(math.log10(abs(rounded)))
    return f"{rounded:,.{max(0, decimals)}f}"


def trimmed(value: float) -> str:
    """Return a number that somebody chose: without the zeros that only say how exactly it was measured."""
    said = number(value)
    return said.rstrip("0").rstrip(".") if "." in said else said


def quantity(value: float, unit: str) -> str:
    """Return a measured number with its unit."""
    return UNKNOWN if not math.isfinite(value) else f"{number(value)} {unit}".rstrip()


def converted(series: Series, unit: str) -> Series:
    """Return the same times in another unit; raises KeyError if they are no times."""
    factor = SECONDS[series.unit] / SECONDS[unit]
    return Series(tuple(value * factor for value in series.values), unit)


def readable(series: Series) -> Series:
    """Return times in the unit that suits their median, anything else as it is."""
    if series.unit not in SECONDS:
        return series
    seconds = series.p50 * SECONDS[series.unit]
    return converted(series, "s" if seconds >= 1 else "ms" if seconds >= 1e-4 else "µs")


def spread(series: Series, *, to_highest: bool = False) -> str:
    """Return the median, and in brackets the lowest value and the 99th percentile, or the highest value."""
    low, high = number(series.lowest), number(series.highest if to_highest else series.p99)
    said = quantity(series.p50, series.unit)
    return said if low == high else f"{said} ({low}{DASH}{high})"


def target(figure: Figure) -> str:
    """Return the limit, and which statistic it holds for if that is not the median."""
    statistic = "" if figure.statistic == "p50" else f"{figure.statistic} "
    unit = f"\N{MULTIPLICATION SIGN} {figure.against_name}" if figure.against else figure.ours.unit
    return f"{statistic}{'≥' if figure.at_least else '≤'} {trimmed(figure.limit)} {unit}".rstrip()


def found(figure: Figure) -> str:
    """Return what was measured: in the unit of the limit, if the limit has one."""
    ours = readable(figure.ours) if figure.against else figure.ours
    return spread(ours, to_highest=figure.statistic == "highest")


def against(figure: Figure) -> str:
    """Return the name and the median of what it is compared with, if it is."""
    if not figure.against:
        return ""
    other = readable(figure.against)
    return f"{figure.against_name} {quantity(other.p50, other.unit)}"


def ratio(figure: Figure) -> str:
    """Return the ratio, if there is something to compare with."""
    return number(figure.value) if figure.against else ""


def verdict(figure: Figure) -> str:
    """Return whether the promise is kept, and if not, how far off it is."""
    if not math.isfinite(figure.value):
        return "not measured"
    if figure.met:
        return "met"
    if not figure.limit:
        return f"missed by {quantity(abs(figure.value), figure.ours.unit)}"
    return f"missed by {number(abs(figure.value / figure.limit - 1) * 100, digits=2)} %"
