"""The command `omnicdc`, whose daemon meets faults at named points: a program, started as the command is.

The file that FAULTS names holds lines `POINT: DEED`; each time the daemon passes a point, the file is read,
and a deed found there is done. A point is what `pipeline.run_once` tells its observer (`rename git`,
`acknowledged`); `*` stands for the rest of a name. Deeds: `kill` (SIGKILL), `hang`, or the name of an errno,
raised as the system would. Without the file nothing happens: removing it repairs everything.

SHORTER holds words `NAME=SECONDS`, for the fields of `daemon.timing.Timing` and `db.conninfo.Silence`, so
that a test of a time-out need not wait for as long as an operator would.
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

SILENCES = [field.name for field in fields(Silence)]

_run = supervisor.run


def meet(faults: Path, point: str) -> None:
    """Do what is to be done at a point."""
    try:
        lines = faults.read_text().splitlines()
    except FileNotFoundError:
        return
    for line in lines:
        at, _, deed = line.partition(": ")
        if fnmatchcase(point, at):
            do(deed)


def do(deed: str) -> None:
    """Kill, hang, or fail."""
    if deed == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if deed == "hang":
        time.sleep(3600)  # until it is killed
    number = getattr(errno, deed)
    raise OSError(number, os.strerror(number))


def run(
    load: Callable[[], Config],
    signals: SignalFlags,
    notifier: Notifier,
    observe: Callable[[str], None],  # noqa: ARG001 - the command's own, which observes nothing
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
    """Be the command."""
    supervisor.run = run
    cli.main()


if __name__ == "__main__":
    main()
