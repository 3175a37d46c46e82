"""A served CMP is a real one: a database, a registry host and a daemon for one test."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import asyncpg
import psycopg
import pytest
import sqlalchemy

from omnicdc.clients import AsyncGenesisClient, GenesisClient, MigrationClient
from omnicdc.errors import ConfigError
from omnicdc.testing.cmp import TABLE
from omnicdc.testing.server import open_server

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from omnicdc.testing import Served, Server


@pytest.fixture(scope="module")
def omnicdc_server(server: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The server of these tests, as with the option --omnicdc-dsn."""
    with open_server(tmp_path_factory.mktemp("served"), server) as opened:
        yield opened


def names(served: Served) -> list[str]:
    found = json.loads(served.registry("cmp_projects").read_text("utf-8"))
    return [entry["name"] for entry in found["uuids"].values()]


def insert(served: Served, name: str) -> Any:  # noqa: ANN401 - a WaitAnswer
    """Insert a project as a service does."""
    with psycopg.connect(served.dsn) as conn, served.client.propagation(conn) as p:
        conn.execute("insert into projects (name, status) values (%s, 'active')", [name])
    return p.result


def test_a_write_is_published_and_the_daemon_may_be_stopped_and_paused(omnicdc_served: Served) -> None:
    """Each verdict comes from the real daemon."""
    published = insert(omnicdc_served, "apollo")
    with omnicdc_served.stopped():
        omnicdc_served.stop()
        down = insert(omnicdc_served, "gemini")
    omnicdc_served.start()
    after_start = names(omnicdc_served)
    with omnicdc_served.paused():
        late = omnicdc_served.client.wait(_token(omnicdc_served, "mercury"), timeout=0.2)
    resumed = omnicdc_served.client.wait()

    assert (published["verdict"], published["consumers"]) == ("published", ["test-host"])
    assert (down["verdict"], down["success"]) == ("no_consumer", False)
    assert after_start == ["apollo", "gemini"]
    assert (late["verdict"], resumed["verdict"]) == ("timeout", "published")
    assert names(omnicdc_served) == ["apollo", "gemini", "mercury"]


def test_each_test_begins_with_an_empty_cmp(omnicdc_served: Served) -> None:
    """The test before has written to its own database and root."""
    assert names(omnicdc_served) == []


def test_other_drivers_and_clients_find_it(omnicdc_served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """asyncpg, SQLAlchemy, AsyncGenesisClient, MigrationClient, and a client that reads the environment."""

    async def asynchronous() -> Any:  # noqa: ANN401 - a WaitAnswer
        conn = await asyncpg.connect(omnicdc_served.dsn)
        async with AsyncGenesisClient(config=omnicdc_served.config) as client, client.propagation(conn) as p:
            await conn.execute("insert into projects (name) values ('asyncpg')")
        await conn.close()
        return p.result

    engine = sqlalchemy.create_engine(omnicdc_served.dsn.replace("postgresql:", "postgresql+psycopg:", 1))
    with engine.begin() as conn:
        conn.execute(sqlalchemy.text("insert into projects (name) values ('sqlalchemy')"))
    engine.dispose()
    for name, value in omnicdc_served.environ.items():
        monkeypatch.setenv(name, value)
    with GenesisClient() as client:
        by_name = client.propagate_project("sqlalchemy")
        uuid = _value(omnicdc_served, "select id::text from projects")
    with MigrationClient(config=omnicdc_served.config) as migration:
        plan = migration.plan([{"uuid": uuid, "set": {"status": "archived"}}])
        applied = migration.apply(plan)

    assert asyncio.run(asynchronous())["verdict"] == "published"
    assert (by_name["verdict"], applied["success"], applied["applied"]) == ("published", True, 1)


DUMP = """\\restrict abc
set check_function_bodies = false;
select pg_catalog.set_config('search_path', '', false);
create schema cms;
create table cms.projects (id uuid primary key, name text, key text, type text, status text, metadata_ jsonb);
\\unrestrict abc
"""


def test_a_service_has_its_own_tables_and_settings(omnicdc_server: Server, tmp_path: Path) -> None:
    """A file of pg_dump in another schema, further tables, and a registry of the service's own."""
    (tmp_path / "dump.sql").write_text(DUMP)
    schema: list[str | Path] = [
        tmp_path / "dump.sql",
        "create table conversations (id int, project uuid references cms.projects)",
    ]
    settings = {
        "tables": {"projects": "cms.projects"},
        "registries": [{"name": "names", "path": "names.json", "format": "json-list",
                        "query": "select id, name from projects"}],
    }  # fmt: skip
    with omnicdc_server.serve(schema, settings) as served:
        with psycopg.connect(served.dsn) as conn, served.client.propagation(conn) as p:
            conn.execute("insert into cms.projects (id, name) values (gen_random_uuid(), 'ö \N{ROCKET}')")
            conn.execute("insert into conversations select 1, id from cms.projects")
        declared = json.loads(served.registry("names").read_text("utf-8"))

        assert p.result["verdict"] == "published"
        assert names(served) == [it["name"] for it in declared] == ["ö \N{ROCKET}"]


def test_a_function_creates_the_tables_once(omnicdc_server: Server) -> None:
    """For a service that has migrations. Every test gets a copy of their result."""
    calls: list[str] = []

    def migrate(dsn: str) -> None:
        calls.append(dsn)
        with psycopg.connect(dsn) as conn:
            conn.execute(TABLE)
            conn.execute("insert into projects (name) values ('default')")

    with omnicdc_server.serve(migrate) as one, omnicdc_server.serve(migrate) as other:
        assert names(one) == names(other) == ["default"]
        assert len(calls) == 1


def test_what_cannot_be_served_is_refused(omnicdc_server: Server) -> None:
    with (
        pytest.raises(ConfigError, match="omnicdc_settings cannot have dsn, root"),
        omnicdc_server.serve(settings={"dsn": "host=x", "root": "/"}),
    ):
        pass
    with pytest.raises(ConfigError, match="did you mean poll_s"), omnicdc_server.serve(settings={"pol_s": 1}):
        pass
    for _ in range(2):  # what failed once is not kept
        with (
            pytest.raises(ConfigError, match="table projects does not exist"),
            omnicdc_server.serve("create table other (id int)"),
        ):
            pass


def _token(served: Served, name: str) -> str:
    """Insert a project, and return the transaction's token."""
    with psycopg.connect(served.dsn) as conn:
        conn.execute("insert into projects (name) values (%s)", [name])
        return served.client.token(conn)


def _value(served: Served, query: str) -> str:
    with psycopg.connect(served.admin_dsn) as conn:
        row = conn.execute(query.encode()).fetchone()
    assert row
    return str(row[0])
