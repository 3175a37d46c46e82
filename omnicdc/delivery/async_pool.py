"""The two connections that all waits of one event loop share: one listens, and one asks.

So a thousand waits need two connections and no thread. They are opened when a wait needs them, and closed
with the last client.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, TypeVar
from weakref import WeakKeyDictionary

import psycopg

from omnicdc.db import translated
from omnicdc.db.async_connection import AsyncConnection
from omnicdc.db.schema import check_version
from omnicdc.delivery.asking import Dialogue, one
from omnicdc.errors import DatabaseUnavailable, OmnicdcError, SchemaMismatch

if TYPE_CHECKING:
    from omnicdc.db.conninfo import Target
    from omnicdc.delivery.asking import Asking

T = TypeVar("T")

LISTENING_POLL_S, POLL_S = 2.0, 0.5
"""Longest time in seconds between two checks of a wait, with and without notifications."""

CONNECT_S = 10.0
RELISTEN_S = 1.0


class AsyncPool:
    """The connections of one event loop to one CMP."""

    def __init__(self, target: Target) -> None:
        """Store the target. Connections are opened only when needed."""
        self._target = target
        self._asker: AsyncConnection | None = None
        self._checked: AsyncConnection | None = None
        """The connection on which the schema was checked."""
        self._turn = asyncio.Lock()
        self._listener: asyncio.Task[None] | None = None
        self._listening = False
        self._waiters: set[asyncio.Future[None]] = set()
        self.notifications = 0
        """How many notifications have arrived so far."""

    @property
    def longest_poll_s(self) -> float:
        """The longest time in seconds between two checks of a wait when no notification comes."""
        return LISTENING_POLL_S if self._listening else POLL_S

    async def ask(self, asking: Asking[T], within_s: float, *, confined: bool = True) -> T:
        """Run queries, one wait after the other. Raises DatabaseUnavailable if that takes too long."""
        try:
            async with asyncio.timeout(within_s), self._turn:
                return await self._ask(asking, within_s, confined=confined)
        except TimeoutError as exc:
            raise DatabaseUnavailable(
                f"CMP did not answer within {round(within_s, 1):g} s",
                hint="a longer timeout, or look at the server: `select * from pg_stat_activity`",
            ) from exc

    async def _ask(self, asking: Asking[T], within_s: float, *, confined: bool) -> T:
        if self._asker is None or self._asker.closed:
            self._asker = await AsyncConnection.open(self._target, within_s)
        conn = self._asker
        try:
            async with conn.confined() if confined else conn.pinned():
                await self._check_schema(conn)
                return await _answered(conn, asking)
        except BaseException:
            # The connection may be in the middle of a query: a wait that was cancelled, or an error.
            if conn.info.transaction_status != psycopg.pq.TransactionStatus.IDLE:
                await conn.close()
            raise

    async def _check_schema(self, conn: AsyncConnection) -> None:
        """Check the schema once for each connection. Raises SchemaMismatch."""
        if conn is self._checked:
            return
        database = conn.info.dbname
        if not (await _answered(conn, one("schema_state")))["installed"]:
            raise SchemaMismatch(
                f"omnicdc is not installed in database {database}", hint="run `omnicdc install`"
            )
        check_version(int((await _answered(conn, one("schema_version")))["version"]), database)
        self._checked = conn

    async def sleep(self, seen: int, seconds: float) -> bool:
        """Return true as soon as `notifications` is not `seen`, and false when the time is up."""
        if self._listener is None or self._listener.done():
            self._listener = asyncio.create_task(self._listen(), name="omnicdc-listener")
        if self.notifications == seen:
            waiter = asyncio.get_running_loop().create_future()
            self._waiters.add(waiter)
            try:
                with suppress(TimeoutError):
                    await asyncio.wait_for(waiter, max(0.0, seconds))
            finally:
                self._waiters.discard(waiter)
        return self.notifications != seen

    async def close(self) -> None:
        """Close both connections. A wait that is still running gets DatabaseUnavailable."""
        if self._listener:
            self._listener.cancel()
            with suppress(asyncio.CancelledError):
                await self._listener
        if self._asker:
            await self._asker.close()

    async def _listen(self) -> None:
        """Receive notifications until the task is cancelled. A lost connection is opened anew."""
        while True:
            try:
                async with await AsyncConnection.open(self._target, CONNECT_S) as conn:
                    if conn.behind_pooler:
                        return  # a pooler gives notifications to other clients: the waits poll
                    await conn.execute("listen omnicdc_published")
                    self._listening = True
                    self._notify()  # one may have come before LISTEN, so each wait checks once
                    async for _ in conn.notifies():
                        self._notify()
            except (psycopg.Error, OmnicdcError):
                # Each wait polls meanwhile, and reports the error itself.
                await asyncio.sleep(RELISTEN_S)
            finally:
                self._listening = False

    def _notify(self) -> None:
        self.notifications += 1
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)


async def _answered(conn: AsyncConnection, asking: Asking[T]) -> T:
    """Run the queries on a connection, and return the result: see `asking.answered`."""
    with translated("asking CMP"):
        dialogue = Dialogue(asking)
        while ask := dialogue.ask:
            try:
                found = await conn.rows(ask.statement, ask.params)
            except psycopg.Error as exc:
                dialogue.refuse(exc)
            else:
                dialogue.answer(found)
        return dialogue.result


class AsyncLease:
    """One client's right to use the pool of its event loop. Closing the last lease closes the pool."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._held: tuple[asyncio.AbstractEventLoop, AsyncPool] | None = None

    def pool(self) -> AsyncPool:
        """Return the pool of the running event loop for this target; create it if there is none."""
        loop = asyncio.get_running_loop()
        if self._held is None or self._held[0] is not loop:
            pools = _pools.setdefault(loop, {})
            pool, users = pools.get(self._target) or (AsyncPool(self._target), 0)
            pools[self._target] = (pool, users + 1)
            self._held = (loop, pool)
        return self._held[1]

    async def close(self) -> None:
        """Give up the right to use the pool. A repeat does nothing. A later call of `pool` regains it."""
        held, self._held = self._held, None
        if held is None or held[0] is not asyncio.get_running_loop():
            return
        pools = _pools[held[0]]
        pool, users = pools[self._target]
        pools[self._target] = (pool, users - 1)
        if users == 1:
            del pools[self._target]
            await pool.close()


_pools: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[Target, tuple[AsyncPool, int]]] = (
    WeakKeyDictionary()
)
"""All pools of this process, by event loop, with the number of leases of each."""
