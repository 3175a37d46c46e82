"""What all waits of a process share: one connection that listens, and a few that are borrowed to look with.

A wait with a connection of its own would be simpler, and fifty of them would leave CMP's writers none. `wait`
looks and decides, here is only where its connections come from. A process that was forked opens its own.
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

LISTENING_PATIENCE_S = 2.0
"""Between two looks of one wait, while the process listens."""

DEAF_PATIENCE_S = 0.5
"""The same while it does not."""

SLICE_S = 0.25
"""After so long, the listener looks whether it is still needed."""

RELISTEN_MOST_S = 5.0
"""Between two attempts to listen."""


class WaitPool:
    """The connections of one process to one CMP. Any thread may use it.

    `close` ends its threads and connections.
    """

    def __init__(self, target: Target, size: int) -> None:
        """Nothing is connected yet."""
        self.pid = os.getpid()
        self._target = target
        self._notifications = 0
        self._sleepers: set[_thread.LockType] = set()
        self._needed_until = 0.0
        self._listening = False
        self._pooled = False
        self._closed = False
        self._closing = _thread.allocate_lock()
        self._closing.acquire()
        self._listener: threading.Thread | None = None
        self._lender = Lender(target, size)

    @property
    def patience_s(self) -> float:
        """Between two looks of one wait when no notification comes, at most."""
        return LISTENING_PATIENCE_S if self._listening else DEAF_PATIENCE_S

    def connection(self, within_s: float) -> AbstractContextManager[Connection]:
        """Lend a connection.

        Raises DatabaseUnavailable if none is to be had in that time, or CMP cannot be reached.

        As long as the server has no connection left, it is tried again.
        """
        return self._lender.connection(within_s)

    def heard(self) -> int:
        """Return how many notifications came so far."""
        return self._notifications

    def sleep(self, heard: int, seconds: float) -> bool:
        """Return true as soon as there is a notification beyond `heard`, and false when the time is up."""
        # Woken by a lock that is released, not by a Condition: see `lender`.
        sleeper = _thread.allocate_lock()
        sleeper.acquire()
        try:
            self._sleepers.add(sleeper)
            if not (self._listener or self._pooled or self._closed):
                self._lender.do(self._listen)
            if self._notifications == heard and not self._closed:
                sleeper.acquire(timeout=max(0.0, seconds))
        finally:
            self._sleepers.discard(sleeper)
            self._needed_until = time.monotonic() + IDLE_S
        return self._notifications != heard

    def close(self) -> None:
        """End threads and connections; a wait that goes on fails.

        A repeat, also in a forked process, does nothing.
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

    def _listen(self) -> None:
        """Have a thread listen, if none does. Called by one thread only."""
        if not (self._listener or self._pooled or self._closed):
            self._listener = threading.Thread(target=self._run, name="omnicdc-listener", daemon=True)
            self._listener.start()

    def _run(self) -> None:
        try:
            self._listen_while_needed()
        finally:
            self._listener = None
        if self._sleepers:  # one that came just now
            self._lender.do(self._listen)

    def _listen_while_needed(self) -> None:
        pause = SLICE_S
        while self._needed():
            try:
                with db.connect(self._target, connect_s=CONNECT_S, going_on=lambda: not self._closed) as conn:
                    if (
                        conn.behind_pooler
                    ):  # it takes LISTEN, and what is heard goes to others: only looking helps
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
            if self._closing.acquire(timeout=pause):
                return

    def _hear(self, conn: Connection) -> None:
        self._listening = True
        self._tell()  # what was published before may not have been heard
        while self._needed():
            if list(conn.notifies(timeout=SLICE_S, stop_after=1)):
                self._tell()

    def _tell(self) -> None:
        self._notifications += 1
        self._wake()

    def _wake(self) -> None:
        for sleeper in list(self._sleepers):
            with suppress(RuntimeError):  # it is awake
                sleeper.release()

    def _needed(self) -> bool:
        return not self._closed and (bool(self._sleepers) or time.monotonic() < self._needed_until)


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
        """Have it closed when a lease is used the next time.

        This is for finalizers, which must not wait for anything. The garbage collector runs them in whatever
        thread it likes, which may hold the locks that closing needs.
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
