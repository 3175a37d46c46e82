"""Reads the file that holds the database's password, within a time limit.

The file is read again for each connection, so a new password needs no restart. A pipe can be read only once,
so its content is kept in memory. A thread does the reading, because reading may block: opening a pipe waits
for a writer, and a network file system may not answer.
"""

from __future__ import annotations

import os
import stat
import threading
from typing import TYPE_CHECKING

from omnicdc.db.dial import in_time
from omnicdc.errors import DatabaseUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

LONGEST = 65_536
"""The largest size of a password in bytes. A limit is needed, because reading a device may never end."""


class PasswordFile:
    """One file with a password. Threads may share an object; objects with the same path are equal."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._reading: _Reading | None = None

    def __str__(self) -> str:
        """Return the path."""
        return str(self.path)

    def __eq__(self, other: object) -> bool:
        """Whether both have the same path. Symlinks are not resolved."""
        return isinstance(other, PasswordFile) and self.path == other.path

    def __hash__(self) -> int:
        """Return the hash of the path."""
        return hash(self.path)

    def read(self, budget_s: float, going_on: Callable[[], bool] | None = None) -> str:
        """Return the password, without the newline that editors leave at a file's end.

        Raises ValueError if the file holds no password, DatabaseUnavailable after `budget_s` seconds, and
        Interrupted as soon as `going_on()` returns false. After that the thread continues to read, and a
        later call waits for the same thread. So the content of a pipe is not lost.
        """
        with self._lock:
            if self._reading is None or self._reading.is_old:
                self._reading = _Reading(self.path)
            reading = self._reading
        if not in_time(reading.ended, budget_s, going_on, f"reading {self.path}"):
            raise DatabaseUnavailable(
                f"password_file {self.path}: no answer within {round(budget_s, 1):g} s",
                hint="is it a pipe that nothing writes to, or on a file system that hangs?",
            )
        return reading.password()


class _Reading:
    """One attempt to read the file, in a thread that does not keep the process from ending."""

    def __init__(self, path: Path) -> None:
        self.ended = threading.Event()
        self.from_pipe = False
        self._path = path
        self._content = b""
        self._failure: OSError | None = None
        threading.Thread(target=self._run, name="password", daemon=True).start()

    def _run(self) -> None:
        try:
            with open(self._path, "rb") as file:  # noqa: PTH123 - waits for the writer of a pipe
                self.from_pipe = not stat.S_ISREG(os.fstat(file.fileno()).st_mode)
                self._content = file.read(LONGEST + 1)
        except OSError as exc:
            self.from_pipe, self._failure = False, exc
        finally:
            self.ended.set()

    @property
    def is_old(self) -> bool:
        """Whether the file should be read again.

        False until this attempt has ended, and false if it has read a password from a pipe: the pipe is empty
        now.
        """
        return self.ended.is_set() and not (self.from_pipe and self._content)

    def password(self) -> str:
        """Return the content as a password. Raises ValueError, whose message shows no part of the content."""
        if self._failure:
            raise ValueError(f"{self._path}: {self._failure.strerror}") from self._failure
        found = self._content.removesuffix(b"\n").removesuffix(b"\r")
        if not found:
            kind = (
                "pipe: can it be read only once?" if self.from_pipe else "file - write the password into it"
            )
            raise ValueError(f"{self._path}: no password in it, an empty {kind}")
        if len(self._content) > LONGEST or b"\0" in found:
            raise ValueError(
                f"{self._path}: not a password: it holds NUL bytes, or more than {LONGEST} bytes"
            )
        try:
            return found.decode()
        except UnicodeDecodeError:
            raise ValueError(f"{self._path}: a password in UTF-8 expected") from None
