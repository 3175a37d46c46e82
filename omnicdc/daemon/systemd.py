"""Talks to systemd as sd_notify(3) does: one datagram to the socket that NOTIFY_SOCKET names."""

from __future__ import annotations

import socket
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


class Notifier:
    """Says how the daemon is; says nothing when it was not started by systemd."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        address = environ.get("NOTIFY_SOCKET", "")
        # A leading @ stands for the NUL of the abstract namespace.
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self._ready = False
        self._said = ""

    def tell(self, status: str) -> None:
        """Give one line for `systemctl status`.

        The first since a start or a reload says that it is ready, too.

        A repeat says nothing, unless systemd could not take it.
        """
        if self._ready and status == self._said:
            return
        if self._send(f"STATUS={status}" if self._ready else f"READY=1\nSTATUS={status}"):
            self._ready, self._said = True, status

    def waiting(self, what: str) -> None:
        """Say what is being waited for. Waiting counts as ready: a boot must not wait with us."""
        self.tell(f"waiting for {what}")
        self.alive()

    def alive(self) -> None:
        """Keep the watchdog quiet; called only when the loop has come round."""
        self._send("WATCHDOG=1")

    def reloading(self) -> None:
        """Say that a reload began; `tell` ends it."""
        self._ready = False
        self._send(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self) -> None:
        """Say that the end has begun."""
        self._send("STOPPING=1\nSTATUS=stopping")

    def _send(self, message: str) -> bool:
        """Send without waiting; returns whether it was sent, or systemd does not listen."""
        if not self._address:
            return True
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
            # Whoever does not read what was sent must not hold up the registries.
            sock.setblocking(False)
            try:
                sock.connect(self._address)
                sock.sendall(message.encode())
            except BlockingIOError:
                return False
            except OSError:
                return True
        return True
