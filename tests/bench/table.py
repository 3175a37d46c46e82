"""Shows the results: tables on a terminal, tab-separated text on a pipe. `listing` makes the tables."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from bench import listing
from omnicdc.cli.output import on_terminal, say

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.console import Console, RenderableType
    from rich.text import Text

    from bench.listing import Table
    from bench.measure import Results

STYLES = {"met": "green", "missed": "red", "not measured": "yellow"}
"""The styles of cells that begin with these words."""

GAP = 2
SHORT = 8
"""Columns up to this width are never broken into lines."""


def show(results: Results) -> None:
    """Print the tables, then the remarks, then the summary."""
    tables = listing.tables(results)
    if on_terminal():
        _draw(tables)
    else:
        _write(tables)
    for remark in results.remarks:
        say(f"remark: {listing.line(remark)}")
    say(listing.summary(results), good=all(figure.met for figure in results.figures))


def _write(tables: list[Table]) -> None:
    for table in tables:
        click.echo(f"# {table.title}")
        for row in (table.columns, *table.rows):
            click.echo("\t".join(row))
        click.echo()


def _draw(tables: list[Table]) -> None:
    """Draw the tables. Rich respects NO_COLOR and the width of the terminal."""
    from rich.console import Console  # noqa: PLC0415 - only a terminal needs it

    console = Console()
    for table in tables:
        console.print(table.title, style="bold", markup=False, highlight=False)
        for part in _stacked(table) if _sprawls(table, console) else [_plain(table)]:
            console.print(part)
        console.print()


def _plain(table: Table) -> RenderableType:
    from rich.table import Table as Drawn  # noqa: PLC0415 - as above

    drawn = Drawn(box=None, pad_edge=False, padding=(0, GAP, 0, 0))
    for column, numeric in zip(table.columns, table.numeric, strict=True):
        drawn.add_column(column, justify="right" if numeric else "left", overflow="fold")
    for row in table.rows:
        drawn.add_row(*map(_text, row))
    return drawn


def _sprawls(table: Table, console: Console) -> bool:
    """Return whether the table is too wide, because its first column is long text."""
    return (
        sum(table.widths) + GAP * len(table.widths) > console.width and table.widths[0] > console.width // 3
    )


def _stacked(table: Table) -> Iterator[RenderableType]:
    """Yield each row as two lines: the first cell over all columns, the other cells below it."""
    yield _below(table, table.columns, "bold")
    for first, *others in table.rows:
        yield _text(first)
        yield _below(table, ("", *others))


def _below(table: Table, row: tuple[str, ...], style: str = "") -> RenderableType:
    """Return one row without its first cell. The columns have the same width in every row of a table."""
    from rich.padding import Padding  # noqa: PLC0415 - as above
    from rich.table import Table as Drawn  # noqa: PLC0415 - as above

    grid = Drawn.grid(padding=(0, GAP, 0, 0), expand=True)
    for width in table.widths[1:]:
        if width > SHORT:
            grid.add_column(ratio=width, overflow="fold")
        else:
            grid.add_column(width=width)
    grid.add_row(*(_text(cell) for cell in row[1:]), style=style)
    return Padding(grid, (0, 0, 0, GAP))


def _text(cell: str) -> Text:
    from rich.text import Text  # noqa: PLC0415 - as above

    return Text(cell, style=next((style for start, style in STYLES.items() if cell.startswith(start)), ""))
