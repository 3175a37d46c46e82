"""Finds out why a connection failed.

The result is the SQLSTATE with which a server refused it, or a local mistake (parameters, certificate,
service file).

libpq gives the text alone, and that is in the server's language. libpq's protocol trace shows the fields of
the error, even over TLS and after the password. So a refused connection is tried once more, traced.

An unknown service, a certificate that cannot be read or an invalid `sslmode` has no SQLSTATE, and libpq's
text does not tell it apart from a server that is down. So libpq connects to a socket of our own, with the
same parameters: if it sends no startup packet there, no server is at fault.
"""

from __future__ import annotations

import os
import re
import select
import socket
import struct
import tempfile
import time
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from psycopg import pq
from psycopg.conninfo import make_conninfo

if TYPE_CHECKING:
    import psycopg

_CODE = re.compile(r' C "([0-9A-Z]{5})"')

_known: dict[str, str] = {}
"""The SQLSTATE by the text it came with: each trace leaves a stream of libpq's behind, some kB, and an outage
may be long."""

MOST_KNOWN = 100


@dataclass(frozen=True, slots=True)
class Refusal:
    """What the server said to a second attempt."""

    sqlstate: str | None = None
    """None: no server answered, or its answer is not known."""
    admitted: bool = False
    """Whether it let us in this time."""
    lacks_password: bool = False
    """Whether it asked for a password, and there was none to send."""
    misconfigured: bool = False
    """Whether libpq fails before it greets any server: parameters, PG* variables, service or TLS files."""


def refusal(conninfo: str, exc: psycopg.Error, limit_s: float) -> Refusal:
    """Tell with which SQLSTATE a connection failed; asks the server once more, for `limit_s` at most."""
    if exc.sqlstate:
        return Refusal(exc.sqlstate)
    if exc.pgconn is None:
        return Refusal()  # the name was not found, or the time was over
    if exc.pgconn.needs_password:
        return Refusal(lacks_password=True)
    if not greets(conninfo, limit_s, by_socket=exc.pgconn.host.startswith((b"/", b"@"))):
        return Refusal(misconfigured=True)
    text = str(exc)
    if text in _known:
        return Refusal(_known[text])
    found = _traced(_same_server(conninfo, exc.pgconn), limit_s)
    if found.sqlstate and len(_known) < MOST_KNOWN:
        _known[text] = found.sqlstate
    return found


_TLS_REQUEST = struct.pack("!ii", 8, 80877103)


def greets(conninfo: str, limit_s: float, *, by_socket: bool) -> bool:
    """Whether libpq, with these parameters, greets a server.

    With its first message, or behind TLS with its first bytes.

    The server is a listener of our own, on 127.0.0.1 or, `by_socket`, in a directory of its own, where libpq
    uses no TLS. It sees no password. True as well after `limit_s`, and where there can be no listener: then
    nothing is known.
    """
    with ExitStack() as stack, suppress(OSError):
        if by_socket:
            directory = stack.enter_context(tempfile.TemporaryDirectory(prefix="omnicdc-"))
            listener = stack.enter_context(socket.socket(socket.AF_UNIX))
            listener.bind(f"{directory}/.s.PGSQL.1")
            listener.listen()
            host, address, port = directory, "", 1
        else:
            listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
            host = address = "127.0.0.1"
            port = listener.getsockname()[1]
        # Where not even this can be connected to, nothing is known.
        stack.enter_context(socket.socket(listener.family)).connect(listener.getsockname())
        listener.accept()[0].close()
        listener.setblocking(False)
        # With a password libpq looks for none, and so complains of no password file.
        here = make_conninfo(
            conninfo,
            host=host,
            hostaddr=address,
            port=port,
            gssencmode="disable",
            requirepeer="",
            password="-",  # noqa: S106 - none
        )
        pgconn = pq.PGconn.connect_start(here.encode())
        stack.callback(pgconn.finish)
        return _greeted(pgconn, listener, time.monotonic() + limit_s, stack)
    return True


def _greeted(pgconn: pq.abc.PGconn, listener: socket.socket, end: float, stack: ExitStack) -> bool:
    client: socket.socket | None = None
    wish = pq.PollingStatus.WRITING
    while pgconn.status != pq.ConnStatus.BAD and time.monotonic() < end:
        ready = select.select([listener, *([client] if client else [])], [], [], 0.001)[0]
        if listener in ready:  # a second time, where TLS failed and may be left out
            client = stack.enter_context(listener.accept()[0])
        elif client in ready and client is not None:
            said = client.recv(len(_TLS_REQUEST))
            if said == _TLS_REQUEST:
                client.sendall(b"S")
            elif said:
                return True
            else:
                client = None
        if wish not in (pq.PollingStatus.OK, pq.PollingStatus.FAILED) and _can(pgconn, wish):
            wish = pq.PollingStatus(pgconn.connect_poll())
    return pgconn.status != pq.ConnStatus.BAD


def _can(pgconn: pq.abc.PGconn, wish: pq.PollingStatus) -> bool:
    """Whether libpq can go on, now."""
    arrival = select.poll()
    arrival.register(pgconn.socket, select.POLLIN if wish == pq.PollingStatus.READING else select.POLLOUT)
    return bool(arrival.poll(0))


def _same_server(conninfo: str, pgconn: pq.abc.PGconn) -> str:
    """Name the server that failed, of several, by its address.

    Libpq would look its name up, and stop all threads meanwhile.
    """
    named = {"host": pgconn.host, "hostaddr": pgconn.hostaddr, "port": pgconn.port}
    return make_conninfo(conninfo, **{key: value.decode() for key, value in named.items() if value})


def _traced(conninfo: str, limit_s: float) -> Refusal:
    # Kept in memory, and for our eyes only: it has all that was sent.
    trace = os.memfd_create("omnicdc-connecting", os.MFD_CLOEXEC)
    try:
        pgconn = pq.PGconn.connect_start(conninfo.encode())
        pgconn.trace(trace)
        pgconn.set_trace_flags(pq.Trace.SUPPRESS_TIMESTAMPS)
        try:
            _finish_connecting(pgconn, limit_s)
        finally:
            pgconn.untrace()
            pgconn.finish()
        return _read(os.pread(trace, os.fstat(trace).st_size, 0).decode(errors="replace"))
    finally:
        os.close(trace)


def _finish_connecting(pgconn: pq.abc.PGconn, limit_s: float) -> None:
    end = time.monotonic() + limit_s
    while (left := end - time.monotonic()) > 0 and pgconn.status != pq.ConnStatus.BAD:
        wish = pgconn.connect_poll()
        if wish in (pq.PollingStatus.OK, pq.PollingStatus.FAILED):
            return
        arrival = select.poll()
        arrival.register(pgconn.socket, select.POLLIN if wish == pq.PollingStatus.READING else select.POLLOUT)
        arrival.poll(left * 1000)


def _read(trace: str) -> Refusal:
    """Find the server's error in a trace: a line a message, its fields separated by tabs.

    Side, length, name, contents.
    """
    admitted = False
    for line in trace.splitlines():
        side, _, message = line.partition("\t")
        name, _, contents = message.partition("\t")[2].partition("\t")
        if side == "B" and name == "ErrorResponse" and (code := _CODE.search(contents)):
            return Refusal(code[1])
        admitted |= side == "B" and name == "ReadyForQuery"
    return Refusal(admitted=admitted)
