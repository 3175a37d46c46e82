"""A pipe that is full. No process reads it until the test does."""

from __future__ import annotations

import fcntl
import os
from contextlib import suppress
from typing import Self

_FILLING = b"." * 512


class FullPipe:
    """The smallest possible pipe, filled; a context manager."""

    def __init__(self) -> None:
        self.reading, self.writing = os.pipe()
        fcntl.fcntl(self.writing, fcntl.F_SETPIPE_SZ, 4096)
        os.set_blocking(self.writing, False)
        with suppress(BlockingIOError):
            while True:
                os.write(self.writing, _FILLING)
        os.set_blocking(self.writing, True)

    def __enter__(self) -> Self:
        """Return the pipe, which is already full."""
        return self

    def __exit__(self, *_exc: object) -> None:
        """Close both ends."""
        for end in (self.reading, self.writing):
            with suppress(OSError):
                os.close(end)

    def lines(self) -> list[str]:
        """Return the lines that are written until the last writer closes its end, without the filling."""
        os.close(self.writing)
        with os.fdopen(self.reading, closefd=False) as stream:
            return stream.read().lstrip(".").splitlines()
