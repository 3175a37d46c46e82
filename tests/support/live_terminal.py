"""A command that runs on a pseudo-terminal until the test ends it."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import signal
import struct
import termios
import time
from typing import TYPE_CHECKING, Self

from support.host import DEADLINE_S, process

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_CONTROL_SEQUENCE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


class LiveTerminal:
    """The terminal and the command; a context manager."""

    def __init__(self, command: Sequence[str], env: Mapping[str, str], *, rows: int, columns: int) -> None:
        self._parent, child = pty.openpty()
        self.raw = ""
        self.resize(rows, columns)
        self.process = process(
            command, {"TERM": "xterm-256color", **env}, stdin=child, stdout=child, stderr=child
        )
        os.close(child)

    def resize(self, rows: int, columns: int) -> None:
        """Give the terminal another size, as a window manager does."""
        fcntl.ioctl(self._parent, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def until(self, text: str) -> str:
        """Read until the text is shown, from here on; return what was read, without control sequences."""
        read, deadline = "", time.monotonic() + DEADLINE_S
        while text not in read:
            assert time.monotonic() < deadline, f"{text!r} is not in {read!r}"
            if select.select([self._parent], [], [], 0.2)[0]:
                chunk = os.read(self._parent, 65536).decode(errors="replace")
                self.raw += chunk
                read += _CONTROL_SEQUENCE.sub("", chunk).replace("\r", "")
        return read

    def end(self, how: signal.Signals = signal.SIGINT) -> int:
        """Send a signal, as Ctrl-C does; read all output, and return the exit status."""
        self.process.send_signal(how)
        deadline = time.monotonic() + DEADLINE_S
        while time.monotonic() < deadline:
            try:
                chunk = os.read(self._parent, 65536)
            except OSError:  # Linux says EIO once the other end is closed
                break
            self.raw += chunk.decode(errors="replace")
        return self.process.wait(DEADLINE_S)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self._parent)
