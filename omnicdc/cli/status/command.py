"""The command `status`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from omnicdc.cli import options
from omnicdc.cli.command import NO, YES, Answering
from omnicdc.cli.output import answer, show

if TYPE_CHECKING:
    from omnicdc.cli.output import Output


@click.command(cls=Answering)
@options.connection
@click.option("--watch", is_flag=True, help="Show it anew whenever something changes, until Ctrl-C.")
@options.output
def status(*, watch: bool, output: Output, **given: Any) -> None:
    """Show the capture, every consumer and its lag, and each fault with the command that fixes it.

    The state is that of the database: the command runs on any host. With --watch it is read again when a
    consumer publishes, and every 2 seconds; on a pipe each change is one line of JSON.

    Exit status 0 if there is no fault, 1 if there is one; of --watch 130, after Ctrl-C.
    """
    from omnicdc import db
    from omnicdc.answers.status import examine
    from omnicdc.cli.status.description import description

    config = options.load(given)
    if watch:
        from omnicdc.cli.status.watch import watch as watch_status

        watch_status(config, output)
    with db.connect(config.target) as conn:
        db.check_schema(conn)
        found, faults = examine(conn, max_lag_s=config.max_lag_s)
    answer(found, output, lambda: show(description(found, faults, wide=output == "wide")))
    sys.exit(YES if found["healthy"] else NO)
