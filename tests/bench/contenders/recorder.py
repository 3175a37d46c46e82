"""The consumer's side of the measurement: reports the time of each arrival. `program` is the other end."""

from __future__ import annotations

import socket
import sys
import time
from contextlib import suppress


class Recorder:
    """Reports arrivals to the socket in the arguments of the program.

    All contenders use it, so that the cost is the same for all.
    """

    def __init__(self) -> None:
        self.dsn, address = sys.argv[1:]
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        self._socket.connect(address)

    def arrived(self, project: str) -> None:
        """Report that the change of a project has arrived.

        While throughput is measured, no process reads the reports, and they are dropped.
        """
        with suppress(BlockingIOError):
            self._socket.send(f"{time.time()} {project}".encode())
