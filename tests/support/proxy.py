"""What may stand between the daemon and its server.

A proxy on loopback that forwards bytes, until it is told not to.
"""

from __future__ import annotations

import select
import socket
import threading
from contextlib import suppress
from typing import Self

from psycopg.conninfo import conninfo_to_dict, make_conninfo

PIECE = 65536
NOTIFICATION = b"A"
"""The type of the message that carries one:
https://www.postgresql.org/docs/current/protocol-message-formats.html."""


class _Messages:
    """Cuts what a server sends into messages, and keeps the beginning of one until the rest of it comes."""

    def __init__(self) -> None:
        self._left = b""

    def without_notifications(self, piece: bytes, *, drop: bool) -> bytes:
        """Return the messages that are complete now."""
        data, passed = self._left + piece, []
        while len(data) >= 5 and len(data) > (length := int.from_bytes(data[1:5])):
            message, data = data[: length + 1], data[length + 1 :]
            if not (drop and message[:1] == NOTIFICATION):
                passed.append(message)
        self._left = data
        return b"".join(passed)


class Proxy:
    """Forwards each connection to the server of a connection string; a context manager.

    Deaf, it still takes connections and bytes, as the kernel acknowledges them for it, and passes none on.
    Mute, it loses notifications and nothing else.
    """

    def __init__(self, dsn: str) -> None:
        info = conninfo_to_dict(dsn)
        self._server = f"{info['host']}/.s.PGSQL.{info.get('port') or 5432}"
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._passing = threading.Event()
        self._passing.set()
        self._ended = False
        self.mute = False
        self._open: list[socket.socket] = []
        self.dsn = make_conninfo(
            dsn,
            host="127.0.0.1",
            port=self._listener.getsockname()[1],
            sslmode="disable",
            gssencmode="disable",
        )
        threading.Thread(target=self._accept, daemon=True).start()

    def go_deaf(self) -> None:
        """Pass nothing on any more, and close nothing."""
        self._passing.clear()

    def heal(self) -> None:
        """Pass on what comes; connections that were made meanwhile are served."""
        self._passing.set()

    def cut(self) -> None:
        """Close every connection."""
        opened, self._open = self._open, []
        for end in opened:
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        with suppress(OSError):  # closed
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._forward, args=(client,), daemon=True).start()

    def _forward(self, client: socket.socket) -> None:
        with client, socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as server, suppress(OSError):
            server.connect(self._server)
            self._open += [client, server]
            other = {client: server, server: client}
            messages = _Messages()
            while True:
                for end in select.select([client, server], [], [])[0]:
                    self._passing.wait()
                    if self._ended or not (piece := end.recv(PIECE)):
                        return
                    if end is server:
                        piece = messages.without_notifications(piece, drop=self.mute)
                    other[end].sendall(piece)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Take no connection any more, and close those that there are; a repeat is harmless."""
        self._ended = True
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # ends accepting, which closing does not
        self._listener.close()
        self.cut()
        self._passing.set()
