"""The command `log`: what changed, who changed it, and when it was published."""

from __future__ import annotations

import os
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from omnicdc.cli import completion, options
from omnicdc.cli.command import Answering
from omnicdc.cli.log_text import entry_lines, log_lines
from omnicdc.cli.output import answer, answer_width, flushed_stdout, on_terminal
from omnicdc.config import readers
from omnicdc.formats.answer import as_json_line

if TYPE_CHECKING:
    from collections.abc import Iterable

    from omnicdc.answers.log import Generation, Question, Transaction
    from omnicdc.cli.output import Output
    from omnicdc.db import Connection

MOST = 50
FOLLOWED = 10
"""So many older entries are shown before a live log begins."""


def _since(_ctx: click.Context, _param: click.Parameter, given: str | None) -> datetime | None:
    """Return a point in time, or the time so long ago. Raises click.BadParameter."""
    if given is None:
        return None
    try:
        return datetime.fromisoformat(given).astimezone()
    except ValueError:
        pass
    try:
        return datetime.now(UTC) - readers.span(given)
    except ValueError:
        raise click.BadParameter(
            f"a time such as 2026-11-27T08:30:00Z, or so long ago: 30m, 2h, 7d; found {given!r}"
        ) from None


@click.command(cls=Answering)
@options.connection
@click.argument("subject", required=False, metavar="[PROJECT|REGISTRY]", shell_complete=completion.registries)
@click.option(
    "-n", "most", type=click.IntRange(1, 100_000), help=f"At most so many entries.  [default: {MOST}]"
)
@click.option(
    "--since", callback=_since, metavar="TIME", help="From this time on, or so long ago: 30m, 2h, 7d."
)
@click.option(
    "--consumer",
    metavar="NAME",
    shell_complete=completion.consumers,
    help="Only what concerns this registry host.",
)
@click.option("-f", "--follow", is_flag=True, help="Go on with what happens from now on, until Ctrl-C.")
@click.option("--no-pager", is_flag=True, help="Do not show it through a pager.")
@options.output
def log(
    *,
    subject: str | None,
    most: int | None,
    since: datetime | None,
    consumer: str | None,
    follow: bool,
    no_pager: bool,
    output: Output,
    **given: Any,
) -> None:
    """Show what changed, who changed it, and which generation published it, the newest first.

    PROJECT is a name, a key or a UUID. For a REGISTRY (the name of its file), it shows the generations that
    rewrote it. Who wrote is known after `omnicdc install --record-writers`.

    On a terminal it is shown through $PAGER. With --follow the newest is last, and the JSON is one object a
    line.
    """
    from omnicdc import db
    from omnicdc.answers.log import Question, question, read_log

    config = options.load(given)
    limits = Question(consumer=consumer, since=since, most=most or (FOLLOWED if follow else MOST))
    with db.connect(config.target) as conn:
        db.check_schema(conn)
        asked = question(conn, config, subject, limits)
        if follow:
            _follow(conn, asked, output)
            return
        found = read_log(conn, asked)
    paged = on_terminal() and not no_pager

    def text() -> None:
        _show(log_lines(found, answer_width()), paged=paged)

    answer(found, output, text)


def _show(lines: Iterable[str], *, paged: bool) -> None:
    if not paged:
        for line in lines:
            click.echo(line)
        return
    # As git: quit if it fits on one screen, keep colours, leave the text on the screen.
    os.environ.setdefault("LESS", "FRX")
    click.echo_via_pager(f"{line}\n" for line in lines)


def _follow(conn: Connection, asked: Question, output: Output) -> None:
    from omnicdc.answers.log import Follower, read_log

    with flushed_stdout():
        follower = Follower(conn, asked)  # from here on, so that nothing is missed between the two
        found = read_log(conn, asked)
        earlier: list[Transaction] | list[Generation] = found["transactions"] or found["generations"]
        _print(reversed(earlier), output)
        while follower.wait(sys.stdout.fileno()):
            _print(follower.new(), output)


def _print(entries: Iterable[Transaction | Generation], output: Output) -> None:
    for entry in entries:
        if output == "json":
            click.echo(as_json_line(entry))
        else:
            for line in entry_lines(entry, answer_width()):
                click.echo(line)
