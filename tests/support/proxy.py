"""A proxy on loopback between the daemon and its server. It forwards bytes, or fails as a test needs it."""

from __future__ import annotations

import select
import socket
import threading
from contextlib import suppress
from typing import Self

from psycopg.conninfo import conninfo_to_dict, make_conninfo

CHUNK = 65536
NOTIFICATION = b"A"
"""The type of the message with a notification:
https://www.postgresql.org/docs/current/protocol-message-formats.html."""


class _Messages:
    """Splits the bytes of a server into messages. Keeps an incomplete message until the rest arrives."""

    def __init__(self) -> None:
        self._left = b""

    def without_notifications(self, chunk: bytes, *, drop: bool) -> bytes:
        """Return the messages that are complete now; with `drop`, without notifications."""
        data, passed = self._left + chunk, []
        while len(data) >= 5 and len(data) > (length := int.from_bytes(data[1:5])):
            message, data = data[: length + 1], data[length + 1 :]
            if not (drop and message[:1] == NOTIFICATION):
                passed.append(message)
        self._left = data
        return b"".join(passed)


class Proxy:
    """Forwards each connection to the server of a connection string; a context manager.

    After `stop_forwarding`, the kernel still accepts connections and bytes, but the proxy forwards nothing.
    With `drop_notifications`, it loses notifications and nothing else.
    """

    def __init__(self, dsn: str) -> None:
        info = conninfo_to_dict(dsn)
        self._server = f"{info['host']}/.s.PGSQL.{info.get('port') or 5432}"
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._forwarding = threading.Event()
        self._forwarding.set()
        self._ended = False
        self.drop_notifications = False
        self._open: list[socket.socket] = []
        self.dsn = make_conninfo(
            dsn,
            host="127.0.0.1",
            port=self._listener.getsockname()[1],
            sslmode="disable",
            gssencmode="disable",
        )
        threading.Thread(target=self._accept, daemon=True).start()

    def stop_forwarding(self) -> None:
        """Forward nothing from now on. No connection is closed."""
        self._forwarding.clear()

    def resume_forwarding(self) -> None:
        """Forward again. Connections that were made meanwhile are served too."""
        self._forwarding.set()

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
                    self._forwarding.wait()
                    if self._ended or not (chunk := end.recv(CHUNK)):
                        return
                    if end is server:
                        chunk = messages.without_notifications(chunk, drop=self.drop_notifications)
                    other[end].sendall(chunk)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Accept no more connections, and close the present ones. To repeat it is harmless."""
        self._ended = True
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # this ends accept(), which close() does not
        self._listener.close()
        self.cut()
        self._forwarding.set()
