"""AsyncGenesisClient: the methods and answers of GenesisClient, on two connections and no thread."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any

import asyncpg
import psycopg
import pytest
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine

from omnicdc.clients import AsyncGenesisClient, GenesisClient
from omnicdc.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from support.cmp import Cmp
    from support.evidence import Scale
    from support.host import Host

INSERT = "insert into projects (name) values ('apollo')"
CONNECTIONS = """
select count(*) from pg_stat_activity
 where datname = current_database() and application_name like 'omnicdc%%' and backend_start > %s
"""


def run(host: Host, call: Callable[[AsyncGenesisClient], Awaitable[Any]]) -> Any:  # noqa: ANN401
    async def main() -> Any:  # noqa: ANN401
        async with AsyncGenesisClient(config=host.config()) as client:
            return await call(client)

    return asyncio.run(main())


def test_every_answer_is_that_of_the_other_client(cmp: Cmp, host: Host) -> None:
    atlas = cmp.upsert("atlas")
    host.daemon()
    cmp.arrived()

    async def calls(client: AsyncGenesisClient) -> list[Any]:
        return [
            await client.propagate_project("atlas"),
            await client.propagate_project(None, dry_run=True),
            await client.propagate_batch(["atlas"]),
            await client.propagate_project("nobody"),
            await client.propagate_batch("atlas"),
            await client.verify_propagation(atlas),
            await client.wait("x"),
            await client.rebuild_all_registries(),
        ]

    with GenesisClient(config=host.config()) as client:
        wanted: list[Any] = [
            client.propagate_project("atlas"),
            client.propagate_project(None, dry_run=True),
            client.propagate_batch(["atlas"]),
            client.propagate_project("nobody"),
            client.propagate_batch("atlas"),
            client.verify_propagation(atlas),
            client.wait("x"),
            client.rebuild_all_registries(),
        ]
    found = run(host, calls)

    for mine, theirs in zip(found, wanted, strict=True):
        assert list(mine) == list(theirs)
        for changing in ("token", "generation", "milliseconds"):
            mine.pop(changing, None)
            theirs.pop(changing, None)
        assert mine == theirs


async def with_psycopg(dsn: str, client: AsyncGenesisClient) -> Any:  # noqa: ANN401
    async with await psycopg.AsyncConnection.connect(dsn) as conn:
        async with client.propagation(conn) as p:
            await conn.execute(INSERT)
        return p.result


async def with_autocommit(dsn: str, client: AsyncGenesisClient) -> Any:  # noqa: ANN401
    async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as conn:
        async with client.propagation(conn) as p:
            await conn.execute(INSERT)
        return p.result


async def with_asyncpg(dsn: str, client: AsyncGenesisClient) -> Any:  # noqa: ANN401
    conn = await asyncpg.connect(**asyncpg_arguments(dsn))
    try:
        async with client.propagation(conn) as p:
            await conn.execute(INSERT)
        return p.result
    finally:
        await conn.close()


async def with_sqlalchemy(dsn: str, client: AsyncGenesisClient) -> Any:  # noqa: ANN401
    engine = create_async_engine(
        "postgresql+psycopg://", async_creator=lambda: psycopg.AsyncConnection.connect(dsn)
    )
    async with AsyncSession(engine) as session:
        async with client.propagation(session) as p:
            await (await session.connection()).exec_driver_sql(INSERT)
        result = p.result
    await engine.dispose()
    return result


def asyncpg_arguments(dsn: str) -> dict[str, Any]:
    given = psycopg.conninfo.conninfo_to_dict(dsn)
    names = {"host": "host", "port": "port", "user": "user", "dbname": "database"}
    return {names[name]: value for name, value in given.items() if name in names}


@pytest.mark.parametrize("write", [with_psycopg, with_autocommit, with_asyncpg, with_sqlalchemy])
def test_a_transaction_of_each_driver_is_waited_for(
    cmp: Cmp, host: Host, write: Callable[[str, AsyncGenesisClient], Awaitable[Any]]
) -> None:
    host.daemon()

    result = run(host, lambda client: write(cmp.dsn, client))

    assert result["success"], result
    assert [it["name"] for it in host.canonical().values()] == ["apollo"]


@pytest.mark.parametrize("kind", ["psycopg", "asyncpg"])
def test_a_token_is_waited_for_after_the_commit(cmp: Cmp, host: Host, kind: str) -> None:
    host.daemon()

    async def call(client: AsyncGenesisClient) -> Any:  # noqa: ANN401
        if kind == "psycopg":
            async with await psycopg.AsyncConnection.connect(cmp.dsn) as conn:
                await conn.execute(INSERT)
                token = await client.token(conn)
        else:
            conn = await asyncpg.connect(**asyncpg_arguments(cmp.dsn))
            async with conn.transaction():
                await conn.execute(INSERT)
                token = await client.token(conn)
            await conn.close()
        return await client.wait(token)

    assert run(host, call)["verdict"] == "published"


def test_a_connection_without_a_transaction_is_refused(cmp: Cmp, host: Host) -> None:
    async def call(client: AsyncGenesisClient) -> None:
        conn = await asyncpg.connect(**asyncpg_arguments(cmp.dsn))
        try:
            await client.token(conn)
        finally:
            await conn.close()

    with pytest.raises(ConfigError, match="autocommit mode"):
        run(host, call)


def test_many_waiters_take_two_connections_and_no_thread(cmp: Cmp, host: Host, scale: Scale) -> None:
    host.daemon()
    began = cmp.value("select clock_timestamp()")

    async def call(client: AsyncGenesisClient) -> tuple[list[Any], int, int]:
        with cmp.transaction() as (conn, token):
            cmp.upsert("apollo", conn=conn)
            before = threading.active_count()
            waits = [asyncio.create_task(client.wait(token, 100.0)) for _ in range(scale(200, 1000))]
            await client.wait(timeout=0)  # is served after them, so all of them have checked once
            connections, threads = cmp.value(CONNECTIONS, began), threading.active_count() - before
        return await asyncio.gather(*waits), connections, threads

    answers, connections, threads = run(host, call)

    assert {it["verdict"] for it in answers} == {"published"}
    assert connections <= 2
    assert threads <= 1  # asyncio's own, in which the password file is read


def test_a_wait_that_is_cancelled_leaves_the_others_alone(cmp: Cmp, host: Host) -> None:
    cmp.upsert("atlas")
    host.daemon()

    async def call(client: AsyncGenesisClient) -> Any:  # noqa: ANN401
        for _ in range(20):
            task = asyncio.create_task(client.wait())
            await asyncio.sleep(0)
            task.cancel()
        return await client.wait()

    assert run(host, call)["success"]


def test_a_server_that_cannot_be_reached_is_an_answer() -> None:
    async def call() -> Any:  # noqa: ANN401
        async with AsyncGenesisClient("host=127.0.0.1 port=1 dbname=cms_db", timeout=2.0) as client:
            return await client.wait()

    found = asyncio.run(call())

    assert (found["success"], found["verdict"]) == (False, "unavailable")
    assert "cannot be reached" in found["error"]
