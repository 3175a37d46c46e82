"""What all waits of a process share: one connection that listens, and a few that are borrowed to look with.

A wait with a connection of its own would be simpler, and fifty of them would leave CMP's writers none. `wait` looks and
decides, here is only where its connections come from. A process that was forked opens its own.

A signal's handler may raise anywhere in the main thread (^C, an alarm): what a wait took is noted before anything can be
lost, and a pool of psycopg_pool's that was interrupted is replaced, for it keeps the request, and gives it a connection.
"""

from __future__ import annotations

import atexit
import logging
import os
import threading
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING
from weakref import WeakSet

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
"""A connection that was not needed for so long is closed, the one that listens, too."""

LISTENING_PATIENCE_S = 2.0
"""Between two looks of one wait, while the process listens."""

DEAF_PATIENCE_S = 0.5
"""The same while it does not."""

CONNECT_S = 10.0
"""What one attempt to connect may take: a server that is slow, or silent."""

CHECK_S = 1.0
"""How long a connection that is taken out of the pool may take to show that it still works."""

SLICE_S = 0.25
"""After so long, the listener looks whether it is still needed, and who waits for a connection why there is none."""

RELISTEN_MOST_S = 5.0
"""Between two attempts to listen."""


class WaitPool:
    """The connections of one process to one CMP. Any thread may use it; `close` ends its threads and connections."""

    def __init__(self, target: Target, size: int) -> None:
        """Nothing is connected yet."""
        self.pid = os.getpid()
        self.size = size
        self._target = target
        self._news = threading.Condition()
        self._notifications = 0
        self._waiting = 0
        self._needed_until = 0.0
        self._listening = False
        self._pooled = False
        self._closed = False
        self._listener: threading.Thread | None = None
        self._listener_runs = False
        self._free = threading.Condition()
        self._loans: set[_Loan] = set()
        self._connections: WeakSet[Connection] = WeakSet()
        self._failures: list[tuple[float, OmnicdcError]] = []
        self._name = f"omnicdc-{id(self):x}"
        self._silence = _Silence(self._name)
        self._pool = self._opened()

    @property
    def patience_s(self) -> float:
        """Between two looks of one wait when no notification comes, at most."""
        return LISTENING_PATIENCE_S if self._listening else DEAF_PATIENCE_S

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
        finally:
            try:
                self._end(loan)
            except BaseException:  # a signal, just now
                self._end(loan)
                raise

    def heard(self) -> int:
        """Return how many notifications came so far."""
        with self._news:
            return self._notifications

    def sleep(self, heard: int, seconds: float) -> bool:
        """Return true as soon as there is a notification beyond `heard`, and false when the time is up."""
        with self._news:
            self._waiting += 1
            try:
                self._listen()
                self._news.wait_for(lambda: self._notifications != heard or self._closed, seconds)
            finally:
                self._waiting -= 1
                self._needed_until = time.monotonic() + IDLE_S
            return self._notifications != heard

    def close(self) -> None:
        """End threads and connections; a wait that goes on fails. A repeat, also in a forked process, does nothing."""
        if self.pid != os.getpid():
            return
        with self._news:
            already, self._closed = self._closed, True
            listener = self._listener
            self._news.notify_all()
        if not already:
            self._pool.close()
            logging.getLogger("psycopg.pool").removeFilter(self._silence)
        if listener and listener is not threading.current_thread():
            listener.join()

    def _opened(self) -> ConnectionPool[Connection]:
        logging.getLogger("psycopg.pool").addFilter(self._silence)
        return ConnectionPool(
            connection_class=self._connection_class(),
            min_size=0,
            max_size=self.size,
            open=True,
            name=self._name,
            max_idle=IDLE_S,
            reconnect_timeout=0,
            num_workers=1,
        )

    def _connection_class(self) -> type[Connection]:
        """Return what the pool opens connections with: as everywhere else, and a failure is remembered."""
        pool = self

        class Lent(Connection):
            @classmethod
            def connect(cls, *_args: Any, **_options: Any) -> Any:  # noqa: ANN401 - the driver's own
                try:
                    return pool._dialled()
                except OmnicdcError as exc:
                    pool._failures = [(time.monotonic(), exc)]
                    raise

        return Lent

    def _dialled(self) -> Connection:
        """Connect; in the pool's own threads, so the time that a wait has left is not known here."""
        conn = db.connect(self._target, connect_s=CONNECT_S, going_on=lambda: not self._closed)
        self._connections.add(conn)
        return conn

    def _take_turn(self, loan: _Loan, within_s: float) -> None:
        with self._free:
            if not self._free.wait_for(lambda: len(self._loans) < self.size, max(0.0, within_s)):
                raise DatabaseUnavailable(
                    f"all {self.size} connections of this process were in use for {within_s:.1f} s",
                    hint="wait_connections (OMNICDC_WAIT_CONNECTIONS) allows more",
                )
            self._loans.add(loan)

    def _taken(self, loan: _Loan) -> Connection:
        """Take a connection that works out of the pool; an attempt that failed since is why there is none."""
        asked = time.monotonic()
        while True:
            left = loan.deadline - time.monotonic()
            pool = self._pool
            try:
                loan.pool = pool
                loan.conn = pool.getconn(max(0.001, min(SLICE_S, left)))
            except PoolClosed as exc:
                if pool is self._pool:
                    raise DatabaseUnavailable("the client was closed meanwhile") from exc
                continue
            except PoolTimeout as exc:
                if failure := self._why_none(asked, left):
                    raise failure from exc
                continue
            except BaseException:
                self._replace(pool)
                raise
            if _works(loan.conn):
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
        self._give_back(loan)
        with self._free:
            self._loans.discard(loan)
            self._free.notify()

    def _give_back(self, loan: _Loan) -> None:
        """Return the connection to the pool that it comes from; one in the middle of anything is closed."""
        conn, pool = loan.conn, loan.pool
        if conn is None or pool is None:
            return
        conn.deadline = None
        if conn.closed or conn.info.transaction_status != psycopg.pq.TransactionStatus.IDLE:
            conn.close()
        try:
            loan.conn = None
            pool.putconn(conn)
        except BaseException:
            self._replace(pool)
            raise

    def _replace(self, pool: ConnectionPool[Connection]) -> None:
        """Put a new pool in the place of one that was interrupted, which may have lost connections. A repeat does nothing."""
        with self._news:
            if pool is not self._pool or self._closed:
                return
            lent = {loan.conn for loan in self._loans}
            lost = [conn for conn in self._connections if conn not in lent]
            self._pool = self._opened()
        pool.close(timeout=0)
        for conn in lost:
            conn.close()

    def _listen(self) -> None:
        """Have a thread listen, if none does. The caller holds the lock."""
        runs = self._listener_runs and self._listener is not None and self._listener.is_alive()
        if not (runs or self._pooled or self._closed):
            self._listener_runs = True
            self._listener = threading.Thread(target=self._run, name="omnicdc-listener", daemon=True)
            self._listener.start()

    def _run(self) -> None:
        try:
            self._listen_while_needed()
        finally:
            with self._news:
                if self._listener is threading.current_thread():
                    self._listener_runs = False

    def _listen_while_needed(self) -> None:
        pause = SLICE_S
        while self._needed():
            try:
                with db.connect(self._target, connect_s=CONNECT_S, going_on=lambda: not self._closed) as conn:
                    if conn.pooled:  # it takes LISTEN, and what is heard goes to others: only looking helps
                        self._pooled = True
                        return
                    conn.execute("listen omnicdc_published")
                    pause = SLICE_S
                    self._hear(conn)
            except (psycopg.Error, OmnicdcError):
                # Whoever waits looks by itself meanwhile, and reports what is wrong.
                pause = min(RELISTEN_MOST_S, pause * 2)
            finally:
                self._listening = False
            with self._news:
                self._news.wait_for(lambda: self._closed, pause)

    def _hear(self, conn: Connection) -> None:
        self._listening = True
        self._tell()  # what was published before may not have been heard
        while self._needed():
            if list(conn.notifies(timeout=SLICE_S, stop_after=1)):
                self._tell()

    def _tell(self) -> None:
        with self._news:
            self._notifications += 1
            self._news.notify_all()

    def _needed(self) -> bool:
        with self._news:
            needed = not self._closed and (self._waiting > 0 or time.monotonic() < self._needed_until)
            if not needed and self._listener is threading.current_thread():
                self._listener_runs = False
            return needed


@dataclass(eq=False, slots=True)
class _Loan:
    """What one wait has taken so far: its turn, if it is among the loans, and a connection."""

    deadline: float
    conn: Connection | None = None
    pool: ConnectionPool[Connection] | None = None


def _works(conn: Connection) -> bool:
    """Whether a connection that was idle still works; if not, another one is taken."""
    conn.deadline = time.monotonic() + CHECK_S
    try:
        ConnectionPool.check_connection(conn)
    except (psycopg.Error, OmnicdcError):
        return False
    return True


class Lease:
    """One user's share in the pool of its process; the last one that gives it up closes the pool."""

    def __init__(self, target: Target, size: int) -> None:
        """Nothing is opened yet. If the pool is there already, its size stays."""
        self._target = target
        self._size = size
        self._pool: WaitPool | None = None

    def pool(self) -> WaitPool:
        """Return the pool of this process, which is opened where it is not."""
        _close_abandoned()
        with _shared.lock:
            if self._pool is None or self._pool.pid != os.getpid():
                pool, users = _shared.pools.get(self._target) or (WaitPool(self._target, self._size), 0)
                _shared.pools[self._target] = (pool, users + 1)
                self._pool = pool
            return self._pool

    def close(self) -> None:
        """Give it up; a later `pool` takes it again. A repeat does nothing."""
        with _shared.lock:
            pool, self._pool = self._pool, None
            if pool is None or pool.pid != os.getpid():
                return
            _, users = _shared.pools[self._target]
            _shared.pools[self._target] = (pool, users - 1)
            if users > 1:
                return
            del _shared.pools[self._target]
        pool.close()

    def abandon(self) -> None:
        """Have it closed when a lease is used the next time: for finalizers, which must not wait for anything.

        The garbage collector runs them in whatever thread it likes, which may hold the locks that closing needs.
        """
        _shared.abandoned.put(self)


class _Shared:
    """All pools of one process, with the number of their users."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.pools: dict[Target, tuple[WaitPool, int]] = {}
        self.abandoned: SimpleQueue[Lease] = SimpleQueue()


_shared = _Shared()
_inherited: list[_Shared] = []
"""The parents': never used here, and never closed, for the sessions are theirs."""


def _start_over() -> None:
    global _shared  # noqa: PLW0603 - a process has one
    _inherited.append(_shared)
    _shared = _Shared()


def _close_abandoned() -> None:
    with suppress(Empty):
        while True:
            _shared.abandoned.get_nowait().close()


def _close_all() -> None:
    for pool, _users in list(_shared.pools.values()):
        pool.close()


os.register_at_fork(after_in_child=_start_over)
atexit.register(_close_all)


class _Silence(logging.Filter):
    """Keeps the pool's own reports of one pool out of the program's log: whoever waits gets an answer that says it."""

    def filter(self, record: logging.LogRecord) -> bool:
        told = record.args if isinstance(record.args, tuple) else ()
        return not any(isinstance(it, Connection) or str(it).startswith(self.name) for it in told)


def _again(failure: OmnicdcError) -> OmnicdcError:
    """Return the same failure, to be raised in another thread."""
    return type(failure)(failure.message, hint=failure.hint, again=failure.again)
