"""A connection for asyncio, with the settings that we depend on: see `connection`.

It has no stop and no second connection that asks about a silent server: a coroutine is cancelled instead, and
each call has a time limit.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Self

import psycopg
from psycopg.rows import dict_row
from psycopg.types.string import TextLoader

from omnicdc.db import sql
from omnicdc.db.connect import connect
from omnicdc.db.connection import Row
from omnicdc.errors import DatabaseUnavailable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from omnicdc.db.conninfo import Target


class AsyncConnection(psycopg.AsyncConnection[Row]):
    """A connection in autocommit mode whose rows are dicts."""

    behind_pooler: bool = False
    """Whether a pooler is between us and the server: then LISTEN does not work."""

    @classmethod
    async def open(cls, target: Target, within_s: float) -> Self:
        """Connect within some seconds, and pin the settings. Raises ConfigError and DatabaseUnavailable."""
        try:
            async with asyncio.timeout(within_s):
                login = await asyncio.to_thread(target.login, within_s)
                conn = await cls.connect(
                    login.conninfo, autocommit=True, row_factory=dict_row, client_encoding="utf8",
                    prepare_threshold=None,
                )  # fmt: skip
                await conn.pin_if_direct()
        except TimeoutError as exc:
            raise DatabaseUnavailable(
                f"CMP cannot be reached: no answer within {round(within_s, 1):g} s", again=True
            ) from exc
        except psycopg.Error:
            # The same attempt in a thread knows how to explain the failure. It may also succeed.
            (await asyncio.to_thread(connect, target, timeout_s=within_s)).close()
            raise DatabaseUnavailable("CMP refused a connection, and takes one now", again=True) from None
        return conn

    async def pin_if_direct(self) -> None:
        """Detect whether a pooler is between us and the server; if not, pin the settings for the session."""
        self.adapters.register_loader("uuid", TextLoader)
        driver_pid = self.info.backend_pid
        self.behind_pooler = await self._pin(local=False, pid=driver_pid) != driver_pid

    async def _pin(self, *, local: bool, pid: int | None = None) -> int:
        found = await (await self.execute(sql.query("pin"), {"local": local, "pid": pid})).fetchone()
        return int(found["pid"]) if found else 0

    @asynccontextmanager
    async def pinned(self) -> AsyncIterator[None]:
        """Run the `async with` block in one transaction, with our settings."""
        async with self.transaction():
            if self.behind_pooler:
                await self._pin(local=True)
            yield

    @asynccontextmanager
    async def confined(self) -> AsyncIterator[None]:
        """As `pinned`, in a transaction that only reads, and with a restricted search_path."""
        async with self.pinned():
            await self.execute(sql.query("confine"), {"local": True})
            yield

    async def rows(self, statement: Any, params: Any = None) -> list[Row]:  # noqa: ANN401 - psycopg's own
        """Run a query, and return its rows."""
        return await (await self.execute(statement, params)).fetchall()
