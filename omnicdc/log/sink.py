"""Writes log events to a pipe, a socket or a terminal without blocking, though the reader is slow or gone.

What is logged is decided in `events`. (The log of changes is another one: table omnicdc.change.)
"""

from __future__ import annotations

import atexit
import os
import select
import stat
import threading
import time
from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TextIO

CAPACITY = 1 << 20
"""Bytes of lines that wait for the reader; what comes when they are more is dropped and counted."""

PATIENCE_S = 2.0
"""How long at most a caller waits for a reader that does read, and the end of the process for one that does
not."""

_LOOK_S = 0.02
"""How often it is looked whether the reader reads."""


def has_reader(stream: TextIO) -> bool:
    """Whether a write may wait for a reader. A file, or what is no file at all, has none."""
    try:
        mode = os.fstat(stream.fileno()).st_mode
    except (OSError, ValueError):
        return False
    return stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode) or stat.S_ISCHR(mode)


class Sink:
    """Writes to the file descriptor of `stream` in a thread of its own, in the order of the calls.

    A call returns when its line is written; where the reader does not read, it leaves the line in a queue and
    returns at once. What does not fit into the queue is dropped. When the reader reads again, `dropped_line`
    makes the line that says how many were.

    A thread, as no write can be made not to wait: O_NONBLOCK would hold for the other processes that share
    the pipe, and a pipe that has room when it is looked at may be filled by them a moment later.
    """

    def __init__(self, stream: TextIO, dropped_line: Callable[[int], str], capacity: int = CAPACITY) -> None:
        self._stream = stream
        self._capacity = capacity
        self._dropped_line = dropped_line
        self._process = 0
        self._changed = threading.Condition()
        self._queue: deque[bytes] = deque()
        self._queued = self._dropped = 0
        self._stuck = False
        self._begin()

    def write(self, line: str) -> None:
        """Write a line, or leave it in the queue, or drop it; a closed or failing stream is no error."""
        if self._stream.closed:
            return
        data = line.encode(self._stream.encoding or "utf-8", "backslashreplace")
        self._begin()
        with self._changed:
            if self._dropped or self._queued + len(data) > self._capacity:
                self._dropped += 1
                return
            self._queue.append(data)
            self._queued += len(data)
            self._changed.notify_all()
            if not self._stuck:
                self._stuck = not self._written(while_it_reads=True)

    def flush(self) -> None:
        """Do nothing: `write` has done it."""

    def drain(self) -> None:
        """Wait until all is written, but no longer than PATIENCE_S."""
        with self._changed:
            if self._process == os.getpid():
                self._written(while_it_reads=False)

    def _begin(self) -> None:
        """Start the thread; after a fork the child has none, and what was queued is the parent's to write."""
        if self._process == os.getpid():
            return
        if self._process:
            atexit.unregister(self.drain)
        self._process = os.getpid()
        self._changed = threading.Condition()
        self._queue = deque()
        self._queued = self._dropped = 0
        self._stuck = False
        threading.Thread(target=self._run, name="log", daemon=True).start()
        atexit.register(self.drain)

    def _written(self, *, while_it_reads: bool) -> bool:
        """Wait until nothing is left to write; returns whether that came."""
        deadline = time.monotonic() + PATIENCE_S
        while not self._changed.wait_for(self._idle, _LOOK_S):
            if time.monotonic() > deadline or (while_it_reads and not self._reader_reads()):
                return False
        return True

    def _idle(self) -> bool:
        return not (self._queue or self._dropped)

    def _reader_reads(self) -> bool:
        """Whether there is room: then only this process is slow."""
        poll = select.poll()
        try:
            poll.register(self._stream.fileno(), select.POLLOUT)
            return bool(poll.poll(0))
        except (OSError, ValueError):
            return False

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: not self._idle())
                if not self._queue:
                    line = self._dropped_line(self._dropped).encode()
                    self._queue.append(line)
                    self._queued += len(line)
                    self._dropped = 0
                data = self._queue[0]
            self._write(data)
            with self._changed:
                self._queue.popleft()
                self._queued -= len(data)
                if self._idle():
                    self._stuck = False
                    self._changed.notify_all()

    def _write(self, data: bytes) -> None:
        """Write all of it; a full disk or a closed pipe must not end the work."""
        left = memoryview(data)
        while left:
            try:
                left = left[os.write(self._stream.fileno(), left) :]
            except BlockingIOError:  # a process that shares the pipe has made it so
                poll = select.poll()
                poll.register(self._stream.fileno(), select.POLLOUT)
                poll.poll()
            except (OSError, ValueError):
                return
