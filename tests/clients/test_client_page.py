"""The programs of docs/client.md and docs/client-asyncio.md run as they are written."""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import asyncpg
import psycopg
from psycopg.conninfo import conninfo_to_dict
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine

from omnicdc.clients import AsyncGenesisClient

if TYPE_CHECKING:
    import pytest
    from support.cmp import Cmp
    from support.host import Host

DOCS = Path(__file__).parents[2] / "docs"


def programs(page: str) -> list[str]:
    text = (DOCS / page).read_text("utf-8")
    return re.findall(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


def test_the_page_of_the_client_runs(cmp: Cmp, host: Host) -> None:
    cmp.upsert("apollo")
    cmp.upsert("gemini")
    host.daemon()

    done = subprocess.run(
        [sys.executable, "-c", "\n".join(programs("client.md"))],
        env=host.env, capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("published ['canonical_projects_uuids.json'")
    assert [it["name"] for it in host.canonical().values()] == ["apollo", "gemini", "voyager"]


def test_the_page_for_asyncio_runs(cmp: Cmp, host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in host.env.items():
        monkeypatch.setenv(name, value)
    host.daemon()
    page: dict[str, Any] = {}
    exec("\n".join(programs("client-asyncio.md")), page)

    answers, published = asyncio.run(every_function(page, cmp))

    assert [answer["verdict"] for answer in answers] == ["published"] * 5
    assert published
    assert {it["name"] for it in host.canonical().values()} == {"apollo", "gemini", "mercury", "skylab"}


async def every_function(page: dict[str, Any], cmp: Cmp) -> tuple[list[Any], bool]:
    engine = create_async_engine(
        "postgresql+psycopg://", async_creator=lambda: psycopg.AsyncConnection.connect(cmp.dsn)
    )
    given = conninfo_to_dict(cmp.dsn)
    names = {"host": "host", "port": "port", "user": "user", "dbname": "database"}
    with_asyncpg = await asyncpg.connect(**{new: given[name] for name, new in names.items() if name in given})
    async with (
        AsyncGenesisClient() as client,
        await psycopg.AsyncConnection.connect(cmp.dsn) as with_psycopg,
        AsyncSession(engine) as session,
    ):
        answers = [
            await page["create_with_psycopg"](with_psycopg, client),
            await page["create_with_sqlalchemy"](session, client),
            await page["create_with_asyncpg"](with_asyncpg, client),
            await page["create_then_wait"](with_asyncpg, client),
        ]
        answers.append(await page["all_committed"]())
        gemini = cmp.value("select id::text from projects where name = 'gemini'")
        published = await page["published"](client, "gemini", gemini)
    await with_asyncpg.close()
    await engine.dispose()
    return answers, published
