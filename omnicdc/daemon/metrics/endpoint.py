"""Serves the pages over HTTP, in threads of their own. A slow or hostile client cannot hold the daemon."""

from __future__ import annotations

import errno
import io
import os
import select
import socket
import threading
import time
from contextlib import suppress
from http import HTTPStatus
from typing import IO, TYPE_CHECKING, cast
from wsgiref.simple_server import ServerHandler, WSGIRequestHandler, WSGIServer

import structlog

from omnicdc.log.events import Repeating

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Self
    from wsgiref.types import WSGIApplication

    from _typeshed import OptExcInfo

log = structlog.get_logger()

MOST = 8
"""The most requests that are answered at the same time. Others wait in the kernel's queue."""

LIMIT_S = 2.0
"""Seconds after which a connection is ended, whatever its client does."""

LONGEST_LINE = 8192
"""The most bytes of a request's first line."""

RETRY_S = 2.0
"""Seconds between two attempts to listen on an address that is taken."""

LEAVE_S = 0.5
"""Seconds that the end of the daemon waits for the threads."""


class Endpoint:
    """Listens on one address until `end`. An address that is taken is a fault, and is tried again."""

    def __init__(self, address: tuple[str, int], application: WSGIApplication) -> None:
        self.address = address
        self.fault = ""
        """Why it does not listen; empty if it does. Any thread may read it."""
        self._application = application
        self._failing = Repeating("metrics_not_served", time.monotonic)
        self._wake_reader, self._wake_writer = os.pipe()
        self._ended = False
        self._thread = threading.Thread(target=self._run, name="metrics", daemon=True)

    def start(self) -> Self:
        """Start the thread."""
        self._thread.start()
        return self

    def end(self) -> None:
        """Close the address. Requests that are not answered yet are dropped."""
        self._ended = True
        self._wake()
        self._thread.join(LEAVE_S)
        # The two ends of the pipe stay open: a request that is still answered may use them.

    def _run(self) -> None:
        while not self._ended:
            try:
                with _Server(self.address, self._application) as server:
                    self.fault = ""
                    self._failing.recovered()
                    host, port = server.socket.getsockname()[:2]
                    log.info("metrics_served", host=host, port=port)
                    self._serve(server)
            except (OSError, UnicodeError) as exc:
                self._report(exc)
                select.select([self._wake_reader], [], [], RETRY_S)

    def _serve(self, server: _Server) -> None:
        """Accept connections until the end. Without a connection, this sleeps."""
        connections = _Connections(self._wake)
        while not self._ended:
            arrival = select.poll()
            arrival.register(self._wake_reader, select.POLLIN)
            if not connections.full:
                arrival.register(server.socket, select.POLLIN)
            arrived = {descriptor for descriptor, _ in arrival.poll(connections.left_ms())}
            connections.end_late()
            if self._wake_reader in arrived:
                os.read(self._wake_reader, 1024)
            if server.socket.fileno() in arrived:
                connections.answer(server)
        connections.end_late(all_of_them=True)

    def _wake(self) -> None:
        os.write(self._wake_writer, b".")

    def _report(self, exc: Exception) -> None:
        error = f"cannot listen on {shown(self.address)}: {getattr(exc, 'strerror', None) or exc}"
        hint = f"{remedy(getattr(exc, 'errno', None), self.address[1])}, or change the setting `metrics`"
        self.fault = f"metrics: {error} - {hint}"
        self._failing.failed(error, error=error, hint=hint)


def remedy(code: int | None, port: int) -> str:
    """Return how to find or remove the cause of an error of `bind`, given its errno."""
    known = {
        errno.EADDRINUSE: f"`ss -ltnp 'sport = :{port}'` shows which process does; end it",
        errno.EADDRNOTAVAIL: "`ip address` shows the addresses of this host",
        errno.EACCES: "take a port above 1023",
    }
    return known.get(code or 0, "is the host right?")


def shown(address: tuple[str, int]) -> str:
    """Return an address as a user writes it."""
    host, port = address
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


class _Answering(ServerHandler):
    """Answers one request. A client that is gone is no error."""

    server_software = "omnicdc"
    """Instead of Python's version, which is nobody's business."""

    def log_exception(self, exc_info: OptExcInfo) -> None:
        """Log an error of the application itself. The client gets status 500."""
        if not isinstance(exc_info[1], OSError):
            log.error("metrics_failed", hint="please report it", exc_info=exc_info[1])


class _Handler(WSGIRequestHandler):
    """Reads one request. It logs nothing: a request is no event of the daemon."""

    timeout = LIMIT_S
    server: _Server

    def handle(self) -> None:
        """Read and answer the request."""
        self.raw_requestline = self.rfile.readline(LONGEST_LINE + 1)
        if len(self.raw_requestline) > LONGEST_LINE:
            self.requestline, self.request_version, self.command = "", "", ""
            self.send_error(HTTPStatus.REQUEST_URI_TOO_LONG)
        elif self.parse_request():
            environ = self.get_environ()
            reader, writer = cast("IO[bytes]", self.rfile), cast("IO[bytes]", self.wfile)
            answering = _Answering(reader, writer, io.StringIO(), environ, multithread=True)
            answering.request_handler = self  # type: ignore[attr-defined] # as WSGIRequestHandler does
            answering.run(self.server.pages)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name that the class has
        """Log nothing."""


class _Connections:
    """The connections that are being answered, each in a thread of its own."""

    def __init__(self, wake: Callable[[], None]) -> None:
        self._wake = wake
        self._lock = threading.Lock()
        self._deadlines: dict[socket.socket, float] = {}

    @property
    def full(self) -> bool:
        """Whether another connection must wait."""
        return len(self._deadlines) >= MOST

    def left_ms(self) -> float | None:
        """Return the milliseconds until the next deadline; None without a connection."""
        with self._lock:
            deadline = min(self._deadlines.values(), default=None)
        return None if deadline is None else max(0.0, deadline - time.monotonic()) * 1000

    def answer(self, server: _Server) -> None:
        """Accept a connection, and answer it in a thread."""
        with suppress(OSError):  # the client is gone
            connection, client = server.socket.accept()
            with self._lock:
                self._deadlines[connection] = time.monotonic() + LIMIT_S
            arguments = (server, connection, client)
            threading.Thread(target=self._answer, args=arguments, name="request", daemon=True).start()

    def end_late(self, *, all_of_them: bool = False) -> None:
        """End the connections that are over their time, or all of them. Their threads then end."""
        with self._lock:
            now = time.monotonic()
            for connection, deadline in self._deadlines.items():
                if all_of_them or deadline <= now:
                    with suppress(OSError):
                        connection.shutdown(socket.SHUT_RDWR)

    def _answer(self, server: _Server, connection: socket.socket, client: tuple[str, int]) -> None:
        try:
            with suppress(OSError):
                connection.setblocking(True)
                server.RequestHandlerClass(connection, client, server)
        finally:
            was_full = self.full
            with self._lock:
                del self._deadlines[connection]
                connection.close()
            if was_full:
                self._wake()


class _Server(WSGIServer):
    """A listening socket, and the application."""

    request_queue_size = 16

    def __init__(self, address: tuple[str, int], application: WSGIApplication) -> None:
        self.pages = application
        found = socket.getaddrinfo(*address, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        self.address_family = found[0][0]
        super().__init__(address, _Handler)
        self.socket.setblocking(False)

    def server_bind(self) -> None:
        """Bind without looking up the host's name, which may take long."""
        if self.address_family == socket.AF_INET6:
            self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_name, self.server_port = "omnicdc", self.socket.getsockname()[1]
        self.setup_environ()
