"""The command `support-bundle`: collect what a bug report needs, without passwords and without CMP's data."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from omnicdc.cli import completion, options
from omnicdc.cli.command import Answering
from omnicdc.cli.output import answer, say
from omnicdc.errors import ConfigError

if TYPE_CHECKING:
    from omnicdc.cli.output import Output

DOCTOR_S = 120.0
"""Longest time in seconds for `omnicdc doctor`."""

FLAGS = ("config", "dsn", "root", "state_dir", "consumer")


@click.command("support-bundle", cls=Answering)
@click.argument("file", metavar="[FILE.tar.gz]", required=False, shell_complete=completion.files)
@click.option(
    "--journal", type=click.IntRange(0, 100_000), default=1000, show_default=True, metavar="LINES",
    help="How many lines of the service's log.",
)  # fmt: skip
@options.registries
@options.output
def support_bundle(*, file: str | None, journal: int, output: Output, **given: Any) -> None:
    """Collect what a bug report needs: versions, settings, status, history, capture, files, log.

    Passwords and what CMP says about projects are left out; README.txt in the file says how. Look at it
    before you send it. What cannot be collected is named with its reason, so the command works without a
    database, and with a configuration that has faults. FILE is by default omnicdc-support-HOST-TIME.tar.gz in
    the present directory. Only its owner can read it. An existing file is not replaced.
    """
    from omnicdc.answers.bundle import archive
    from omnicdc.answers.bundle.collect import collect
    from omnicdc.cli.progress import waiting

    now = datetime.now(UTC)
    directory = f"omnicdc-support-{os.uname().nodename}-{now:%Y%m%dT%H%M%SZ}"
    path = Path(file or f"{directory}.tar.gz").absolute()
    try:
        config: Any = options.load(given)
    except ConfigError as exc:
        config = str(exc)
    more = {"doctor.json": lambda: _doctor(given)} if _has_doctor() else {}
    with archive.new_file(path) as fd, waiting("collecting"):
        bundle = collect(config, os.environ, more, journal_lines=journal, now=now)
        size = archive.write(fd, directory, bundle.parts, now)
    result = {"file": str(path), "bytes": size, "parts": list(bundle.parts), "missing": bundle.missing}

    def text() -> None:
        say(f"written: {path} ({size} bytes)", good=True)
        say(f"holds: {', '.join(bundle.parts)}")
        for why, names in bundle.reasons().items():
            say(f"missing: {', '.join(names)}: {why}")
        say(f"Look at it before you send it: `tar xzOf {path} | less`")

    answer(result, output, text)


def _has_doctor() -> bool:
    from omnicdc.cli import COMMANDS

    return "doctor" in COMMANDS


def _doctor(given: dict[str, Any]) -> str:
    """Return the answer of `omnicdc doctor`, run as a process: what it finds must not end this one."""
    from omnicdc.answers.bundle.report import Unavailable

    flags = [f"--{name.replace('_', '-')}={given[name]}" for name in FLAGS if given.get(name) is not None]
    try:
        done = subprocess.run(
            # -P: modules of the present directory do not replace those of the installation.
            [sys.executable, "-P", "-m", "omnicdc", "doctor", "--output=json", *flags],
            check=False, capture_output=True, text=True, timeout=DOCTOR_S, stdin=subprocess.DEVNULL,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise Unavailable(f"`omnicdc doctor` did not end within {DOCTOR_S:.0f} s") from None
    if not done.stdout.startswith("{"):
        raise Unavailable(done.stderr.strip() or f"`omnicdc doctor` ended with status {done.returncode}")
    return done.stdout
