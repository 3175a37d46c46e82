"""The command `cutover writers`: which old scanners still write registries."""

from __future__ import annotations

import json
import re
import sys
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

from omnicdc.cli import options
from omnicdc.cli.command import NO, YES, Answering
from omnicdc.cli.output import answer, say

if TYPE_CHECKING:
    from omnicdc.answers.cutover.writers import Writer
    from omnicdc.cli.output import Output
    from omnicdc.config.settings import Config

Found = dict[str, list[dict[str, Any]]]

PATTERN = r"\bomni\b.*(scan|registry|rebuild)"
"""What the command line of an old scanner looks like, upper or lower case."""

pattern = click.option(
    "--pattern", default=PATTERN, show_default=True, help="What the command line of an old scanner matches."
)


@click.command(cls=Answering)
@options.registries
@pattern
@click.option(
    "-f", "--follow", is_flag=True, help="Watch the registries, and name each process that writes one."
)
@options.output
def writers(*, pattern: str, follow: bool, output: Output, **given: Any) -> None:
    """Show old scanners that still write.

    It looks for processes, for schedules of cron and systemd, and for registries that were edited since the
    switch. Run it as
    root: other users see only their own processes.

    Exit status 0 if there are none, 1 if there are some.
    """
    config = options.load(given)
    wanted = re.compile(pattern, re.IGNORECASE)
    if follow:
        _follow(config, wanted, output)
    result = _found(config, wanted)
    answer(result, output, lambda: _show_found(result))
    sys.exit(NO if any(result.values()) else YES)


def paths_of(config: Config) -> list[str]:
    """Return the paths of all registries, below the root."""
    from omnicdc.registries.catalog import registries

    return [it.path for it in registries(config).values()]


def described(it: Writer) -> str:
    """Return one line about a process."""
    doing = f" writes {Path(it.file).name}" if it.file else ""
    return f"process {it.pid} of {it.user}{doing}: {it.command}"


def _found(config: Config, wanted: re.Pattern[str]) -> Found:
    from omnicdc.answers.cutover.writers import looking_like, schedules, writing
    from omnicdc.cli.cutover.backup import edits
    from omnicdc.files.lock import holder_of

    root, daemon = config.require_root(), holder_of(config.require_output_root())
    return {
        "writing": [asdict(it) for it in writing([root / it for it in paths_of(config)], but=daemon)],
        "processes": [asdict(it) for it in looking_like(wanted) if it.pid != daemon],
        "schedules": [asdict(it) for it in schedules(wanted)],
        "edited": [
            {"registry": Path(path).name, "at": at.isoformat(), "kept": str(kept)}
            for path in paths_of(config)
            for kept, at in ([] if config.shadow else edits(path, config.state_dir))
        ],
    }


def _follow(config: Config, wanted: re.Pattern[str], output: Output) -> NoReturn:
    """Print a line for each write of a registry by another process than the daemon, until Ctrl-C."""
    from omnicdc.answers.cutover.watching import foreign_writes
    from omnicdc.formats.times import to_seconds

    root, paths = config.require_root(), paths_of(config)
    if output == "json":
        click.echo(json.dumps({"watching": paths}))
    else:
        say(f"watching {len(paths)} files below {root}; Ctrl-C ends")
    sys.stdout.flush()
    for path, found in foreign_writes(root, paths, wanted):
        now = to_seconds(datetime.now(UTC))
        if output == "json":
            click.echo(json.dumps({"at": now, "file": path, "writers": [asdict(it) for it in found]}))
        else:
            who = "; ".join(map(described, found)) or "the process ended before it was seen"
            say(f"{now} {path} was written: {who}", good=False)
        sys.stdout.flush()
    raise AssertionError  # it never ends


def _show_found(result: Found) -> None:
    from omnicdc.answers.cutover.writers import Schedule, Writer
    from omnicdc.formats.times import to_seconds

    if not any(result.values()):
        say("no old scanner was found: no process, no schedule, no edited registry", good=True)
    for it in (*result["writing"], *result["processes"]):
        say(described(Writer(**it)), good=False)
    for it in result["schedules"]:
        one: Schedule = Schedule(**it)
        say(f"{one.file}:{one.line} starts it: {one.text}", good=False)
    for it in result["edited"]:
        at = to_seconds(it["at"])
        say(f"{it['registry']} was written by another program at {at}; kept in {it['kept']}", good=False)
