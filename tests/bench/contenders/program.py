"""A consumer as a separate process, as the measuring process sees it. `recorder` is the other end."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path
    from typing import Self

QUIET_S = 0.1


class SilentError(Exception):
    """A consumer did not answer. The message has the end of its output."""


class Program:
    """`python -m bench.contenders.MODULE`, from its start to its end."""

    def __init__(self, module: str, dsn: str, directory: Path, env: Mapping[str, str]) -> None:
        directory.mkdir(parents=True)
        self._log = directory / "log"
        address = str(directory / "arrivals")
        self._arrivals = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._arrivals.bind(address)
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", f"bench.contenders.{module}", dsn, address],
                env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **env},
                cwd=directory,
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
            )

    def arrival(self, project: str, since: float, deadline_s: float) -> float:
        """Return the time of the arrival of a change, by the clock of the consumer, or raise SilentError."""
        deadline = time.monotonic() + deadline_s
        while (left := deadline - time.monotonic()) > 0 and self.process.poll() is None:
            if report := self._next_report(left):
                at, _, named = report.partition(" ")
                if named == project and float(at) >= since:
                    return float(at)
        raise SilentError(f"nothing arrived within {deadline_s} s: {self._last_output()}")

    def wait_until_quiet(self, deadline_s: float) -> None:
        """Return when nothing more arrives, or after the deadline."""
        deadline = time.monotonic() + deadline_s
        while time.monotonic() < deadline and self._next_report(QUIET_S):
            pass

    def send(self, line: str) -> None:
        """Send a line to the program."""
        assert self.process.stdin
        self.process.stdin.write(f"{line}\n".encode())
        self.process.stdin.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.process.kill()
        self.process.wait()
        if self.process.stdin:
            with suppress(BrokenPipeError):
                self.process.stdin.close()
        self._arrivals.close()

    def _next_report(self, seconds: float) -> str:
        """Return the next report, or "" after `seconds`."""
        self._arrivals.settimeout(seconds)
        try:
            return self._arrivals.recv(4096).decode()
        except TimeoutError:
            return ""

    def _last_output(self) -> str:
        return self._log.read_text(errors="replace").strip()[-300:] or "no output"
