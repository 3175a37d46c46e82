"""Prints answers: JSON on a pipe, a table on a terminal, colours only if the user wants them."""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TextIO

import click

from omnicdc.cli.layout import (
    LONGEST,
    UNLIMITED,
    Line,
    Table,
    coloured,
    folded,
    laid_out,
    terminal_width,
)
from omnicdc.errors import ConfigError
from omnicdc.formats.answer import as_json as as_json_text
from omnicdc.formats.text import shortened

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from omnicdc.cli.layout import Block

Output = Literal["text", "json", "wide"]
"""The forms of an answer: for people, for programs, and for people with a wide terminal."""

WIDE = "omnicdc.wide"
"""The key of `click.Context.meta` that tells whether the form `wide` was asked for."""


def answer(result: Mapping[str, Any], output: Output, text: Callable[[], None]) -> None:
    """Print an answer: `result` as JSON, or what `text` prints."""
    with flushed_stdout():
        if output == "json":
            click.echo(as_json_text(result))
        else:
            text()


@dataclass(slots=True)
class Flushed:
    """What became of the output of a `with` block."""

    reader_is_gone: bool = False
    """Whether the reader of the pipe has closed it. Further output is lost."""


@contextmanager
def flushed_stdout() -> Iterator[Flushed]:
    """Flush stdout at the end of the `with` block. Raises ConfigError if stdout cannot be written.

    If the reader of a pipe has closed it, there is no error: the reader has read enough, and the exit status
    is that of the answer.
    """
    flushed = Flushed()
    try:
        yield flushed
        sys.stdout.flush()
    except BrokenPipeError:
        discard_output(sys.stdout)
        flushed.reader_is_gone = True
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


def confirm(question: str, *, yes: bool, changed: str = "CMP") -> None:
    """Ask before something is changed, unless the user said `--yes`.

    Raises ConfigError where nobody can answer, and click.Abort if the answer is no.
    """
    if yes:
        return
    if not (sys.stdin.isatty() and on_terminal()):
        raise ConfigError(f"this changes {changed}, and there is no terminal to ask on", hint="add --yes")
    click.confirm(question, abort=True, err=True)


def on_terminal() -> bool:
    """Whether stdout is a terminal."""
    return sys.stdout.isatty()


def table(
    columns: Sequence[str],
    rows: Iterable[Sequence[object]],
    *,
    firm: Iterable[str] = (),
) -> None:
    """Print a table that fits the terminal: cells are folded, but not in the columns `firm`.

    With -o wide nothing is folded, and the table may be wider than the terminal.
    """
    show([Table(columns, [*rows], frozenset(firm), is_wide())])


def say(line: str, *, good: bool | None = None, fold: bool = True) -> None:
    """Print one line of an answer: green if `good` is true, red if it is false, uncoloured if it is None.

    It is folded at the terminal's width, except with -o wide. `fold` is false for what has lines of its
    own, such as a diff.
    """
    if fold:
        show([Line(line, good)])
        return
    for each in coloured([shortened(line, LONGEST)], good if wants_colour() else None):
        click.echo(each)


def show(blocks: Iterable[Block]) -> None:
    """Print lines and tables."""
    for line in laid_out(blocks, answer_width(), colour=wants_colour()):
        click.echo(line)


def is_wide() -> bool:
    """Whether the form `wide` was asked for."""
    context = click.get_current_context(silent=True)
    return context is not None and bool(context.meta.get(WIDE))


def answer_width() -> int:
    """Return the width at which an answer is folded: that of the terminal; with -o wide, none."""
    return UNLIMITED if is_wide() else terminal_width()


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


def complain(text: str) -> None:
    """Write a command's error to stderr: on a pipe a line for each fault, on a terminal folded at its width.

    The exit status is the same if stderr cannot be written.
    """
    if not sys.stderr.isatty():
        from omnicdc.log.events import write_error

        write_error(text)
        return
    from omnicdc.log.scrub import scrubbed

    with suppress(OSError):
        for fault in scrubbed(text).splitlines():
            click.echo("\n".join(folded(f"omnicdc: {fault}", terminal_width())), err=True)


def wants_colour() -> bool:
    """Whether stdout is a terminal that shows colours, and NO_COLOR is not set."""
    return on_terminal() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
