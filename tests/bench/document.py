"""The results of a run as JSON with all values, and as Markdown tables for docs/performance.md."""

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
"""The version of the JSON format. It increases when a key disappears or changes its meaning."""

BEGIN, END = "<!-- measured -->", "<!-- /measured -->"

Json: TypeAlias = dict[str, object]


def as_json(results: Results, machine: Machine, effort: Effort, at: datetime) -> bytes:
    """Return all results with every single value. NaN becomes null."""
    content = {
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
    return orjson.dumps(content, option=orjson.OPT_APPEND_NEWLINE)


def _series(series: Series) -> Json:
    return {
        "unit": series.unit,
        "p50": series.p50,
        "p99": series.p99,
        "lowest": series.lowest,
        "highest": series.highest,
        "values": series.values,
    }


def _figure(figure: Figure) -> Json:
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


def _contender(contender: Contender) -> Json:
    return {
        "name": contender.name,
        "latency": _series(contender.latency),
        "tps": _series(contender.tps),
        "remark": contender.remark,
    }


def _curve(curve: Curve) -> Json:
    return {
        "topic": curve.topic,
        "name": curve.name,
        "x_name": curve.x_name,
        "points": [{"x": x} | _series(series) for x, series in sorted(curve.points.items())],
    }


def markdown(results: Results, machine: Machine) -> str:
    """Return the machine, the tables, and the remarks."""
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
    """Escape characters that would end a cell, open a tag or begin emphasis. Backquotes stay."""
    return re.sub(r"([|<*\\])", r"\\\1", text)


def update(path: Path, text: str) -> None:
    """Replace the text between the two markers of a page. The same text causes no write.

    Raise OmnicdcError, and write nothing, unless each marker occurs exactly once.
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
