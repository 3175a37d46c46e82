"""Runs a command on a pseudo-terminal: what the command shows, and what a user types."""

from __future__ import annotations

import os
import pty
import re
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from support.host import process

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

DEADLINE_S = 120.0
GREEN, RED = "\x1b[32m", "\x1b[31m"

_CONTROL_SEQUENCE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


@dataclass(frozen=True, slots=True)
class Shown:
    """The output of a command, and its exit status."""

    status: int
    raw: str
    """The output with control sequences: colours and moves of the cursor."""

    @property
    def text(self) -> str:
        """The output without control sequences."""
        return _CONTROL_SEQUENCE.sub("", self.raw).replace("\r", "")

    def line(self, beginning: str) -> str:
        """Return the one line that starts with `beginning`."""
        [found] = [line for line in self.text.split("\n") if line.startswith(beginning)]
        return found


def on_a_terminal(
    command: Sequence[str], env: Mapping[str, str], *, typed: str = "", columns: int = 200
) -> Shown:
    """Run a command to its end on a new terminal, with `typed` as its input."""
    parent_end, child_end = pty.openpty()
    os.write(parent_end, typed.encode())
    env = {"TERM": "xterm-256color", "COLUMNS": str(columns), **env}
    with process(command, env, stdin=child_end, stdout=child_end, stderr=child_end) as running:
        os.close(child_end)
        raw = b""
        with suppress(OSError):  # Linux says EIO once the other end is closed
            while chunk := os.read(parent_end, 65536):
                raw += chunk
        os.close(parent_end)
        return Shown(running.wait(DEADLINE_S), raw.decode(errors="replace"))
