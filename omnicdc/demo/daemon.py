"""`omnicdc run` as a process of its own, as systemd would start it, and the log that it writes."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from omnicdc.errors import OmnicdcError

if TYPE_CHECKING:
    from pathlib import Path

    from omnicdc.stop import Stop

START_S = 30.0
END_S = 10.0
LOOK_S = 0.005

Event = Mapping[str, Any]
"""One line of the daemon's log."""


class Daemon:
    """The process and its log; `end` ends it, and nothing else."""

    def __init__(self, command: list[str], environ: Mapping[str, str], log: Path) -> None:
        """Start it, in a session of its own: Ctrl-C on the terminal is for the demo, which then stops this."""
        self._log = log
        with log.open("ab") as stream:
            self._process = subprocess.Popen(
                command, env=dict(environ), stdin=subprocess.DEVNULL, stdout=stream, stderr=stream,
                start_new_session=True,
            )  # fmt: skip

    @property
    def pid(self) -> int:
        """The process's number."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether it runs."""
        return self._process.poll() is None

    def events(self) -> list[Event]:
        """Return what it logged so far; a line that is not complete, or not JSON, is left out."""
        found: list[Event] = []
        for line in self._log.read_bytes().split(b"\n")[:-1]:
            try:
                event = json.loads(line)
            except ValueError:
                continue
            if isinstance(event, dict):
                found.append(event)
        return found

    def wait_for(self, name: str, stop: Stop, *, deadline_s: float = START_S, **keys: object) -> Event:
        """Return the first event of this name with these keys.

        Raises OmnicdcError, with what was logged last, if the daemon ends or the time is up before,
        KeyboardInterrupt if a stop is asked for.
        """
        end = time.monotonic() + deadline_s
        while True:
            alive = self.alive
            for event in self.events():
                if event.get("event") == name and keys.items() <= event.items():
                    return event
            if stop.requested:
                raise KeyboardInterrupt
            if not alive or time.monotonic() > end:
                raise OmnicdcError(f"the daemon {'is silent' if alive else 'ended'}: {self._last_words()}")
            stop.wait(LOOK_S)

    def end(self) -> None:
        """Ask it to stop; insist after a while. A repeat is harmless."""
        if not self.alive:
            return
        self._process.terminate()
        try:
            self._process.wait(END_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _last_words(self) -> str:
        return self._log.read_text("utf-8", "replace").strip()[-500:] or "it said nothing"
