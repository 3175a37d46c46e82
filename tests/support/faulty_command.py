"""The command `omnicdc` with a daemon that meets faults at named points. It runs as a separate program.

The variable FAULTS names a file with lines `POINT: ACTION`. At each point, the daemon reads the file and runs
the matching actions. A point is what `pipeline.run_once` passes to its observer (`rename git`,
`acknowledged`); `*` matches the rest of a name. Actions are `kill` (SIGKILL), `hang`, `slow` (a second), or
the name of an errno, which is raised as the system would raise it. Without the file nothing happens.

The variable SHORTER holds words `NAME=SECONDS`, for fields of `daemon.timing.Timing` and of
`db.conninfo.Silence`. So tests of time-outs are short.
"""

from __future__ import annotations

import errno
import os
import signal
import sys
import time
from dataclasses import fields, replace
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from omnicdc import cli
from omnicdc.daemon import supervisor
from omnicdc.daemon.timing import USUAL, Timing
from omnicdc.db.conninfo import Silence

if TYPE_CHECKING:
    from collections.abc import Callable

    from omnicdc.config.settings import Config
    from omnicdc.daemon.signals import SignalFlags
    from omnicdc.daemon.systemd import Notifier

PROGRAM = (sys.executable, __file__)
FAULTS = "FAULTS"
SHORTER = "SHORTER"
SLOW_S = 1.0

SILENCES = [field.name for field in fields(Silence)]

_run = supervisor.run


def meet(faults: Path, point: str) -> None:
    """Run the actions of a point."""
    try:
        lines = faults.read_text().splitlines()
    except FileNotFoundError:
        return
    for line in lines:
        at, _, action = line.partition(": ")
        if fnmatchcase(point, at):
            do(action)


def do(action: str) -> None:
    """Kill this process, hang, wait, or raise an error."""
    if action == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if action == "hang":
        time.sleep(3600)  # until it is killed
    if action == "slow":
        time.sleep(SLOW_S)  # the slowness is the fault
        return
    number = getattr(errno, action)
    raise OSError(number, os.strerror(number))


def run(
    load: Callable[[], Config],
    signals: SignalFlags,
    notifier: Notifier,
    observe: Callable[[str], None],  # noqa: ARG001 - the observer of the command, which does nothing
    *,
    standby: bool = False,
    timing: Timing = USUAL,
) -> None:
    """Run the daemon with an observer that meets faults, and with shorter durations."""
    words = dict(word.split("=") for word in os.environ.get(SHORTER, "").split())
    given = {name: float(seconds) for name, seconds in words.items()}
    silence = Silence(**{name: given.pop(name) for name in SILENCES if name in given})

    def shortened() -> Config:
        config = load()
        return replace(config, target=replace(config.target, silence=silence))

    observer = partial(meet, Path(os.environ.get(FAULTS, os.devnull)))
    _run(shortened, signals, notifier, observer, standby=standby, timing=replace(timing, **given))  # type: ignore[arg-type]


def main() -> None:
    """Run the command with faults."""
    supervisor.run = run
    cli.main()


if __name__ == "__main__":
    main()
