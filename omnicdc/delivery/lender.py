"""Lends the few connections of a process to its waits, through psycopg_pool and threads of its own.

A signal's handler may raise anywhere in the main thread (^C, an alarm): in the middle of psycopg_pool, which
then keeps a request that is never taken back, or while Python enters a Condition, which stays locked for
ever. So other threads do the work. They are asked through SimpleQueue, and answer through a lock that is
released: both are C, and cannot be left half done.
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
"""A connection that was not needed for so long is closed."""

CONNECT_S = 10.0
"""What one attempt to connect may take: a server that is slow, or silent."""

CHECK_S = 1.0
"""How long a connection that is taken out of the pool may take to show that it still works."""

CLOSE_S = 10.0
"""What closing waits for its threads at most."""

SLICE_S = 0.25
"""After so long, a thread that waits for a connection looks why there is none."""


class Lender:
    """At most `size` connections to one CMP. Any thread may borrow.

    `close` ends its threads and connections.
    """

    def __init__(self, target: Target, size: int) -> None:
        """Nothing is connected, and no thread runs yet."""
        self.size = size
        self._target = target
        self._closed = False
        self._ended = _thread.allocate_lock()
        self._starting = threading.Lock()
        self._started = False
        self._wanted: SimpleQueue[Loan | None] = SimpleQueue()
        self._chores: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._noting = threading.Lock()
        self._pool: ConnectionPool[Connection] | None = None
        self._failures: list[tuple[float, OmnicdcError]] = []
        self._name = f"omnicdc-{id(self):x}"
        self._silence = _Silence(self._name)

    @contextmanager
    def connection(self, within_s: float) -> Iterator[Connection]:
        """Lend a connection.

        Raises DatabaseUnavailable if none is to be had in that time, or CMP cannot be reached.

        As long as the server has no connection left, it is tried again.
        """
        loans: list[Loan] = []
        try:
            loan = self._taken(loans, within_s)
            yield loan.conn
            loan.unharmed = True
        finally:
            try:
                self._end(loans)
            except BaseException:  # a signal, just now
                self._end(loans)
                raise

    def do(self, chore: Callable[[], None]) -> None:
        """Have something done, one after the other, where no signal's handler runs.

        Not waited for, and not if it is closed.
        """
        self._start()
        self._chores.put(chore)

    def close(self) -> None:
        """End threads and connections; a thread that waits for one gets none.

        A repeat waits for what is still ending.
        """
        self._closed = True
        if self._started:
            self._wanted.put(None)
            self._chores.put(None)
            if self._ended.acquire(timeout=CLOSE_S):
                self._ended.release()

    def _start(self) -> None:
        with self._starting:
            if self._started:
                return
            self._ended.acquire(blocking=False)
            # Not by threading.Thread, whose start() waits for the new thread, with a Condition. Interrupted,
            # it is done again.
            for _ in range(self.size):
                _thread.start_new_thread(self._lend, ())
            _thread.start_new_thread(self._do_chores, ())
            self._started = True

    def _taken(self, loans: list[Loan], within_s: float) -> Loan:
        """Have a connection that works taken out of the pool.

        An attempt that failed since is why there is none.
        """
        self._start()
        asked = time.monotonic()
        deadline = asked + within_s
        while True:
            loans.append(loan := Loan(deadline))
            self._wanted.put(loan)
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
            if failure := self._why_none(asked, deadline - time.monotonic()):
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

    def _why_none(self, asked: float, left_s: float) -> OmnicdcError | None:
        """Return why there is no connection; None as long as one may still come."""
        failure = next((failed for at, failed in self._failures if at >= asked), None)
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
        """Have what was lent taken back. A repeat does what an interruption left to do."""
        for loan in loans:
            loan.ended = True
            self._chores.put(partial(self._put, loan))
            if self._closed and loan.lent:
                loan.conn.close()

    # What follows is done by our own threads, where no signal's handler runs.

    def _lend(self) -> None:
        while loan := self._wanted.get():
            try:
                conn = self._opened().getconn(max(0.001, min(SLICE_S, loan.deadline - time.monotonic())))
            except Exception as exc:  # noqa: BLE001 - raised where the loan was asked for
                loan.failure = exc
            else:
                with self._noting:
                    loan.lent = conn
                if loan.ended:
                    self._put(loan)
            loan.answered.release()
        self._wanted.put(None)  # for the next one

    def _do_chores(self) -> None:
        while chore := self._chores.get():
            try:
                chore()
            except Exception:
                logging.getLogger(__name__).exception("a connection could not be taken back")
        self._chores.put(None)  # for another one, which a start that was interrupted has left
        with self._noting:
            pool = self._pool
        if pool:
            pool.close()
            logging.getLogger("psycopg.pool").removeFilter(self._silence)
        with suppress(RuntimeError):  # the other one said so
            self._ended.release()

    def _put(self, loan: Loan) -> None:
        """Return the connection; after a failure, or in the middle of anything, it is closed.

        A repeat does nothing.
        """
        with self._noting:
            conn, loan.lent = loan.lent, None
        if conn is None:
            return
        conn.deadline = None
        if not loan.unharmed or conn.info.transaction_status != psycopg.pq.TransactionStatus.IDLE:
            conn.close()
        self._opened().putconn(conn)

    def _opened(self) -> ConnectionPool[Connection]:
        with self._noting:
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


def _works(conn: Connection) -> bool:
    """Whether a connection that was idle still works; if not, another one is taken."""
    conn.deadline = time.monotonic() + CHECK_S
    try:
        ConnectionPool.check_connection(conn)
    except (psycopg.Error, OmnicdcError):
        return False
    return True


class _Silence(logging.Filter):
    """Keeps the pool's own reports of one pool out of the program's log.

    Whoever waits gets an answer that says it.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        told = record.args if isinstance(record.args, tuple) else ()
        return not any(isinstance(it, Connection) or str(it).startswith(self.name) for it in told)


def _again(failure: OmnicdcError) -> OmnicdcError:
    """Return the same failure, to be raised in another thread."""
    return type(failure)(failure.message, hint=failure.hint, again=failure.again)
