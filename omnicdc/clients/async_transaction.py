"""Finds out which transaction a caller's asynchronous connection is in: see `transaction`.

The connection may be one of psycopg, of asyncpg, or of SQLAlchemy (a connection or a session).
"""

from __future__ import annotations

from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg.rows import tuple_row

from omnicdc.clients.block import Block, autocommit_error, end_by, explained, not_ours_error, token_from
from omnicdc.db import sql
from omnicdc.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from omnicdc.clients.block import End

HINT = "begin a transaction first, or write first and then call `await client.wait()`"
BY_HAND = "take `await client.token(conn)` inside it, and wait after its commit"


async def token_of(conn: Any) -> str:  # noqa: ANN401 - any driver's
    """Return the id of the transaction that a connection is in. The server assigns one if there is none.

    Raises ConfigError for a connection without a transaction, or in a failed one, and for an object that is
    not an asynchronous connection.
    """
    driver, autocommit = _driver(conn), partial(autocommit_error, HINT)
    with explained(autocommit):
        async with driver.savepoint():
            answers = await driver.scalar(sql.query("token")), await driver.scalar(sql.query("token"))
    return token_from(answers, autocommit)


async def server_process(conn: Any) -> int:  # noqa: ANN401 - any driver's
    """Return the id of the server process that runs a connection's transaction, even behind a pooler."""
    driver = _driver(conn)
    async with driver.savepoint():
        return int(await driver.scalar(sql.query("backend_pid")) or 0)


@asynccontextmanager
async def committed(conn: Any) -> AsyncIterator[Block]:  # noqa: ANN401 - any driver's
    """Commit what the block writes through `conn`; roll it back if the block raises an exception.

    A transaction is begun if none is open and the driver does not begin one by itself. Raises ConfigError
    before the block runs if the caller's own code will end the transaction.
    """
    driver = _driver(conn)
    async with driver.transaction():
        block = Block(await token_of(conn))
        yield block
        block.end = await _end(driver, block.token)


async def _end(driver: _Driver, token: str) -> End:
    try:
        async with driver.savepoint():
            now = await driver.scalar(sql.query("token_if_assigned"))
    except Exception as exc:  # noqa: BLE001 - each driver has its own
        return end_by(exc)
    return "same" if now == token else "other"


class _Driver:
    """What is needed of a driver."""

    def __init__(self, conn: Any) -> None:  # noqa: ANN401 - any driver's
        self.conn = conn

    async def execute(self, statement: str) -> None:
        """Run a statement."""
        raise NotImplementedError

    async def scalar(self, statement: str) -> str | None:
        """Run a query, and return its first value as text."""
        raise NotImplementedError

    @asynccontextmanager
    async def savepoint(self) -> AsyncIterator[None]:
        """Run the block in a savepoint, so that an error does not abort the caller's transaction."""
        await self.execute("savepoint omnicdc_token")
        try:
            yield
        except BaseException:
            with suppress(Exception):
                await self.execute("rollback to savepoint omnicdc_token")
            raise
        await self.execute("release savepoint omnicdc_token")

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[None]:
        """Commit at the end of the block, or roll back after an exception."""
        try:
            yield
        except BaseException:
            with suppress(Exception):
                await self.conn.rollback()
            raise
        await self.conn.commit()


class _Psycopg(_Driver):
    async def execute(self, statement: str) -> None:
        await psycopg.AsyncCursor(self.conn).execute(statement.encode())

    async def scalar(self, statement: str) -> str | None:
        async with psycopg.AsyncCursor(self.conn, row_factory=tuple_row) as cursor:
            row = await (await cursor.execute(statement.encode())).fetchone()
        return None if row is None or row[0] is None else str(row[0])

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[None]:
        if not self.conn.autocommit:
            async with super().transaction():
                yield
            return
        if self.conn.info.transaction_status != psycopg.pq.TransactionStatus.IDLE:
            raise not_ours_error(BY_HAND)
        async with self.conn.transaction():
            yield


class _Asyncpg(_Driver):
    async def execute(self, statement: str) -> None:
        await self.conn.execute(statement)

    async def scalar(self, statement: str) -> str | None:
        value = await self.conn.fetchval(statement)
        return None if value is None else str(value)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[None]:
        if self.conn.is_in_transaction():
            raise not_ours_error(BY_HAND)
        async with self.conn.transaction():
            yield


class _SqlAlchemy(_Driver):
    async def _connection(self) -> Any:  # noqa: ANN401 - SQLAlchemy's
        return self.conn if hasattr(self.conn, "exec_driver_sql") else await self.conn.connection()

    async def execute(self, statement: str) -> None:
        await (await self._connection()).exec_driver_sql(statement)

    async def scalar(self, statement: str) -> str | None:
        value = (await (await self._connection()).exec_driver_sql(statement)).scalar()
        return None if value is None else str(value)


def _driver(conn: Any) -> _Driver:  # noqa: ANN401 - any driver's
    if isinstance(conn, psycopg.AsyncConnection):
        return _Psycopg(conn)
    module = type(conn).__module__
    if module.startswith("asyncpg"):
        return _Asyncpg(conn)
    if module.startswith("sqlalchemy.ext.asyncio") or hasattr(conn, "exec_driver_sql"):
        return _SqlAlchemy(conn)
    raise ConfigError(
        f"{type(conn).__qualname__} is no asynchronous connection",
        hint="a connection of psycopg, asyncpg or SQLAlchemy for asyncio; GenesisClient takes the others",
    )
