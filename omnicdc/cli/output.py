"""How answers look: JSON on a pipe, a table on a terminal, colour only where it is wanted."""

from __future__ import annotations

import json
import os
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TextIO

import click

from omnicdc.errors import ConfigError
from omnicdc.formats.text import shortened

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

WIDEST = 2000
"""Characters of a line beyond which it is cut."""


def answer(result: Mapping[str, Any], *, as_json: bool, text: Callable[[], None]) -> None:
    """Print an answer: `result` as JSON on a pipe or when asked to, else what `text` prints."""
    with written():
        if as_json or not on_terminal():
            click.echo(json.dumps(result, indent=2, ensure_ascii=False, default=str))
        else:
            text()


@contextmanager
def written() -> Iterator[None]:
    """Have what is printed inside be written at the end; raises ConfigError if stdout does not take it.

    A reader who leaves has read enough: nothing is said, and the exit status is that of the answer.
    """
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:
        leave(sys.stdout)
    except OSError as exc:
        leave(sys.stdout)
        raise ConfigError(
            f"the answer cannot be written: {exc.strerror}", hint="look where stdout leads"
        ) from exc


def leave(stream: TextIO) -> None:
    """Let go what a standard stream did not take.

    Python would try again at its end, fail again, and put its own exit status in place of ours.
    """
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)


def on_terminal() -> bool:
    """Whether stdout is a terminal."""
    return sys.stdout.isatty()


def table(columns: Sequence[str], rows: Iterable[Sequence[object]], title: str | None = None) -> None:
    """Print a table; rich knows about NO_COLOR and the terminal's width."""
    from rich.console import Console
    from rich.table import Table

    shown = Table(*columns, title=title, title_justify="left", box=None, pad_edge=False, header_style="bold")
    for row in rows:
        shown.add_row(*("" if cell is None else shortened(str(cell), WIDEST) for cell in row))
    Console().print(shown, markup=False)


def say(line: str, *, good: bool | None = None) -> None:
    """Print one line of an answer, green or red where it is a verdict."""
    colour = {True: "green", False: "red", None: None}[good]
    shown = shortened(line, WIDEST)
    # Not secho: without a colour it still sends what ends one.
    click.echo(click.style(shown, colour) if colour and wants_colour() else shown)


def wants_colour() -> bool:
    """Whether stdout is a terminal and NO_COLOR is not set."""
    return on_terminal() and not os.environ.get("NO_COLOR")
