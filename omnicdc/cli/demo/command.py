"""The command `demo`, which shows what omnicdc does."""

from __future__ import annotations

import json
import os
import signal
import sys
from io import TextIOWrapper
from typing import TYPE_CHECKING, Any

import click

from omnicdc.cli import options
from omnicdc.cli.command import INTERRUPTED, Answering
from omnicdc.cli.output import discard_output, flushed_stdout, on_terminal

if TYPE_CHECKING:
    from subprocess import Popen

    from omnicdc.cli.demo.output import Output
    from omnicdc.cli.demo.sandbox import Sandbox


@click.command(cls=Answering)
@click.option("--keep", is_flag=True, help="Leave it running until Ctrl-C, and show what to try.")
@options.as_json
def demo(*, keep: bool, as_json: bool) -> None:
    """Watch a write propagate, on a PostgreSQL of its own.

    The demo starts PostgreSQL from the `embedded` extra in a temporary directory, creates CMP's table,
    installs the capture, runs the daemon, writes as Genesis does, and shows the result of each write. It
    takes seconds, needs no special rights, touches no other database, and leaves nothing behind.

    On a pipe the output is plain text. --json gives a summary instead.

    Exit status 0 if every check succeeded, 1 if not, 130 if it was interrupted.
    """
    from omnicdc.cli.demo.run import kept, run, show_kept
    from omnicdc.errors import OmnicdcError
    from omnicdc.stop import Stop
    from omnicdc.testing.process import isolate

    isolate(os.environ)
    stop = Stop()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, stop)
    output = _output(as_json=as_json)

    def finish(box: Sandbox, daemon: Popen[bytes], result: dict[str, Any]) -> None:
        more = {"kept": kept(box, daemon)} if keep else {}
        if as_json:
            _echo(json.dumps(result | more, indent=2))
        if keep:
            show_kept(output, more["kept"])
        while keep and not stop.requested:
            stop.wait(1.0)

    try:
        result = run(output, stop, os.environ, finish)
    except (KeyboardInterrupt, OmnicdcError, OSError):
        if not stop.requested:
            raise
        try:
            sys.stdout.flush()
            click.echo("interrupted; everything was stopped and removed", err=True)
        except OSError:  # the terminal was closed
            discard_output(sys.stdout)
            discard_output(sys.stderr)
        sys.exit(INTERRUPTED)
    output.lines("Everything was stopped and removed.")
    sys.exit(0 if result["success"] else 1)


def _output(*, as_json: bool) -> Output:
    """Return an output for the reader: a program (`as_json`), a terminal, or a pipe."""
    from omnicdc.cli.demo.output import Output, terminal

    if isinstance(sys.stdout, TextIOWrapper):
        # A name may contain a character that the encoding of stdout lacks.
        sys.stdout.reconfigure(errors="backslashreplace")
    if as_json:
        return Output(lambda _line, _style: None)
    return terminal() if on_terminal() else Output(lambda line, _style: _echo(line))


def _echo(line: str) -> None:
    with flushed_stdout():
        click.echo(line)
