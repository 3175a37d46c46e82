"""Lays out an answer for people: lines folded at the terminal's width, and tables that fit it.

`output` prints what this module makes. Nothing here reads or writes a stream, except for `terminal_width`.
"""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import click

from omnicdc.formats.text import shortened
from omnicdc.formats.times import to_seconds

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from datetime import datetime

LONGEST = 2000
"""The largest number of characters in a line or a cell before it is folded. The rest is cut."""

UNLIMITED = 1_000_000
"""The width of lines and tables that are not folded (-o wide)."""

LEAST = 24
"""Text is not folded more narrowly than this, however narrow the terminal is."""

BETWEEN = 2
"""Blanks between two columns of a table."""

HANGING = 2
"""How many columns the second line of a folded line is indented more than its first."""

_CHUNK = re.compile(r"\s*(?:`[^`]*`|[^\s`])+|\s*`")
"""A word with the blanks before it. A command in backticks is one word, so that it can be copied."""

_COLOURS = {True: "green", False: "red", None: None}


@dataclass(frozen=True, slots=True)
class Line:
    """One line: green if `good` is true, red if it is false."""

    text: str
    good: bool | None = None


@dataclass(frozen=True, slots=True)
class Cell:
    """A coloured cell of a table."""

    text: str
    good: bool


@dataclass(frozen=True, slots=True)
class Table:
    """A table. A cell that does not fit is folded at blanks, but not in the columns named by `firm`.

    A cell that is a list has each item on a line of its own.
    """

    columns: Sequence[str]
    rows: Sequence[Sequence[object]]
    firm: frozenset[str] = field(default=frozenset())
    wide: bool = False
    """Whether it may be wider than the terminal."""


Block = Line | Table


def terminal_width() -> int:
    """Return the terminal's width; on a pipe the variable COLUMNS, else 80."""
    return max(LEAST, shutil.get_terminal_size().columns)


def laid_out(blocks: Iterable[Block], width: int, *, colour: bool) -> Iterator[str]:
    """Yield the lines that show some blocks."""
    for block in blocks:
        if isinstance(block, Table):
            yield from table_lines(block, width, colour=colour)
        else:
            yield from coloured(folded(block.text, width), block.good if colour else None)


def coloured(lines: Iterable[str], good: bool | None) -> Iterator[str]:
    """Yield each line in its colour."""
    # Without a colour click.style would still add the escape sequence that ends one.
    colour = _COLOURS[good]
    return (click.style(line, colour) if colour and line else line for line in lines)


def folded(text: str, width: int, hanging: int = HANGING) -> list[str]:
    """Fold a line at blanks; the lines after the first are indented by `hanging` more.

    Control characters are escaped. A word or a command in backticks that is longer than a line stays whole: a
    path that is cut is of no use.
    """
    text = shortened(text, LONGEST)
    body = text.lstrip(" ")
    indent = len(text) - len(body)
    lines = [" " * indent]
    for chunk in _CHUNK.findall(body):
        fits = _cells(lines[-1]) + _cells(chunk) <= width
        if fits or not lines[-1].strip():
            lines[-1] += chunk
        else:
            lines.append(" " * (indent + hanging) + chunk.lstrip())
    return [line.rstrip() for line in lines]


def table_lines(table: Table, width: int, *, colour: bool) -> list[str]:
    """Return the lines of a table, without blanks at their ends.

    Cells are folded at blanks. A row with a path, a URL or another word that does not fit has one line for
    each cell instead, so that nothing is cut.
    """
    width = UNLIMITED if table.wide else width
    rows = [[_items(cell, wide=table.wide) for cell in row] for row in table.rows]
    widths, fitting = _columns(table, rows, width)
    lines: list[str] = []
    if fitting or not rows:
        lines += _row_lines([[name] for name in table.columns], [colour] * len(widths), widths, _bold)
    for at, (row, cells) in enumerate(zip(table.rows, rows, strict=True)):
        colours = [_COLOURS[cell.good] if colour and isinstance(cell, Cell) else None for cell in row]
        if at in fitting:
            lines += _row_lines(cells, colours, widths, click.style)
        else:
            lines += _stacked(table.columns, cells, colours, width)
    return [line.rstrip() for line in lines]


def _columns(table: Table, rows: Sequence[Sequence[list[str]]], width: int) -> tuple[list[int], set[int]]:
    """Return the width of each column, and the rows that fit these columns without a cut word."""
    gaps = BETWEEN * (len(table.columns) - 1)
    least = [max(map(_cells, name.split() or [""])) for name in table.columns]
    natural = [_cells(name) for name in table.columns]
    fitting: set[int] = set()
    needs = [
        [_need(cell, firm=name in table.firm) for name, cell in zip(table.columns, row, strict=True)]
        for row in rows
    ]
    for at in sorted(range(len(rows)), key=lambda at: sum(needs[at])):
        wanted = [*map(max, least, needs[at])]
        if sum(wanted) + gaps <= width:
            fitting.add(at)
            least = wanted
            natural = [*map(max, natural, (max(map(_cells, cell), default=0) for cell in rows[at]))]
    return _shared(least, natural, width - gaps), fitting


def _need(cell: Sequence[str], *, firm: bool) -> int:
    """Return the least width of a cell: its longest word, or, where nothing is folded, its longest line."""
    parts = cell if firm else [chunk.strip() for item in cell for chunk in _CHUNK.findall(item)]
    return max(map(_cells, parts), default=0)


def _shared(least: Sequence[int], natural: Sequence[int], width: int) -> list[int]:
    """Return the widths of columns between these two, as far as there is room. Small columns get it first."""
    widths = [*least]
    room = max(0, width - sum(least))
    order = sorted(range(len(least)), key=lambda at: natural[at] - least[at])
    for done, at in enumerate(order):
        more = min(max(0, natural[at] - least[at]), room // (len(order) - done))
        widths[at] += more
        room -= more
    return widths


def _row_lines(
    cells: Sequence[Sequence[str]],
    colours: Sequence[Any],
    widths: Sequence[int],
    style: Callable[..., str],
) -> Iterator[str]:
    """Yield the lines of a row whose cells are side by side."""
    columns = [
        [line for item in cell for line in folded(item, width)]
        for cell, width in zip(cells, widths, strict=True)
    ]
    for number in range(max(map(len, columns), default=0)):
        shown = ""
        for column, colour, width in zip(columns, colours, widths, strict=True):
            text = column[number] if number < len(column) else ""
            shown += (style(text, colour) if colour and text else text) + " " * (
                width - _cells(text) + BETWEEN
            )
        yield shown


def _bold(text: str, _colour: object) -> str:
    return click.style(text, bold=True)


def _stacked(
    columns: Sequence[str], cells: Sequence[Sequence[str]], colours: Sequence[str | None], width: int
) -> Iterator[str]:
    """Yield the lines of a row whose cells do not fit side by side: each after the name of its column."""
    names = max(map(_cells, columns[1:]), default=0)
    for at, (name, cell, colour) in enumerate(zip(columns, cells, colours, strict=True)):
        for number, item in enumerate(cell):
            label = "" if at == 0 else f"{' ' * HANGING}{'' if number else name:<{names}}{' ' * BETWEEN}"
            for line in folded(label + item, width) if item else ():
                yield click.style(line, colour) if colour else line


def _items(cell: object, *, wide: bool) -> list[str]:
    """Return the lines of a cell, escaped."""
    if isinstance(cell, (list, tuple)):
        items = [str(item) for item in cell]
        return [shortened(item, LONGEST) for item in ([", ".join(items)] if wide else items)]
    text = cell.text if isinstance(cell, Cell) else "" if cell is None else str(cell)
    return [shortened(text, LONGEST)]


def _cells(text: str) -> int:
    """Return how many columns of a terminal a text takes: a Chinese character takes two."""
    if text.isascii():
        return len(text)
    from rich.cells import cell_len

    return cell_len(text)


def seconds(at: datetime | str | None) -> str:
    """Return a time as RFC 3339, in UTC, to the second; `-` if there is none."""
    return "-" if at is None else to_seconds(at)


def duration(seconds_: float | None) -> str:
    """Return a duration for people: `0.4 s`, `12 s`, `3 min 20 s`, `12 min`, `2 h 5 min`, `4 d 3 h`."""
    if seconds_ is None:
        return "-"
    if seconds_ < 10:  # noqa: PLR2004 - one digit after the point, as long as it says something
        return f"{max(0.0, seconds_):.1f} s"
    whole = round(seconds_)
    for size, unit, smaller, name in ((86400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s")):
        if whole >= size:
            # From ten on, the smaller unit says nothing.
            rest = whole % size // smaller if whole < 10 * size else 0
            return f"{whole // size} {unit}" + (f" {rest} {name}" if rest else "")
    return f"{whole} s"


def milliseconds(lasted_ms: float | None) -> str:
    """Return a short duration for people: `0.6 ms`, `12 ms`, from a second on as `duration`."""
    if lasted_ms is None:
        return "-"
    if lasted_ms >= 1000:  # noqa: PLR2004 - one second
        return duration(lasted_ms / 1000)
    return f"{lasted_ms:.1f} ms" if lasted_ms < 10 else f"{lasted_ms:.0f} ms"  # noqa: PLR2004 - as in duration
