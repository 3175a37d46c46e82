"""A peer at a socket that speaks the server's side of the protocol far enough to refuse, or not at all."""

from __future__ import annotations

import socket
import struct
import threading
from contextlib import suppress
from typing import Self

SSL_REQUEST, GSS_REQUEST = 80877103, 80877104


class Peer:
    """Listens on 127.0.0.1. With `fields` it refuses each connection with that error.

    Without, it never says a word.
    """

    def __init__(self, fields: dict[str, str] | None = None) -> None:
        self.fields = fields
        """Those of the next refusal; a test may change them."""
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.visitors: list[socket.socket] = []
        self.port = self._listener.getsockname()[1]
        self._accepting = threading.Thread(target=self._accept, daemon=True)
        self._accepting.start()

    def dsn(self, hosts: int = 1) -> str:
        """Return a connection string that names it so many times."""
        return f"host={','.join(['127.0.0.1'] * hosts)} port={self.port} dbname=cms_db user=registry_host"

    def _accept(self) -> None:
        with suppress(OSError):  # closed
            while True:
                client, _ = self._listener.accept()
                self.visitors.append(client)
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
        """Return what it answers to the first message."""
        fields = b"".join(key.encode() + text.encode() + b"\0" for key, text in (self.fields or {}).items())
        return b"E" + struct.pack("!i", len(fields) + 5) + fields + b"\0"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)  # ends accepting, which closing does not
        self._accepting.join()
        self._listener.close()
        for client in self.visitors:
            client.close()


class Asking(Peer):
    """Asks each visitor for a password."""

    def __init__(self) -> None:
        super().__init__({})

    def answer(self) -> bytes:
        """Return the request for a password in clear text."""
        return b"R" + struct.pack("!ii", 8, 3)
