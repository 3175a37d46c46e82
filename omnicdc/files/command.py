"""Runs an operator's command: a check of a new file, or a hook after a publication.

The command gets none of the daemon's settings, because these may hold secrets.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from omnicdc.formats.text import shortened
from omnicdc.stop import SLICE_S

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from omnicdc.stop import Stop

REST_S = 1.0
"""How many seconds to wait for the output of a command that was killed."""

MOST_OUTPUT = 2000
"""Characters of a command's output that are kept."""


@dataclass(frozen=True, slots=True)
class Ended:
    """How a command ended. `fault` is empty if it succeeded."""

    fault: str
    output: str
    """The end of what it wrote, on one line, escaped."""


def run_command(
    command: Sequence[str],
    timeout_s: float,
    environ: Mapping[str, str] | None = None,
    stdin: bytes = b"",
    stop: Stop | None = None,
) -> Ended:
    """Run a command to its end, without a shell, in a process group of its own. Raises nothing.

    After `timeout_s` seconds, or if a stop is requested, the whole group is killed.
    """
    known = {"PATH": os.environ.get("PATH", os.defpath), "LANG": "C.UTF-8", **(environ or {})}
    try:
        process = subprocess.Popen(
            [*command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=known,
            start_new_session=True,
        )
    except (OSError, ValueError) as exc:
        return Ended(f"{command[0]}: {getattr(exc, 'strerror', None) or exc}", "")
    with process:
        output = _communicated(process, stdin, timeout_s, stop)
        if output is None:
            _kill_group(process)
            why = "stopped" if stop and stop.requested else f"not finished within {timeout_s:g} s"
            return Ended(f"{command[0]}: {why}", _kept(_rest(process)))
    if process.returncode < 0:
        return Ended(f"{command[0]}: ended by {signal.Signals(-process.returncode).name}", _kept(output))
    return Ended(
        f"{command[0]}: exit status {process.returncode}" if process.returncode else "", _kept(output)
    )


def _communicated(
    process: subprocess.Popen[bytes], stdin: bytes, timeout_s: float, stop: Stop | None
) -> bytes | None:
    """Return what the command writes until its end; None if it should be killed."""
    ends_at, given = time.monotonic() + timeout_s, stdin or None
    while not (stop and stop.requested) and (left := ends_at - time.monotonic()) > 0:
        try:
            return process.communicate(given, timeout=min(left, SLICE_S) if stop else left)[0]
        except subprocess.TimeoutExpired:
            given = None  # the library remembers what it has not written yet
    return None


def _rest(process: subprocess.Popen[bytes]) -> bytes:
    """Return what a killed command has written. A child that left the group may still hold its output."""
    try:
        return process.communicate(timeout=REST_S)[0]
    except subprocess.TimeoutExpired as exc:
        return exc.output or b""


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def _kept(output: bytes) -> str:
    text = " | ".join(output.decode(errors="replace").strip().splitlines())
    return shortened(text[-MOST_OUTPUT:], MOST_OUTPUT)
