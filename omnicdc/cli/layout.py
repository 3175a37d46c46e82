"""Lays out an answer for people: lines folded at the terminal's width, and tables that fit it.

`output` prints what this module makes. Nothing here reads or writes a stream, except for `terminal_width`.
"""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass, field
from io import StringIO
from typing import TYPE_CHECKING

import click

from omnicdc.formats.text import shortened
from omnicdc.formats.times import to_seconds

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from datetime import datetime

LONGEST = 2000
"""The largest number of characters in a line or a cell before it is folded. The rest is cut."""

UNLIMITED = 10_000
"""The width of a table that is not folded (-o wide)."""

LEAST = 24
"""Text is not folded more narrowly than this, however narrow the terminal is."""

LEAST_COLUMN = 10
"""A column that may be folded gets at least this width."""

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
    """A table. A cell that does not fit is folded, but not in the columns named by `firm`.

    A cell that is a list has each item on a line of its own.
    """

    columns: Sequence[str]
    rows: Sequence[Sequence[object]]
    firm: frozenset[str] = field(default=frozenset())
    title: str | None = None
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


def folded(text: str, width: int) -> list[str]:
    """Fold a line at blanks; the lines after the first are indented. Control characters are escaped.

    A word or a command in backticks that is longer than a line stays whole: a path that is cut is of no use.
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
            lines.append(" " * (indent + HANGING) + chunk.lstrip())
    return [line.rstrip() for line in lines]


def table_lines(table: Table, width: int, *, colour: bool) -> list[str]:
    """Return the lines of a table, without blanks at their ends."""
    from rich import table as rich_table
    from rich.console import Console
    from rich.text import Text

    width = UNLIMITED if table.wide else width
    shown = rich_table.Table(
        title=table.title, title_justify="left", box=None, pad_edge=False, header_style="bold"
    )
    firm = table.firm if _firm_width(table) <= width else frozenset[str]()
    for column in table.columns:
        # A URL or a UUID that is cut is of no use, so it is folded.
        shown.add_column(column, overflow="fold", no_wrap=column in firm)
    for row in table.rows:
        styles = (_COLOURS[cell.good] or "" if isinstance(cell, Cell) else "" for cell in row)
        texts = ("\n".join(_items(cell, wide=table.wide)) for cell in row)
        shown.add_row(*map(Text, texts, styles))
    console = Console(
        file=StringIO(), width=width, force_terminal=colour, color_system="standard" if colour else None,
        no_color=not colour, legacy_windows=False,
    )  # fmt: skip
    with console.capture() as captured:
        console.print(shown, highlight=False)
    return [line.rstrip() for line in captured.get().splitlines()]


def _firm_width(table: Table) -> int:
    """Return the width of the table if the columns that may be folded get the least width."""
    width = 0
    for at, column in enumerate(table.columns):
        cells = (it for row in table.rows for it in _items(row[at], wide=table.wide))
        widest = max(map(_cells, (column, *cells)))
        width += BETWEEN + (widest if column in table.firm else min(widest, LEAST_COLUMN))
    return width - BETWEEN


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
