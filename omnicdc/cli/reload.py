"""The command `reload`: the daemon reads its configuration again. The command reports whether it took it."""

from __future__ import annotations

import os
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from omnicdc.cli import options
from omnicdc.cli.command import NO, NOT_YET, YES, Answering
from omnicdc.cli.output import answer, say

if TYPE_CHECKING:
    from omnicdc.cli.output import Output

LINES = {
    "in_force": "the new configuration is in force",
    "refused": "refused: the configuration from before stays in force",
    "starting": "the new configuration is valid, and nothing was published with it yet: "
    "`systemctl status omnicdc` shows what the daemon waits for",
    "reading": "the daemon still works with the configuration from before",
}


@click.command(cls=Answering)
@options.registries
@click.option(
    "--pid", type=click.IntRange(min=1), help="The daemon's process.  [default: the one of the root]"
)
@options.timeout(60.0)
@options.output
def reload(*, pid: int | None, timeout: float, output: Output, **given: Any) -> None:
    """Have the daemon on this host read its configuration again, and wait until it is in force.

    `systemctl reload omnicdc` runs this command. A configuration with a fault is refused before the daemon is
    signalled.

    Exit status 0 in force; 1 refused; 3 not yet: the configuration is valid, and the daemon waits for
    something, such as the database.
    """
    from omnicdc.daemon.reload import request
    from omnicdc.db.conninfo import CREDENTIALS
    from omnicdc.registries.catalog import registries

    # systemd 252 names the directory of the credentials in ExecReload= as well, but does not let us read it.
    # Only the daemon needs the password.
    config = options.load(given, {k: v for k, v in os.environ.items() if k != CREDENTIALS})
    registries(config)
    outcome = request(config.require_output_root(), config.state_dir, timeout, pid=pid)

    def text() -> None:
        why = f": {outcome.error}" + (f" - {outcome.hint}" if outcome.hint else "") if outcome.error else ""
        say(LINES[outcome.state] + why, good=outcome.state == "in_force")

    answer(asdict(outcome), output, text)
    sys.exit({"in_force": YES, "refused": NO}.get(outcome.state, NOT_YET))
