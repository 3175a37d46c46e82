"""A pipe that is full and that nobody reads, until the test does."""

from __future__ import annotations

import fcntl
import os
from contextlib import suppress
from typing import Self

_FILLING = b"." * 512


class FullPipe:
    """As small as a pipe can be, and full; a context manager."""

    def __init__(self) -> None:
        self.reading, self.writing = os.pipe()
        fcntl.fcntl(self.writing, fcntl.F_SETPIPE_SZ, 4096)
        os.set_blocking(self.writing, False)
        with suppress(BlockingIOError):
            while True:
                os.write(self.writing, _FILLING)
        os.set_blocking(self.writing, True)

    def __enter__(self) -> Self:
        """Be full."""
        return self

    def __exit__(self, *_exc: object) -> None:
        """Close both ends."""
        for end in (self.reading, self.writing):
            with suppress(OSError):
                os.close(end)

    def lines(self) -> list[str]:
        """Read what is written until the last writer closes its end; the filling is left out."""
        os.close(self.writing)
        with os.fdopen(self.reading, closefd=False) as stream:
            return stream.read().lstrip(".").splitlines()
