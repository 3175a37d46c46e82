"""The connections that all waits of a process share: one that listens, and a few that are lent for checks.

One connection for each wait would be simpler, but fifty waits could use up all connections and leave none for
CMP's writers. The module `wait` checks and decides; this module only supplies connections. A forked process
opens its own.
"""

from __future__ import annotations

import _thread
import atexit
import os
import threading
import time
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING

import psycopg

from omnicdc import db
from omnicdc.delivery.lender import CONNECT_S, IDLE_S, Lender
from omnicdc.errors import OmnicdcError

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from omnicdc.db.connection import Connection
    from omnicdc.db.conninfo import Target

LISTENING_POLL_S = 2.0
"""Longest time in seconds between two checks of a wait while the process receives notifications."""

POLL_S = 0.5
"""Longest time in seconds between two checks of a wait while the process receives no notifications."""

SLICE_S = 0.25
"""The listener checks at this interval, in seconds, whether it is still needed."""

RELISTEN_MOST_S = 5.0
"""Longest time in seconds between two attempts to listen."""


class WaitPool:
    """The connections of one process to one CMP. Any thread may use a pool.

    `close` ends the threads and the connections of the pool.
    """

    def __init__(self, target: Target, size: int) -> None:
        """Store the arguments. Connections are opened only when needed."""
        self.pid = os.getpid()
        self._target = target
        self._notifications = 0
        self._waiters: set[_thread.LockType] = set()
        self._needed_until = 0.0
        self._listening = False
        self._behind_pooler = False
        self._closed = False
        self._closing = _thread.allocate_lock()
        self._closing.acquire()
        self._listener: threading.Thread | None = None
        self._lender = Lender(target, size)

    @property
    def longest_poll_s(self) -> float:
        """The longest time in seconds between two checks of a wait when no notification comes."""
        return LISTENING_POLL_S if self._listening else POLL_S

    def connection(self, within_s: float) -> AbstractContextManager[Connection]:
        """Lend a connection for the `with` block.

        While the server has no connection left, this retries. Raises DatabaseUnavailable if no connection is
        available within `within_s` seconds, or if CMP cannot be reached.
        """
        return self._lender.connection(within_s)

    def notification_count(self) -> int:
        """Return how many notifications have arrived so far."""
        return self._notifications

    def sleep(self, seen_count: int, seconds: float) -> bool:
        """Return true as soon as `notification_count` is not `seen_count`, and false when the time is up."""
        # The release of a lock wakes this thread. A Condition is not used: see `lender`.
        waiter = _thread.allocate_lock()
        waiter.acquire()
        try:
            self._waiters.add(waiter)
            if not (self._listener or self._behind_pooler or self._closed):
                self._lender.do(self._start_listener)
            if self._notifications == seen_count and not self._closed:
                waiter.acquire(timeout=max(0.0, seconds))
        finally:
            self._waiters.discard(waiter)
            self._needed_until = time.monotonic() + IDLE_S
        return self._notifications != seen_count

    def close(self) -> None:
        """End the threads and the connections. A wait that is still running gets DatabaseUnavailable.

        A repeat is harmless. In a forked process this does nothing.
        """
        if self.pid != os.getpid():
            return
        if not self._closed:
            self._closed = True
            self._closing.release()
        self._wake()
        self._lender.close()
        listener = self._listener
        if listener and listener is not threading.current_thread():
            listener.join()

    def _start_listener(self) -> None:
        """Start the thread that listens, unless it runs. Only the lender's thread for chores calls this."""
        if not (self._listener or self._behind_pooler or self._closed):
            self._listener = threading.Thread(target=self._run, name="omnicdc-listener", daemon=True)
            self._listener.start()

    def _run(self) -> None:
        try:
            self._listen_while_needed()
        finally:
            self._listener = None
        if self._waiters:  # one that was added after the last check
            self._lender.do(self._start_listener)

    def _listen_while_needed(self) -> None:
        pause = SLICE_S
        while self._needed():
            try:
                with db.connect(self._target, connect_s=CONNECT_S, going_on=lambda: not self._closed) as conn:
                    if conn.behind_pooler:
                        # A pooler accepts LISTEN but delivers notifications to other clients, so waits must
                        # poll.
                        self._behind_pooler = True
                        return
                    conn.execute("listen omnicdc_published")
                    pause = SLICE_S
                    self._receive(conn)
            except (psycopg.Error, OmnicdcError):
                # Each waiter polls meanwhile, and reports the error itself.
                pause = min(RELISTEN_MOST_S, pause * 2)
            finally:
                self._listening = False
            if self._closing.acquire(timeout=pause):
                return

    def _receive(self, conn: Connection) -> None:
        self._listening = True
        self._count_notification()  # a notification may have come before LISTEN, so every waiter checks once
        while self._needed():
            if list(conn.notifies(timeout=SLICE_S, stop_after=1)):
                self._count_notification()

    def _count_notification(self) -> None:
        self._notifications += 1
        self._wake()

    def _wake(self) -> None:
        for waiter in list(self._waiters):
            with suppress(RuntimeError):  # the waiter is awake already
                waiter.release()

    def _needed(self) -> bool:
        return not self._closed and (bool(self._waiters) or time.monotonic() < self._needed_until)


class Lease:
    """One client's right to use the pool of its process. Closing the last lease closes the pool."""

    def __init__(self, target: Target, size: int) -> None:
        """Store the arguments; open nothing. If the pool exists already, `size` has no effect."""
        self._target = target
        self._size = size
        self._pool: WaitPool | None = None

    def pool(self) -> WaitPool:
        """Return the pool of this process for this target; create it if there is none."""
        _close_abandoned()
        with _shared.lock:
            if self._pool is None or self._pool.pid != os.getpid():
                pool, users = _shared.pools.get(self._target) or (WaitPool(self._target, self._size), 0)
                _shared.pools[self._target] = (pool, users + 1)
                self._pool = pool
            return self._pool

    def close(self) -> None:
        """Give up the right to use the pool. A repeat does nothing. A later call of `pool` regains it."""
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
        """Request that the next call of `pool`, on any lease, closes this lease.

        This is for finalizers, which must not wait. The garbage collector runs a finalizer in any thread, and
        this thread may hold the locks that closing needs.
        """
        _shared.abandoned.put(self)


class _Shared:
    """All pools of one process, with the number of leases of each."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.pools: dict[Target, tuple[WaitPool, int]] = {}
        self.abandoned: SimpleQueue[Lease] = SimpleQueue()


_shared = _Shared()
_inherited: list[_Shared] = []
"""Pools of parent processes. They are kept but never used or closed here, because their connections belong to
the parent."""


def _reset_after_fork() -> None:
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


os.register_at_fork(after_in_child=_reset_after_fork)
atexit.register(_close_all)
