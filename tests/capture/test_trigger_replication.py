"""P1: writes of logical replication to CMP's table are captured, like all other writes."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import psycopg
import pytest
from psycopg import sql as pgsql
from support.cmp import TABLE, Cmp
from support.host import until
from support.sessions import Ear

from omnicdc import db

if TYPE_CHECKING:
    from collections.abc import Iterator

NAME = f"omnicdc_origin_{os.getpid()}"


@pytest.fixture
def origin(server: str, cmp: Cmp) -> Iterator[Cmp]:
    """Another CMP, whose projects are replicated into `cmp`."""
    if cmp.value("select current_setting('wal_level')") != "logical":
        pytest.skip("the server's wal_level is not logical")
    name = pgsql.Identifier(NAME)
    with psycopg.connect(server, autocommit=True) as admin:
        admin.execute(pgsql.SQL("create database {}").format(name))
        with Cmp(psycopg.conninfo.make_conninfo(server, dbname=NAME)) as origin:
            origin.conn.execute(TABLE)
            origin.conn.execute("create publication everything for all tables")
            # On one server, a subscription that creates its slot would wait for its own transaction.
            origin.conn.execute("select pg_create_logical_replication_slot(%s, 'pgoutput')", [NAME])
            cmp.conn.execute(
                pgsql.SQL(
                    "create subscription {} connection {} publication everything with (create_slot = false, "
                    "copy_data = false)"
                ).format(name, origin.dsn)
            )
            yield origin
            cmp.conn.execute(pgsql.SQL("drop subscription {}").format(name))
        admin.execute(pgsql.SQL("drop database {} with (force)").format(name))


def test_replicated_writes_are_logged_and_notify(cmp: Cmp, origin: Cmp) -> None:
    with Ear(cmp) as ear, db.connect(cmp.dsn) as consumer:
        db.execute(consumer, "park")
        project = origin.upsert("apollo", status="active")
        origin.upsert("apollo", id=project, status="archived")
        origin.upsert("apollo", id=project, status="archived")
        origin.conn.execute("delete from projects")
        origin.conn.execute("truncate projects")
        until(lambda: (None, "truncate", None) in cmp.log(), "the truncate is replicated")
        rings = ear.rings()

    assert cmp.log() == [
        (project, "insert", None),
        (project, "update", ("status",)),
        (project, "delete", None),
        (None, "truncate", None),
    ]
    assert rings == 4
