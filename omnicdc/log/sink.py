"""Writes log lines to a pipe, a socket or a terminal without blocking, even if the reader is slow or gone.

The module `events` makes the lines. (The log of changes is something else: the table omnicdc.change.)
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
"""The largest number of bytes that wait for the reader. Further lines are dropped and counted."""

PATIENCE_S = 2.0
"""The longest time in seconds that a call of `write` waits for a reader that reads slowly, and that the end
of the process waits for one that does not read."""

_CHECK_S = 0.02
"""Seconds between two checks whether the reader reads."""


def has_reader(stream: TextIO) -> bool:
    """Whether a write may block because of a slow reader: true for a pipe, a socket and a terminal."""
    try:
        mode = os.fstat(stream.fileno()).st_mode
    except (OSError, ValueError):
        return False
    return stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode) or stat.S_ISCHR(mode)


class Sink:
    """Writes lines to the file descriptor of `stream` in a separate thread, in the order of the calls.

    `write` returns when its line is written. If the reader does not read, `write` leaves the line in a queue
    and returns at once. A line that does not fit into the queue is dropped. When the reader reads again, the
    line that `dropped_line` returns says how many lines were dropped.

    A thread is needed, because no write is guaranteed not to block. O_NONBLOCK would also apply to the other
    processes that share the pipe. And a check for room does not help, because other processes may fill the
    pipe a moment later.
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
        self._start_thread()

    def write(self, line: str) -> None:
        """Write a line, or leave it in the queue, or drop it. A closed or failing stream is not an error."""
        if self._stream.closed:
            return
        data = line.encode(self._stream.encoding or "utf-8", "backslashreplace")
        self._start_thread()
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
        """Do nothing: `write` needs no flush."""

    def drain(self) -> None:
        """Wait until all lines are written, for at most PATIENCE_S seconds."""
        with self._changed:
            if self._process == os.getpid():
                self._written(while_it_reads=False)

    def _start_thread(self) -> None:
        """Start the thread, unless it runs in this process.

        A forked child process has no thread. It begins with an empty queue, because the parent writes the
        lines of its own queue.
        """
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
        """Wait until nothing is left to write, for at most PATIENCE_S seconds; return whether it is written.

        With `while_it_reads`, give up as soon as the reader does not read.
        """
        deadline = time.monotonic() + PATIENCE_S
        while not self._changed.wait_for(self._idle, _CHECK_S):
            if time.monotonic() > deadline or (while_it_reads and not self._reader_reads()):
                return False
        return True

    def _idle(self) -> bool:
        return not (self._queue or self._dropped)

    def _reader_reads(self) -> bool:
        """Whether the stream has room for more, so that the reader is not the cause of the delay."""
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
        """Write all of `data`, and ignore errors: a closed pipe must not end the program's work."""
        left = memoryview(data)
        while left:
            try:
                left = left[os.write(self._stream.fileno(), left) :]
            except BlockingIOError:  # another process that shares the pipe has set O_NONBLOCK
                poll = select.poll()
                poll.register(self._stream.fileno(), select.POLLOUT)
                poll.poll()
            except (OSError, ValueError):
                return
