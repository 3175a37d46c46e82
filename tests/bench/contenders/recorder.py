"""The consumer's side of the measurement: tells of each arrival, and when it was.

Its other end is `program`.
"""

from __future__ import annotations

import socket
import sys
import time
from contextlib import suppress


class Recorder:
    """Where a consumer's arguments say that arrivals are told.

    The same for everybody, so that it costs everybody the same.
    """

    def __init__(self) -> None:
        self.dsn, address = sys.argv[1:]
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        self._socket.connect(address)

    def arrived(self, project: str) -> None:
        """Tell that a project's change is here.

        Nobody listens while throughput is measured: then it is dropped.
        """
        with suppress(BlockingIOError):
            self._socket.send(f"{time.time()} {project}".encode())
