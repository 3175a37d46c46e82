"""A daemon as a process: start it, wait until it has published, stop it."""

from __future__ import annotations

import subprocess
import sys
import time
from typing import TYPE_CHECKING

from omnicdc.delivery.wait import wait
from omnicdc.errors import OmnicdcError

if TYPE_CHECKING:
    from collections.abc import Mapping, MutableMapping
    from pathlib import Path

    from omnicdc.db import Connection
    from omnicdc.stop import Stop

START_S = 60.0
"""Longest time from the start of a daemon to its first publication, on a busy machine."""
END_S = 10.0
LOOK_S = 1.0
"""Time in seconds between two checks whether the daemon still runs."""

_FOREIGN = ("OMNICDC_", "CMP_DB_", "PG", "NOTIFY_SOCKET", "WATCHDOG_USEC", "CREDENTIALS_", "STATE_DIRECTORY")
"""Prefixes of environment variables that may lead to a real CMP or to systemd."""


def isolate(environ: MutableMapping[str, str]) -> None:
    """Remove what may lead to a real CMP or to systemd: libpq reads a process's environment."""
    for name in [name for name in environ if name.startswith(_FOREIGN)]:
        del environ[name]
    environ["OMNICDC_CONFIG"] = ""  # nor does this host's own configuration


def start(environ: Mapping[str, str], log: Path) -> subprocess.Popen[bytes]:
    """Start `omnicdc run`; its log is appended to a file."""
    with log.open("ab") as output:
        return subprocess.Popen(
            # -P: modules of the present directory do not replace those of the installation.
            [sys.executable, "-P", "-m", "omnicdc", "run"], env=dict(environ),
            stdin=subprocess.DEVNULL, stdout=output, stderr=output,
            start_new_session=True,  # Ctrl-C goes only to the parent, which then stops the daemon
        )  # fmt: skip


def stop_process(process: subprocess.Popen[bytes], within_s: float = END_S) -> None:
    """Stop a daemon, and kill it if that takes longer. A repeat does nothing."""
    process.terminate()
    try:
        process.wait(within_s)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def await_publication(conn: Connection, process: subprocess.Popen[bytes], log: Path, stop: Stop) -> None:
    """Wait until the daemon has published everything that is committed.

    Raises OmnicdcError, with the end of the daemon's log, if it ends or is too slow, and KeyboardInterrupt if
    a stop was requested.
    """
    deadline = time.monotonic() + START_S
    while not (verdict := wait(conn, timeout_s=LOOK_S, stop=stop)).arrived:
        if stop.requested:
            raise KeyboardInterrupt
        if process.poll() is not None or time.monotonic() > deadline:
            raise OmnicdcError(f"the daemon did not publish: {verdict.detail}; its log: {end_of(log)}")


def end_of(log: Path, characters: int = 500) -> str:
    """Return the end of a log."""
    return log.read_text("utf-8", "replace")[-characters:].strip()
