"""Finds out why a connection failed.

The cause is either the server's refusal, which has an SQLSTATE, or a local mistake (parameters, certificate,
service file), or a server that does not answer.

libpq gives only the text of a refusal, and the text is in the server's language. libpq's protocol trace shows
the fields of the error, including the SQLSTATE, even over TLS and after the password was sent. So this module
connects a second time, with the trace on.

A local mistake, such as an unknown service, an unreadable certificate or an invalid `sslmode`, has no
SQLSTATE, and libpq's text does not distinguish it from a server that is down. So this module makes libpq
connect, with the same parameters, to a listener of our own. If libpq sends no startup packet to the listener,
the mistake is local.
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
"""Cache: error text → SQLSTATE. Each trace leaks a few kB in libpq, and during an outage the same error may
come many times."""

MOST_KNOWN = 100
"""The largest number of texts in the cache."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a connection failed."""

    sqlstate: str | None = None
    """None: no server answered, or its answer is not known."""
    admitted: bool = False
    """Whether the server accepted the second attempt."""
    lacks_password: bool = False
    """Whether the server asked for a password, and no password is configured."""
    misconfigured: bool = False
    """Whether libpq fails before it sends anything to a server: parameters, PG* variables, service or TLS
    files."""


def refusal(conninfo: str, exc: psycopg.Error, limit_s: float) -> Refusal:
    """Return why the connection failed that raised `exc`.

    This connects to a listener of our own, and then to the server again. Each of the two checks takes at most
    `limit_s` seconds.
    """
    if exc.sqlstate:
        return Refusal(exc.sqlstate)
    if exc.pgconn is None:
        return Refusal()  # the host name was not found, or the time was up
    if exc.pgconn.needs_password:
        return Refusal(lacks_password=True)
    if not sends_startup_packet(conninfo, limit_s, by_socket=exc.pgconn.host.startswith((b"/", b"@"))):
        return Refusal(misconfigured=True)
    text = str(exc)
    if text in _known:
        return Refusal(_known[text])
    found = _traced(_same_server(conninfo, exc.pgconn), limit_s)
    if found.sqlstate and len(_known) < MOST_KNOWN:
        _known[text] = found.sqlstate
    return found


_TLS_REQUEST = struct.pack("!ii", 8, 80877103)


def sends_startup_packet(conninfo: str, limit_s: float, *, by_socket: bool) -> bool:
    """Whether libpq sends a startup packet (or its first TLS bytes) to a listener of our own.

    Also true after `limit_s`, or if no listener can be opened, because then nothing is known.

    The listener is on 127.0.0.1. With `by_socket`, it is a Unix socket in a temporary directory; libpq uses
    no TLS there. The listener receives no password.
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
        # If a plain connection to the listener fails, the result would mean nothing: OSError, so True.
        stack.enter_context(socket.socket(listener.family)).connect(listener.getsockname())
        listener.accept()[0].close()
        listener.setblocking(False)
        # Give a dummy password, so that libpq does not read a password file or warn about it.
        here = make_conninfo(
            conninfo,
            host=host,
            hostaddr=address,
            port=port,
            gssencmode="disable",
            requirepeer="",
            password="-",  # noqa: S106 - a dummy
        )
        pgconn = pq.PGconn.connect_start(here.encode())
        stack.callback(pgconn.finish)
        return _packet_arrives(pgconn, listener, time.monotonic() + limit_s, stack)
    return True


def _packet_arrives(pgconn: pq.abc.PGconn, listener: socket.socket, end: float, stack: ExitStack) -> bool:
    """Drive libpq's connection attempt until the listener gets a packet, libpq fails, or the time is `end`.

    Returns false only if libpq fails.
    """
    client: socket.socket | None = None
    wish = pq.PollingStatus.WRITING
    while pgconn.status != pq.ConnStatus.BAD and time.monotonic() < end:
        ready = select.select([listener, *([client] if client else [])], [], [], 0.001)[0]
        if listener in ready:  # libpq connects a second time if TLS failed and `sslmode` allows plain text
            client = stack.enter_context(listener.accept()[0])
        elif client in ready and client is not None:
            received = client.recv(len(_TLS_REQUEST))
            if received == _TLS_REQUEST:
                client.sendall(b"S")
            elif received:
                return True
            else:
                client = None
        if wish not in (pq.PollingStatus.OK, pq.PollingStatus.FAILED) and _is_ready(pgconn, wish):
            wish = pq.PollingStatus(pgconn.connect_poll())
    return pgconn.status != pq.ConnStatus.BAD


def _is_ready(pgconn: pq.abc.PGconn, wish: pq.PollingStatus) -> bool:
    """Whether libpq's socket is ready now for what libpq waits for: to read or to write."""
    arrival = select.poll()
    arrival.register(pgconn.socket, select.POLLIN if wish == pq.PollingStatus.READING else select.POLLOUT)
    return bool(arrival.poll(0))


def _same_server(conninfo: str, pgconn: pq.abc.PGconn) -> str:
    """Return a connection string for the one server that failed, with its address.

    `conninfo` may name several servers. The address is given, because libpq would otherwise resolve the host
    name, which blocks all threads.
    """
    named = {"host": pgconn.host, "hostaddr": pgconn.hostaddr, "port": pgconn.port}
    return make_conninfo(conninfo, **{key: value.decode() for key, value in named.items() if value})


def _traced(conninfo: str, limit_s: float) -> Refusal:
    # The trace holds everything that was sent, the password included. So it stays in memory, in this process.
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
    """Find the server's error in a trace of libpq.

    Each line of the trace is one message. Its fields are separated by tabs: side, length, name, contents.
    Side B is the server.
    """
    admitted = False
    for line in trace.splitlines():
        side, _, message = line.partition("\t")
        name, _, contents = message.partition("\t")[2].partition("\t")
        if side == "B" and name == "ErrorResponse" and (code := _CODE.search(contents)):
            return Refusal(code[1])
        admitted |= side == "B" and name == "ReadyForQuery"
    return Refusal(admitted=admitted)
