"""What may stand between the daemon and its server: a proxy on loopback that forwards bytes, until it is told not to."""

from __future__ import annotations

import select
import socket
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Self

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

if TYPE_CHECKING:
    from pathlib import Path

PIECE = 65536


class Proxy:
    """Forwards each connection to the server of a connection string; a context manager.

    Deaf, it still takes connections and bytes, as the kernel acknowledges them for it, and passes none on.
    """

    def __init__(self, dsn: str) -> None:
        info = conninfo_to_dict(dsn)
        self._server = f"{info['host']}/.s.PGSQL.{info.get('port') or 5432}"
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._passing = threading.Event()
        self._passing.set()
        self._ended = False
        self._open: list[socket.socket] = []
        self.dsn = make_conninfo(dsn, host="127.0.0.1", port=self._listener.getsockname()[1])
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
            while True:
                for end in select.select([client, server], [], [])[0]:
                    self._passing.wait()
                    if self._ended or not (piece := end.recv(PIECE)):
                        return
                    other[end].sendall(piece)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self._ended = True
        self._listener.close()
        self.cut()
        self._passing.set()
