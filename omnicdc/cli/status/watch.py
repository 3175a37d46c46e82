"""Shows the status live: on a terminal as a page that is redrawn, on a pipe as one answer for each change."""

from __future__ import annotations

import os
import signal
import sys
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, NoReturn

import click

from omnicdc.cli.command import NO, YES
from omnicdc.cli.layout import Cell, Line, duration, laid_out, seconds
from omnicdc.cli.output import flushed_stdout, on_terminal, show, wants_colour
from omnicdc.cli.status.description import description
from omnicdc.cli.status.readings import readings
from omnicdc.formats.answer import as_json_line

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.console import RenderableType

    from omnicdc.cli.layout import Block
    from omnicdc.cli.output import Output
    from omnicdc.cli.status.readings import Reading
    from omnicdc.config.settings import Config

REDRAWN_HZ = 2
"""How often a second the page is redrawn: a terminal that was resized looks right after half a second."""


def watch(config: Config, output: Output) -> NoReturn:
    """Show the status until Ctrl-C, or until the reader of a pipe closes it; then exit.

    Raises OmnicdcError if CMP cannot be read at first; later it is retried.
    """
    signal.signal(signal.SIGTERM, _end)
    if output != "json" and on_terminal() and os.environ.get("TERM") != "dumb":
        _live(config, wide=output == "wide")
    _append(config, output)


def _end(number: int, _frame: object) -> NoReturn:
    """End by an exception, so that the terminal is restored."""
    sys.exit(128 + number)


def _append(config: Config, output: Output) -> NoReturn:
    """Print the first reading, and each one that differs from the one before."""
    before, status = None, YES
    for reading in readings(config, sys.stdout.fileno()):
        if reading.lasting == before:
            continue
        status = YES if reading.as_dict()["healthy"] else NO
        with flushed_stdout() as flushed:
            if output == "json":
                click.echo(as_json_line(reading.as_dict()))
            else:
                show([Line("")] if before is not None else [])
                show(page(reading, wide=output == "wide", now=datetime.now(UTC)))
        if flushed.reader_is_gone:
            break
        before = reading.lasting
    sys.exit(status)


def _live(config: Config, *, wide: bool) -> NoReturn:
    """Redraw a page in place. At the end the terminal is restored, and the last page stays there."""
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    console = Console()
    shown: list[Reading] = []

    def drawn() -> RenderableType:
        blocks = page(shown[0], wide=wide, now=datetime.now(UTC)) if shown else ()
        lines = list(laid_out(blocks, console.width, colour=wants_colour()))
        return Text.from_ansi("\n".join(cropped(lines, console.height)), no_wrap=True, overflow="crop")

    try:
        for reading in readings(config, None):
            if not shown:
                live = Live(console=console, screen=True, get_renderable=drawn, refresh_per_second=REDRAWN_HZ)
                live.start()
            shown[:] = [reading]
            live.refresh()
    finally:
        if shown:
            live.stop()
            show(page(shown[0], wide=wide, now=datetime.now(UTC)))
    sys.exit(YES)


def page(reading: Reading, *, wide: bool, now: datetime) -> Iterator[Block]:
    """Yield what is shown of a reading. If the connection is lost, that stands first."""
    if lost := reading.lost:
        lasted = duration((now - lost.since).total_seconds())
        yield Line(
            f"no connection since {seconds(lost.since)} ({lasted}), retrying: {lost.error}", good=False
        )
        yield Line("what was known before that:")
        yield Line("")
        # Without colours, so that nobody takes it for the present.
        yield from map(_faded, description(reading.found, reading.faults, wide=wide))
        return
    yield from description(reading.found, reading.faults, wide=wide)


def _faded(block: Block) -> Block:
    if isinstance(block, Line):
        return Line(block.text)
    rows = [[cell.text if isinstance(cell, Cell) else cell for cell in row] for row in block.rows]
    return replace(block, rows=rows)


def cropped(lines: list[str], height: int) -> list[str]:
    """Return the lines that fit a terminal; the last one counts those that do not."""
    if len(lines) <= height:
        return lines
    return [*lines[: height - 1], f"… {len(lines) - height + 1} more lines do not fit"]
