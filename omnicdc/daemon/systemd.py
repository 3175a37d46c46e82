"""Talks to systemd as sd_notify(3) does: one datagram to the socket that NOTIFY_SOCKET names."""

from __future__ import annotations

import socket
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime


class Notifier:
    """Reports the daemon's state to systemd; does nothing if systemd did not start the daemon."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        address = environ.get("NOTIFY_SOCKET", "")
        # A leading @ stands for the NUL byte of the abstract socket namespace.
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self._ready = False
        self._status = ""
        self.current_at: datetime | None = None
        """When the files last held everything that was committed; None before the first time."""
        self.alive_at = time.monotonic()
        """When the loop last made progress, by `time.monotonic`. Any thread may read it."""

    def degraded(self, fault: str) -> None:
        """Report a fault that is being retried, and how old the files are."""
        age = f"; the files show CMP of {self.current_at:%Y-%m-%dT%H:%M:%SZ}" if self.current_at else ""
        self.tell(f"degraded: {fault}{age}")
        self.alive()

    def tell(self, status: str) -> None:
        """Send one line for `systemctl status`.

        The first line after a start or a reload also reports that the daemon is ready. A repeat of the same
        line is not sent, unless sending it failed before.
        """
        if self._ready and status == self._status:
            return
        if self._send(f"STATUS={status}" if self._ready else f"READY=1\nSTATUS={status}"):
            self._ready, self._status = True, status

    def waiting(self, what: str) -> None:
        """Report what the daemon waits for. A waiting daemon counts as ready, so that it delays no boot."""
        self.tell(f"waiting for {what}")
        self.alive()

    def alive(self) -> None:
        """Send the watchdog's signal. Call this only when the loop makes progress."""
        self.alive_at = time.monotonic()
        self._send("WATCHDOG=1")

    def reloading(self) -> None:
        """Report that a reload has begun. The next `tell` reports its end."""
        self._ready = False
        self._send(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self) -> None:
        """Report that the daemon is stopping."""
        self._send("STOPPING=1\nSTATUS=stopping")

    def _send(self, message: str) -> bool:
        """Send a message without waiting.

        Returns false if the message should be sent again later: the socket's buffer is full. Returns true if
        the message was sent, or if nothing listens on the socket.
        """
        if not self._address:
            return True
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
            # A reader that does not read must not delay the registries.
            sock.setblocking(False)
            try:
                sock.connect(self._address)
                sock.sendall(message.encode())
            except BlockingIOError:
                return False
            except OSError:
                return True
        return True
