"""Prints answers: JSON on a pipe, a table on a terminal, colours only if the user wants them."""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal, TextIO

import click

from omnicdc.errors import ConfigError
from omnicdc.formats.answer import as_json as as_json_text
from omnicdc.formats.text import shortened

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

Output = Literal["text", "json", "wide"]
"""The forms of an answer: for people, for programs, and for people with a wide terminal."""

WIDEST = 2000
"""The largest number of characters in a line. A longer line is cut."""


def answer(result: Mapping[str, Any], output: Output, text: Callable[[], None]) -> None:
    """Print an answer: `result` as JSON, or what `text` prints."""
    with flushed_stdout():
        if output == "json":
            click.echo(as_json_text(result))
        else:
            text()


@contextmanager
def flushed_stdout() -> Iterator[None]:
    """Flush stdout at the end of the `with` block. Raises ConfigError if stdout cannot be written.

    If the reader of a pipe has closed it, there is no error: the reader has read enough, and the exit status
    is that of the answer.
    """
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:
        discard_output(sys.stdout)
    except OSError as exc:
        discard_output(sys.stdout)
        raise ConfigError(
            f"the answer cannot be written: {exc.strerror}", hint="look where stdout leads"
        ) from exc


def discard_output(stream: TextIO) -> None:
    """Redirect a standard stream to /dev/null, so that its unwritten output is lost.

    Otherwise Python would try to write it again at exit, fail, and replace our exit status by its own.
    """
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)


def confirm(question: str, *, yes: bool) -> None:
    """Ask before CMP is changed, unless the user said `--yes`.

    Raises ConfigError where nobody can answer, and click.Abort if the answer is no.
    """
    if yes:
        return
    if not (sys.stdin.isatty() and on_terminal()):
        raise ConfigError("this changes CMP, and there is no terminal to ask on", hint="add --yes")
    click.confirm(question, abort=True, err=True)


def on_terminal() -> bool:
    """Whether stdout is a terminal."""
    return sys.stdout.isatty()


def table(columns: Sequence[str], rows: Iterable[Sequence[object]], title: str | None = None) -> None:
    """Print a table. The library rich respects NO_COLOR and the terminal's width."""
    from rich.console import Console
    from rich.table import Table

    shown = Table(title=title, title_justify="left", box=None, pad_edge=False, header_style="bold")
    for column in columns:
        shown.add_column(column, overflow="fold")  # a URL or a UUID that is cut is of no use
    for row in rows:
        shown.add_row(*("" if cell is None else shortened(str(cell), WIDEST) for cell in row))
    Console().print(shown, markup=False)


def say(line: str, *, good: bool | None = None) -> None:
    """Print one line of an answer: green if `good` is true, red if it is false, uncoloured if it is None."""
    colour = {True: "green", False: "red", None: None}[good]
    shown = shortened(line, WIDEST)
    # click.secho is not used, because without a colour it still prints the escape sequence that ends a
    # colour.
    click.echo(click.style(shown, colour) if colour and wants_colour() else shown)


def show_diff(lines: Iterable[str]) -> None:
    """Print the lines of `verify.difference.unified`, on a terminal with the colours of git's diffs."""
    colours = {"-": "red", "+": "green", "@": "cyan"} if wants_colour() else {}
    for line in lines:
        colour = colours.get(line[:1])
        is_title = line.startswith(("--- ", "+++ "))
        click.echo(click.style(line, None if is_title else colour, bold=is_title or None) if colour else line)


def say_error(error: str, hint: str) -> None:
    """Print an answer's error in red, with its hint unless the error ends with it."""
    say(error if not hint or error.endswith(hint) else f"{error} - {hint}", good=False)


def wants_colour() -> bool:
    """Whether stdout is a terminal and NO_COLOR is not set."""
    return on_terminal() and not os.environ.get("NO_COLOR")
