"""A server with little room, and what the tests of this directory run on it."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import pytest
from psycopg import sql as pgsql
from support.cmp import TABLE, Cmp
from support.fresh_server import FreshServer
from support.host import Host
from support.memory import in_memory
from support.sources import projects

from omnicdc import db
from omnicdc.capture import install

if TYPE_CHECKING:
    from collections.abc import Iterator

    from omnicdc.testing.embedded import EmbeddedServer


@pytest.fixture(scope="session")  # one server, as all files of this directory run in one process
def small_server(request: pytest.FixtureRequest) -> Iterator[EmbeddedServer]:
    """A server for the tests of this directory, with the smallest NOTIFY queue.

    It accepts 250 connections (in a short run 60). Its new databases have CMP's table and the capture.
    """
    room = "250" if request.config.option.campaign else "60"
    server = FreshServer(
        Path(tempfile.mkdtemp(prefix="omnicdc-load-", dir=in_memory())),
        {"max_connections": room, "max_notify_queue_pages": "64", "fsync": "off"},
    )
    server.create()
    server.start()
    with db.connect(server.dsn("template1")) as conn:
        conn.execute(TABLE)
        install.install(conn, projects())
    yield server
    server.delete()


@pytest.fixture
def small_cmp(small_server: EmbeddedServer, request: pytest.FixtureRequest) -> Iterator[Cmp]:
    """A CMP with the capture on that server."""
    name = f"cmp_{abs(hash(request.node.nodeid)) % 10**8}"
    dsn = small_server.dsn(name)
    with psycopg.connect(small_server.dsn(), autocommit=True) as admin:
        admin.execute(pgsql.SQL("create database {} strategy file_copy").format(pgsql.Identifier(name)))
        with Cmp(dsn) as cmp:
            yield cmp
        admin.execute(pgsql.SQL("drop database {} with (force)").format(pgsql.Identifier(name)))


@pytest.fixture
def small_host(small_cmp: Cmp, tmp_path: Path) -> Iterator[Host]:
    """A registry host for `small_cmp`."""
    host = Host(tmp_path / "host", small_cmp.dsn)
    yield host
    host.close()
