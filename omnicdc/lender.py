"""Lends a few connections to whoever looks: psycopg_pool's, asked by threads of ours.

A signal's handler may raise anywhere in the main thread (^C, an alarm), also in the middle of psycopg_pool, which then keeps a
request that nobody takes back, or loses a connection. So the main thread only waits for what these threads do. What they
took is noted in a loan before anything can be lost, and to end a loan is harmless when repeated.
"""

from __future__ import annotations

import logging
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import psycopg
from psycopg_pool import ConnectionPool, PoolClosed, PoolTimeout

from omnicdc import db
from omnicdc.connection import Connection
from omnicdc.errors import DatabaseUnavailable, OmnicdcError, ServerFull

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from omnicdc.conninfo import Target

IDLE_S = 30.0
"""A connection that was not needed for so long is closed."""

CONNECT_S = 10.0
"""What one attempt to connect may take: a server that is slow, or silent."""

CHECK_S = 1.0
"""How long a connection that is taken out of the pool may take to show that it still works."""

SLICE_S = 0.25
"""After so long, who waits for a connection looks why there is none."""


class Lender:
    """At most `size` connections to one CMP. Any thread may borrow; `close` ends its threads and connections."""

    def __init__(self, target: Target, size: int) -> None:
        """Nothing is connected, and no thread runs yet."""
        self.size = size
        self.loans: set[_Loan] = set()
        self._target = target
        self._closed = False
        self._pool: ConnectionPool[Connection] | None = None
        self._opening = threading.Lock()
        self._free = threading.Condition()
        self._failures: list[tuple[float, OmnicdcError]] = []
        self._name = f"omnicdc-{id(self):x}"
        self._silence = _Silence(self._name)
        self._threads = ThreadPoolExecutor(size, f"{self._name}-lender")

    @contextmanager
    def connection(self, within_s: float) -> Iterator[Connection]:
        """Lend a connection. Raises DatabaseUnavailable if none is to be had in that time, or CMP cannot be reached.

        As long as the server has no connection left, it is tried again.
        """
        loan = _Loan(time.monotonic() + within_s)
        try:
            self._take_turn(loan, within_s)
            conn = self._taken(loan)
            conn.deadline = loan.deadline
            yield conn
            loan.unharmed = True
        finally:
            try:
                self._end(loan)
            except BaseException:  # a signal, just now
                self._end(loan)
                raise

    def close(self) -> None:
        """End threads and connections; who waits for one gets none. A repeat waits for what is still ending."""
        self._closed = True
        try:
            self._threads.submit(self._close_pool)
        except RuntimeError:  # a repeat, or the interpreter ends
            self._close_pool()
        self._threads.shutdown()

    def _take_turn(self, loan: _Loan, within_s: float) -> None:
        with self._free:
            if not self._free.wait_for(lambda: len(self.loans) < self.size, max(0.0, within_s)):
                raise DatabaseUnavailable(
                    f"all {self.size} connections of this process were in use for {within_s:.1f} s",
                    hint="wait_connections (OMNICDC_WAIT_CONNECTIONS) allows more",
                )
            self.loans.add(loan)

    def _taken(self, loan: _Loan) -> Connection:
        """Have a connection that works taken out of the pool; an attempt that failed since is why there is none."""
        asked = time.monotonic()
        while True:
            left = loan.deadline - time.monotonic()
            try:
                self._threads.submit(self._take, loan, max(0.001, min(SLICE_S, left))).result()
            except (PoolClosed, RuntimeError) as exc:
                raise DatabaseUnavailable("the client was closed meanwhile") from exc
            except PoolTimeout as exc:
                if failure := self._why_none(asked, left):
                    raise failure from exc
                continue
            if loan.conn and _works(loan.conn):
                return loan.conn
            self._give_back(loan)
            if failure := self._why_none(asked, left):
                raise failure

    def _why_none(self, asked: float, left_s: float) -> OmnicdcError | None:
        """Return why there is no connection; None as long as one may still come."""
        failure = next((failed for at, failed in self._failures if at >= asked), None)
        if failure and (left_s <= 0 or not isinstance(failure, ServerFull)):
            return _again(failure)
        return DatabaseUnavailable("CMP did not answer in time") if left_s <= 0 else None

    def _end(self, loan: _Loan) -> None:
        """Take back what was lent. A repeat does what an interruption left to do."""
        loan.ended = True
        self._give_back(loan)
        # Not before: its connection is what the next one waits for, and each turn has a thread.
        with self._free:
            self.loans.discard(loan)
            self._free.notify()

    def _give_back(self, loan: _Loan) -> None:
        try:
            self._threads.submit(self._put, loan).result()
        except RuntimeError:  # closed meanwhile
            self._put(loan)

    # What follows is done by our own threads, where no signal's handler runs.

    def _take(self, loan: _Loan, within_s: float) -> None:
        conn = self._opened().getconn(within_s)
        with self._free:
            loan.conn = conn
        if loan.ended:
            self._put(loan)

    def _put(self, loan: _Loan) -> None:
        """Return the connection; after a failure, or in the middle of anything, it is closed. A repeat does nothing."""
        with self._free:
            conn, loan.conn = loan.conn, None
        if conn is None:
            return
        conn.deadline = None
        if not loan.unharmed or conn.info.transaction_status != psycopg.pq.TransactionStatus.IDLE:
            conn.close()
        self._opened().putconn(conn)

    def _opened(self) -> ConnectionPool[Connection]:
        with self._opening:
            if self._pool is None:
                if self._closed:
                    raise PoolClosed
                logging.getLogger("psycopg.pool").addFilter(self._silence)
                self._pool = ConnectionPool(
                    connection_class=self._connection_class(),
                    min_size=0,
                    max_size=self.size,
                    open=True,
                    name=self._name,
                    max_idle=IDLE_S,
                    reconnect_timeout=0,
                    num_workers=1,
                )
            return self._pool

    def _close_pool(self) -> None:
        with self._opening:
            if self._pool:
                self._pool.close()
                logging.getLogger("psycopg.pool").removeFilter(self._silence)

    def _connection_class(self) -> type[Connection]:
        """Return what the pool opens connections with: as everywhere else, and a failure is remembered."""
        lender = self

        class Lent(Connection):
            @classmethod
            def connect(cls, *_args: Any, **_options: Any) -> Any:  # noqa: ANN401 - the driver's own
                # In the pool's own thread, so the time that a wait has left is not known here.
                try:
                    return db.connect(
                        lender._target, connect_s=CONNECT_S, going_on=lambda: not lender._closed
                    )
                except OmnicdcError as exc:
                    lender._failures = [(time.monotonic(), exc)]
                    raise

        return Lent


@dataclass(eq=False, slots=True)
class _Loan:
    """What one wait has taken so far: its turn, if it is among the loans, and a connection."""

    deadline: float
    conn: Connection | None = None
    ended: bool = False
    unharmed: bool = False
    """Nothing was raised while it was lent: in the middle of a pipeline or a transaction, the driver keeps what was left open."""


def _works(conn: Connection) -> bool:
    """Whether a connection that was idle still works; if not, another one is taken."""
    conn.deadline = time.monotonic() + CHECK_S
    try:
        ConnectionPool.check_connection(conn)
    except (psycopg.Error, OmnicdcError):
        return False
    return True


class _Silence(logging.Filter):
    """Keeps the pool's own reports of one pool out of the program's log: whoever waits gets an answer that says it."""

    def filter(self, record: logging.LogRecord) -> bool:
        told = record.args if isinstance(record.args, tuple) else ()
        return not any(isinstance(it, Connection) or str(it).startswith(self.name) for it in told)


def _again(failure: OmnicdcError) -> OmnicdcError:
    """Return the same failure, to be raised in another thread."""
    return type(failure)(failure.message, hint=failure.hint, again=failure.again)
