"""Finds the SQLSTATE with which a server refuses a connection.

libpq gives the text alone, and that is in the server's language. Its trace of what the server sends has the fields of
the error, also behind TLS and after the password. So a refused connection is tried once more, traced.
"""

from __future__ import annotations

import os
import re
import select
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from psycopg import pq
from psycopg.conninfo import make_conninfo

if TYPE_CHECKING:
    import psycopg

_CODE = re.compile(r' C "([0-9A-Z]{5})"')

_known: dict[str, str] = {}
"""The SQLSTATE by the text it came with: each trace leaves a stream of libpq's behind, some kB, and an outage may be long."""

MOST_KNOWN = 100


@dataclass(frozen=True, slots=True)
class Refusal:
    """What the server said to a second attempt."""

    sqlstate: str | None = None
    """None: no server answered, or its answer is not known."""
    admitted: bool = False
    """Whether it let us in this time."""


def refusal(conninfo: str, exc: psycopg.Error, limit_s: float) -> Refusal:
    """Tell with which SQLSTATE a connection failed; asks the server once more, for `limit_s` at most."""
    if exc.sqlstate:
        return Refusal(exc.sqlstate)
    if exc.pgconn is None:
        return Refusal()  # the name was not found, or the time was over
    text = str(exc)
    if text in _known:
        return Refusal(_known[text])
    found = _traced(_same_server(conninfo, exc.pgconn), limit_s)
    if found.sqlstate and len(_known) < MOST_KNOWN:
        _known[text] = found.sqlstate
    return found


def _same_server(conninfo: str, pgconn: pq.abc.PGconn) -> str:
    """Name the server that failed, of several, by its address: libpq would look its name up, and stop all threads meanwhile."""
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
    """Find the server's error in a trace: a line a message, its fields separated by tabs: side, length, name, contents."""
    admitted = False
    for line in trace.splitlines():
        side, _, message = line.partition("\t")
        name, _, contents = message.partition("\t")[2].partition("\t")
        if side == "B" and name == "ErrorResponse" and (code := _CODE.search(contents)):
            return Refusal(code[1])
        admitted |= side == "B" and name == "ReadyForQuery"
    return Refusal(admitted=admitted)
