"""A terminal as a person has it: what a command shows on it, and what is typed."""

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

_OBEYED = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


@dataclass(frozen=True, slots=True)
class Shown:
    """What a command showed, and how it ended."""

    status: int
    raw: str
    """With what the terminal obeys: colours, and the ways of its cursor."""

    @property
    def text(self) -> str:
        """What a person reads."""
        return _OBEYED.sub("", self.raw).replace("\r", "")

    def line(self, beginning: str) -> str:
        """Return the one line that begins so."""
        [found] = [line for line in self.text.split("\n") if line.startswith(beginning)]
        return found


def on_a_terminal(
    command: Sequence[str], env: Mapping[str, str], *, typed: str = "", columns: int = 200
) -> Shown:
    """Run a command to its end on a terminal of its own, where somebody types."""
    ours, theirs = pty.openpty()
    os.write(ours, typed.encode())
    env = {"TERM": "xterm-256color", "COLUMNS": str(columns), **env}
    with process(command, env, stdin=theirs, stdout=theirs, stderr=theirs) as running:
        os.close(theirs)
        raw = b""
        with suppress(OSError):  # Linux says EIO once the other end is closed
            while chunk := os.read(ours, 65536):
                raw += chunk
        os.close(ours)
        return Shown(running.wait(DEADLINE_S), raw.decode(errors="replace"))
