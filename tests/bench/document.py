"""What is kept of a run: everything as JSON, and the tables as Markdown for docs/performance.md."""

from __future__ import annotations

import dataclasses
import re
from typing import TYPE_CHECKING, TypeAlias

import orjson

from bench import listing
from omnicdc.errors import OmnicdcError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime
    from pathlib import Path

    from bench.effort import Effort
    from bench.listing import Table
    from bench.machine import Machine
    from bench.measure import Contender, Curve, Figure, Results, Series

VERSION = 1
"""Of the JSON's layout: a key that disappears or means something else counts it up, a new one does not."""

BEGIN, END = "<!-- measured -->", "<!-- /measured -->"

Told: TypeAlias = dict[str, object]


def as_json(results: Results, machine: Machine, effort: Effort, at: datetime) -> bytes:
    """Return everything, every single value included; what is no number is null."""
    told = {
        "version": VERSION,
        "date": at,
        "effort": dataclasses.asdict(effort),
        "machine": dataclasses.asdict(machine) | {"fsync": _series(machine.fsync)},
        "figures": [_figure(figure) for figure in results.figures],
        "contenders": [_contender(contender) for contender in results.contenders],
        "curves": [_curve(curve) for curve in results.curves],
        "stages": [
            {"projects": projects, "stages": {name: _series(series) for name, series in stages.items()}}
            for projects, stages in results.stages.items()
        ],
        "remarks": results.remarks,
    }
    return orjson.dumps(told, option=orjson.OPT_APPEND_NEWLINE)


def _series(series: Series) -> Told:
    return {
        "unit": series.unit,
        "p50": series.p50,
        "p99": series.p99,
        "lowest": series.lowest,
        "highest": series.highest,
        "values": series.values,
    }


def _figure(figure: Figure) -> Told:
    return {
        "claim": figure.claim,
        "statistic": figure.statistic,
        "limit": figure.limit,
        "at_least": figure.at_least,
        "ours": _series(figure.ours),
        "against": {"name": figure.against_name} | _series(figure.against) if figure.against else None,
        "value": figure.value,
        "met": figure.met,
    }


def _contender(contender: Contender) -> Told:
    return {
        "name": contender.name,
        "latency": _series(contender.latency),
        "tps": _series(contender.tps),
        "remark": contender.remark,
    }


def _curve(curve: Curve) -> Told:
    return {
        "topic": curve.topic,
        "name": curve.name,
        "x_name": curve.x_name,
        "points": [{"x": x} | _series(series) for x, series in sorted(curve.points.items())],
    }


def markdown(results: Results, machine: Machine) -> str:
    """Return the machine, the tables, and what could not be measured."""
    blocks = [f"Measured on {_escaped(str(machine))}: {listing.summary(results)}."]
    blocks += ["\n".join(_markdown(table)) for table in listing.tables(results)]
    if results.remarks:
        blocks.append("### Remarks")
        blocks.append("\n".join(f"- {_escaped(listing.line(remark))}" for remark in results.remarks))
    return "\n\n".join(blocks) + "\n"


def _markdown(table: Table) -> Iterator[str]:
    yield f"### {table.title}"
    yield ""
    yield _row(table.columns)
    yield "|" + "|".join("--:" if numeric else "---" for numeric in table.numeric) + "|"
    for row in table.rows:
        yield _row(row)


def _row(cells: tuple[str, ...]) -> str:
    return f"| {' | '.join(map(_escaped, cells))} |"


def _escaped(text: str) -> str:
    """Disarm what would end a cell, open a tag or begin emphasis; backquotes are meant."""
    return re.sub(r"([|<*\\])", r"\\\1", text)


def update(path: Path, text: str) -> None:
    """Put `text` between the two markers of a page, in place of what is there.

    The same text leaves it as it is.

    Raises OmnicdcError, and writes nothing, unless there is exactly one place for it.
    """
    page = path.read_text(encoding="utf-8")
    before, begin, rest = page.partition(BEGIN)
    measured, end, after = rest.partition(END)
    if not (begin and end) or BEGIN in measured + after or END in before + after:
        raise OmnicdcError(
            f"{path} has no one place for the figures", hint=f"put {BEGIN} and {END} around it, each once"
        )
    renewed = f"{before}{BEGIN}\n\n{text.strip()}\n\n{END}{after}"
    if renewed != page:
        path.write_text(renewed, encoding="utf-8")
