"""Lends the few connections of a process to its waits, with psycopg_pool and separate threads.

A signal handler may raise an exception anywhere in the main thread (Ctrl-C, an alarm). In the middle of
psycopg_pool, such an exception leaves a request in the pool for ever. While Python enters a Condition, it
leaves the Condition locked for ever. So separate threads do this work, because signal handlers run only in
the main thread. The main thread sends requests through a SimpleQueue, and a thread answers by releasing a
lock. Both are written in C, so an exception cannot interrupt them halfway.
"""

from __future__ import annotations

import _thread
import logging
import threading
import time
from contextlib import contextmanager, suppress
from functools import partial
from queue import SimpleQueue
from typing import TYPE_CHECKING

import psycopg
from psycopg_pool import ConnectionPool, PoolClosed, PoolTimeout

from omnicdc import db
from omnicdc.db.connection import Connection
from omnicdc.db.conninfo import describe_dsn
from omnicdc.delivery.loan import Loan
from omnicdc.errors import DatabaseUnavailable, OmnicdcError, ServerFull

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import Any

    from omnicdc.db.conninfo import Target

IDLE_S = 30.0
"""A connection that was not used for this many seconds is closed."""

CONNECT_S = 10.0
"""The longest time in seconds for one attempt to connect. A server may be slow or silent."""

CHECK_S = 1.0
"""The longest time in seconds for the test whether a connection from the pool still works."""

CLOSE_S = 10.0
"""The longest time in seconds that `close` waits for the threads."""

SLICE_S = 0.25
"""A thread that waits for a connection checks at this interval, in seconds, why there is none."""


class Lender:
    """Lends at most `size` connections to one CMP. Any thread may borrow.

    `close` ends the threads and the connections of the lender.
    """

    def __init__(self, target: Target, size: int) -> None:
        """Store the arguments. Connections are opened, and threads started, only when needed."""
        self.size = size
        self._target = target
        self._closed = False
        self._ended = _thread.allocate_lock()
        self._starting = threading.Lock()
        self._started = False
        self._requests: SimpleQueue[Loan | None] = SimpleQueue()
        self._chores: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._lock = threading.Lock()
        self._pool: ConnectionPool[Connection] | None = None
        self._failures: list[tuple[float, OmnicdcError]] = []
        self._name = f"omnicdc-{id(self):x}"
        self._hide_messages = _HidePoolMessages(self._name)

    @contextmanager
    def connection(self, within_s: float) -> Iterator[Connection]:
        """Lend a connection for the `with` block.

        While the server has no connection left, this retries. Raises DatabaseUnavailable if no connection is
        available within `within_s` seconds, or if CMP cannot be reached; and what `db.connect` raises.
        """
        loans: list[Loan] = []
        try:
            loan = self._borrow(loans, within_s)
            yield loan.conn
            loan.unharmed = True
        finally:
            try:
                self._end(loans)
            except BaseException:  # a signal handler raised during the first call
                self._end(loans)
                raise

    def do(self, chore: Callable[[], None]) -> None:
        """Run `chore` in a thread in which no signal handler runs. Chores run one after the other.

        This does not wait. After `close`, the chore may not run.
        """
        self._start()
        self._chores.put(chore)

    def close(self) -> None:
        """End the threads and the connections. A thread that waits for a connection gets DatabaseUnavailable.

        A repeat waits, as the first call does, until the threads have ended, for at most CLOSE_S seconds.
        """
        self._closed = True
        if self._started:
            self._requests.put(None)
            self._chores.put(None)
            if self._ended.acquire(timeout=CLOSE_S):
                self._ended.release()

    def _start(self) -> None:
        with self._starting:
            if self._started:
                return
            self._ended.acquire(blocking=False)
            # threading.Thread is not used, because its start() waits for the new thread with a Condition. If
            # a signal interrupts this block, the next call runs it again.
            for _ in range(self.size):
                _thread.start_new_thread(self._lend, ())
            _thread.start_new_thread(self._do_chores, ())
            self._started = True

    def _borrow(self, loans: list[Loan], within_s: float) -> Loan:
        """Return a loan whose connection works. Each loan is added to `loans`, for the caller to end it.

        If no connection comes, the error is that of an attempt to connect that failed since this call began.
        """
        self._start()
        requested_at = time.monotonic()
        deadline = requested_at + within_s
        while True:
            loans.append(loan := Loan(deadline))
            self._requests.put(loan)
            self._await(loan)
            if loan.failure is None and _works(loan.conn):
                loan.conn.deadline = deadline
                return loan
            if isinstance(loan.failure, PoolClosed):
                raise DatabaseUnavailable("the client was closed meanwhile") from loan.failure
            if not isinstance(loan.failure, PoolTimeout | None):
                raise loan.failure
            self._end(loans)
            loans.clear()
            if failure := self._why_none(requested_at, deadline - time.monotonic()):
                raise failure from loan.failure

    def _await(self, loan: Loan) -> None:
        while not loan.answered.acquire(timeout=SLICE_S):
            if self._closed:
                raise DatabaseUnavailable("the client was closed meanwhile")
            if time.monotonic() > loan.deadline + SLICE_S:
                raise DatabaseUnavailable(
                    f"all {self.size} connections of this process were in use until the time was up",
                    hint="wait_connections (OMNICDC_WAIT_CONNECTIONS) allows more",
                )

    def _why_none(self, requested_at: float, left_s: float) -> OmnicdcError | None:
        """Return the error that explains why there is no connection; None while one may still come."""
        failure = next((failed for at, failed in self._failures if at >= requested_at), None)
        if failure and (left_s <= 0 or not isinstance(failure, ServerFull)):
            return _again(failure)
        if left_s > 0:
            return None
        where = describe_dsn(self._target.assembled(None).conninfo)
        return DatabaseUnavailable(
            f"{where} did not answer in time",
            hint="is the server up and reached? a longer timeout waits longer",
        )

    def _end(self, loans: Iterable[Loan]) -> None:
        """Return the connections of `loans` to the pool. A repeat finishes what was interrupted."""
        for loan in loans:
            loan.ended = True
            self._chores.put(partial(self._put, loan))
            if self._closed and loan.lent:
                loan.conn.close()

    # The methods below run in the lender's own threads, in which no signal handler runs.

    def _lend(self) -> None:
        while loan := self._requests.get():
            try:
                conn = self._opened().getconn(max(0.001, min(SLICE_S, loan.deadline - time.monotonic())))
            except Exception as exc:  # noqa: BLE001 - the borrower's thread raises it
                loan.failure = exc
            else:
                with self._lock:
                    loan.lent = conn
                if loan.ended:
                    self._put(loan)
            loan.answered.release()
        self._requests.put(None)  # ends the next thread

    def _do_chores(self) -> None:
        while chore := self._chores.get():
            try:
                chore()
            except Exception:
                logging.getLogger(__name__).exception("a connection could not be taken back")
        self._chores.put(None)  # ends another such thread, if an interrupted start has left one
        with self._lock:
            pool = self._pool
        if pool:
            pool.close()
            logging.getLogger("psycopg.pool").removeFilter(self._hide_messages)
        with suppress(RuntimeError):  # another thread has released the lock already
            self._ended.release()

    def _put(self, loan: Loan) -> None:
        """Return the loan's connection to the pool. A repeat does nothing.

        The connection is closed first if the borrower's block failed, or if a transaction is still open.
        """
        with self._lock:
            conn, loan.lent = loan.lent, None
        if conn is None:
            return
        conn.deadline = None
        if not loan.unharmed or conn.info.transaction_status != psycopg.pq.TransactionStatus.IDLE:
            conn.close()
        self._opened().putconn(conn)

    def _opened(self) -> ConnectionPool[Connection]:
        with self._lock:
            if self._pool is None:
                if self._closed:
                    raise PoolClosed
                logging.getLogger("psycopg.pool").addFilter(self._hide_messages)
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

    def _connection_class(self) -> type[Connection]:
        """Return a class for the pool that connects with `db.connect` and stores the last failure."""
        lender = self

        class Lent(Connection):
            @classmethod
            def connect(cls, *_args: Any, **_options: Any) -> Any:  # noqa: ANN401 - the driver's own
                # This runs in the pool's thread, which does not know how much time a wait has left.
                try:
                    return db.connect(
                        lender._target, connect_s=CONNECT_S, going_on=lambda: not lender._closed
                    )
                except OmnicdcError as exc:
                    lender._failures = [(time.monotonic(), exc)]
                    raise

        return Lent


def _works(conn: Connection) -> bool:
    """Whether a connection that was idle still works."""
    conn.deadline = time.monotonic() + CHECK_S
    try:
        ConnectionPool.check_connection(conn)
    except (psycopg.Error, OmnicdcError):
        return False
    return True


class _HidePoolMessages(logging.Filter):
    """Keeps the log messages of one psycopg pool out of the program's log.

    They are not needed, because each wait gets an error that explains the failure.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        args = record.args if isinstance(record.args, tuple) else ()
        return not any(isinstance(it, Connection) or str(it).startswith(self.name) for it in args)


def _again(failure: OmnicdcError) -> OmnicdcError:
    """Return a copy of the failure, which another thread can raise."""
    return type(failure)(failure.message, hint=failure.hint, again=failure.again)
