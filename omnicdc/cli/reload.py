"""The command `reload`: the daemon reads its configuration again. The command reports whether it took it."""

from __future__ import annotations

import os
import signal
import sys
import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from omnicdc.cli import options
from omnicdc.cli.command import NO, NOT_YET, YES, Answering
from omnicdc.cli.output import answer, say
from omnicdc.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

    from omnicdc.cli.output import Output
    from omnicdc.daemon.reload import Outcome

CHECK_S = 0.05
"""Seconds between two looks at the outcome."""

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
    from omnicdc.daemon.reload import load_outcome
    from omnicdc.db.conninfo import CREDENTIALS
    from omnicdc.files.lock import holder_of
    from omnicdc.registries.catalog import registries

    # systemd 252 names the directory of the credentials in ExecReload= as well, but does not let us read it.
    # Only the daemon needs the password.
    config = options.load(given, {k: v for k, v in os.environ.items() if k != CREDENTIALS})
    registries(config)
    root = config.require_root()
    pid = pid or holder_of(root)
    if pid is None:
        raise ConfigError(f"no daemon serves {root} on this host", hint="`systemctl start omnicdc`")
    before = load_outcome(config.state_dir)
    _signal(pid)
    outcome = _outcome_after(before, config.state_dir, time.monotonic() + timeout)
    if outcome is None:
        raise ConfigError(
            f"process {pid} did not report within {timeout:g} s, in {config.state_dir}, that it reloads",
            hint="`systemctl status omnicdc`; name its directory if it has another one: --state-dir DIR",
        )

    def text() -> None:
        why = f": {outcome.error}" + (f" - {outcome.hint}" if outcome.hint else "") if outcome.error else ""
        say(LINES[outcome.state] + why, good=outcome.state == "in_force")

    answer(asdict(outcome), output, text)
    sys.exit({"in_force": YES, "refused": NO}.get(outcome.state, NOT_YET))


def _signal(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGHUP)
    except ProcessLookupError as exc:
        raise ConfigError(f"there is no process {pid}", hint="`systemctl status omnicdc`") from exc
    except PermissionError as exc:
        raise ConfigError(
            f"process {pid} belongs to another user", hint="`sudo systemctl reload omnicdc`"
        ) from exc


def _outcome_after(before: Outcome | None, state_dir: Path, deadline: float) -> Outcome | None:
    """Wait for the outcome of the reload that follows `before`; return the last known one at the deadline."""
    from omnicdc.daemon.reload import load_outcome

    while True:
        found = load_outcome(state_dir)
        if found and before and (found.pid, found.number) == (before.pid, before.number):
            found = None
        if (found and found.state in {"in_force", "refused"}) or time.monotonic() >= deadline:
            return found
        time.sleep(CHECK_S)
