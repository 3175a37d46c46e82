"""The floor: a NOTIFY that arrives, then the same bytes written and synced. No program can be faster."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

import psycopg

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Self


class Floor:
    """A listener and a notifier in one process, and files with the content of the registries."""

    def __init__(self, dsn: str, directory: Path, contents: list[bytes]) -> None:
        directory.mkdir()
        self._files = [(directory / str(number), data) for number, data in enumerate(contents)]
        self._writer = psycopg.connect(dsn)
        self._listener = psycopg.connect(dsn, autocommit=True)
        self._listener.execute("listen floor")

    def once(self) -> float:
        """Return the milliseconds from before the commit to the last rename."""
        self._writer.execute("select pg_notify('floor', '')")
        began = time.perf_counter()
        self._writer.commit()
        next(self._listener.notifies(stop_after=1))
        for path, data in self._files:
            write(path, data)
        return (time.perf_counter() - began) * 1000

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self._writer.close()
        self._listener.close()


def write(path: Path, data: bytes) -> None:
    """Write, fsync and rename: the minimum for an atomic and durable file."""
    temporary = path.with_suffix(".new")
    file = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    try:
        done = 0
        while done < len(data):
            done += os.write(file, memoryview(data)[done:])
        os.fsync(file)
    finally:
        os.close(file)
    temporary.rename(path)
