"""The command that shows what omnicdc does: demo."""

from __future__ import annotations

import os
import signal
import sys
from io import TextIOWrapper
from typing import TYPE_CHECKING

import click

from omnicdc.cli import options
from omnicdc.cli.command import INTERRUPTED, Answering
from omnicdc.cli.output import written

if TYPE_CHECKING:
    from omnicdc.demo.daemon import Daemon
    from omnicdc.demo.house import House
    from omnicdc.demo.report import Report
    from omnicdc.demo.stage import Stage
    from omnicdc.stop import Stop


@click.command(cls=Answering)
@click.option("--keep", is_flag=True, help="Leave it running until Ctrl-C, and say what to try.")
@options.as_json
def demo(*, keep: bool, as_json: bool) -> None:
    """Watch a write propagate, on a PostgreSQL of its own.

    Starts PostgreSQL from the `embedded` extra in a temporary directory, makes CMP's table, installs the
    capture, runs the daemon, writes as Genesis does, and shows what became of each write. Takes seconds,
    needs no rights, touches no other database, and leaves nothing behind.

    On a pipe it is plain text; --json gives a summary instead.

    Exit status 0 if every claim held, 1 if not, 130 if it was interrupted.
    """
    from omnicdc.demo.house import seclude
    from omnicdc.demo.play import play
    from omnicdc.errors import OmnicdcError
    from omnicdc.stop import Stop

    seclude(os.environ)
    stop = Stop()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, stop)
    stage = _stage(as_json=as_json)

    def encore(home: House, daemon: Daemon, report: Report) -> None:
        if keep:
            _keep(stage, home, daemon, report, stop, as_json=as_json)

    try:
        report = play(stage, stop, os.environ, encore)
    except (KeyboardInterrupt, OmnicdcError):
        if not stop.requested:
            raise
        click.echo("interrupted; everything was stopped and removed", err=True)
        sys.exit(INTERRUPTED)
    if as_json and not keep:
        _print(report.as_dict())
    stage.say("Everything was stopped and removed.")
    sys.exit(1 if report.failed else 0)


def _stage(*, as_json: bool) -> Stage:
    """Choose by who watches: a program, a terminal, or a pipe."""
    from omnicdc.demo.stage import Plain

    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(
            errors="backslashreplace"
        )  # a name may hold what the terminal's encoding lacks
    if as_json:
        return Plain(lambda _line: None)
    if not sys.stdout.isatty():
        return Plain(_echo)
    from omnicdc.demo.lights import Lights

    return Lights()


def _keep(stage: Stage, home: House, daemon: Daemon, report: Report, stop: Stop, *, as_json: bool) -> None:
    from omnicdc.demo import encore

    if as_json:
        _print(report.as_dict() | {"kept": encore.as_dict(home, daemon)})
    encore.invite(stage, home)
    encore.hold(stage, daemon, stop)


def _print(answer: dict[str, object]) -> None:
    import json

    _echo(json.dumps(answer, indent=2))


def _echo(line: str) -> None:
    with written():
        click.echo(line)
