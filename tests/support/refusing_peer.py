"""A peer that speaks just enough of PostgreSQL's protocol to refuse a connection, or that never answers."""

from __future__ import annotations

import socket
import struct
import threading
from contextlib import suppress
from typing import Self

SSL_REQUEST, GSS_REQUEST = 80877103, 80877104


class Peer:
    """Listens on 127.0.0.1. With `fields` it refuses each connection with that error.

    Without `fields` it never answers.
    """

    def __init__(self, fields: dict[str, str] | None = None) -> None:
        self.fields = fields
        """The fields of the next error; a test may change them."""
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.clients: list[socket.socket] = []
        self.port = self._listener.getsockname()[1]
        self._accepting = threading.Thread(target=self._accept, daemon=True)
        self._accepting.start()

    def dsn(self, hosts: int = 1) -> str:
        """Return a connection string that names this peer `hosts` times."""
        return f"host={','.join(['127.0.0.1'] * hosts)} port={self.port} dbname=cms_db user=registry_host"

    def _accept(self) -> None:
        with suppress(OSError):  # closed
            while True:
                client, _ = self._listener.accept()
                self.clients.append(client)
                if self.fields is not None:
                    threading.Thread(target=self._refuse, args=(client,), daemon=True).start()

    def _refuse(self, client: socket.socket) -> None:
        with client, suppress(OSError, struct.error):
            while True:
                length, code = struct.unpack("!ii", client.recv(8, socket.MSG_WAITALL))
                if code not in (SSL_REQUEST, GSS_REQUEST):
                    break
                client.sendall(b"N")
            client.recv(length - 8, socket.MSG_WAITALL)
            client.sendall(self.answer())

    def answer(self) -> bytes:
        """Return the answer to the first message."""
        fields = b"".join(key.encode() + text.encode() + b"\0" for key, text in (self.fields or {}).items())
        return b"E" + struct.pack("!i", len(fields) + 5) + fields + b"\0"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)  # this ends accept(), which close() does not
        self._accepting.join()
        self._listener.close()
        for client in self.clients:
            client.close()


class PasswordPeer(Peer):
    """Asks each client for a password."""

    def __init__(self) -> None:
        super().__init__({})

    def answer(self) -> bytes:
        """Return the request for a password in clear text."""
        return b"R" + struct.pack("!ii", 8, 3)
