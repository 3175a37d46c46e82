"""Figures as text: numbers with three digits, targets, spreads and verdicts. Pure functions.

`listing` puts these texts into tables.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from bench.measure import Series

if TYPE_CHECKING:
    from bench.measure import Figure

SECONDS = {"s": 1.0, "ms": 1e-3, "µs": 1e-6}
"""The units of time. A unit is chosen so that numbers are short."""

DASH = "\N{EN DASH}"
UNKNOWN = DASH


def number(value: float, digits: int = 3) -> str:
    """Return a number with `digits` significant digits and separated thousands. Small whole numbers stay."""
    if not math.isfinite(value):
        return UNKNOWN
    if value == int(value) and abs(value) < 10_000:
        return f"{value:,.0f}"
    rounded = float(f"{value:.{digits - 1}e}")
    decimals = digits - 1 - math.floor(math.log10(abs(rounded)))
    return f"{rounded:,.{max(0, decimals)}f}"


def trimmed(value: float) -> str:
    """Return a chosen number, such as a limit, without zeros at the end."""
    text = number(value)
    return text.rstrip("0").rstrip(".") if "." in text else text


def quantity(value: float, unit: str) -> str:
    """Return a measured number with its unit."""
    return UNKNOWN if not math.isfinite(value) else f"{number(value)} {unit}".rstrip()


def converted(series: Series, unit: str) -> Series:
    """Return the same times in another unit. Raise KeyError for other units than those of time."""
    factor = SECONDS[series.unit] / SECONDS[unit]
    return Series(tuple(value * factor for value in series.values), unit)


def readable(series: Series) -> Series:
    """Return times in the unit that suits their median. Other series stay unchanged."""
    if series.unit not in SECONDS:
        return series
    seconds = series.p50 * SECONDS[series.unit]
    return converted(series, "s" if seconds >= 1 else "ms" if seconds >= 1e-4 else "µs")


def spread(series: Series, *, to_highest: bool = False) -> str:
    """Return the median, and in brackets the lowest value and the 99th percentile, or the highest value."""
    low, high = number(series.lowest), number(series.highest if to_highest else series.p99)
    text = quantity(series.p50, series.unit)
    return text if low == high else f"{text} ({low}{DASH}{high})"


def target(figure: Figure) -> str:
    """Return the limit, and its statistic if that is not the median."""
    statistic = "" if figure.statistic == "p50" else f"{figure.statistic} "
    unit = f"\N{MULTIPLICATION SIGN} {figure.against_name}" if figure.against else figure.ours.unit
    return f"{statistic}{'≥' if figure.at_least else '≤'} {trimmed(figure.limit)} {unit}".rstrip()


def found(figure: Figure) -> str:
    """Return the measured values, in the unit of the limit if it has one."""
    ours = readable(figure.ours) if figure.against else figure.ours
    return spread(ours, to_highest=figure.statistic == "highest")


def against(figure: Figure) -> str:
    """Return the name and the median of the comparison; "" without one."""
    if not figure.against:
        return ""
    other = readable(figure.against)
    return f"{figure.against_name} {quantity(other.p50, other.unit)}"


def ratio(figure: Figure) -> str:
    """Return the ratio; "" without a comparison."""
    return number(figure.value) if figure.against else ""


def verdict(figure: Figure) -> str:
    """Return whether the target is met, or by how much it is missed."""
    if not math.isfinite(figure.value):
        return "not measured"
    if figure.met:
        return "met"
    if not figure.limit:
        return f"missed by {quantity(abs(figure.value), figure.ours.unit)}"
    return f"missed by {number(abs(figure.value / figure.limit - 1) * 100, digits=2)} %"
