"""P4: a full NOTIFY queue makes the commit of a notification fail.

CMP's writers then do not notify, and their writes succeed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import psycopg
import pytest
from support.cmp import TABLE, Cmp
from support.sessions import Ear
from support.sources import projects

from omnicdc import db
from omnicdc.capture import install

if TYPE_CHECKING:
    from collections.abc import Iterator

# One process runs these tests, so that their server is started once.
pytestmark = pytest.mark.xdist_group("small server")

NOTIFICATION = "x" * 7000


@pytest.fixture
def small_cmp(small_server: str) -> Iterator[Cmp]:
    """A captured CMP in the cluster with the smallest queue."""
    dsn = psycopg.conninfo.make_conninfo(small_server, dbname="small_cmp")
    with psycopg.connect(small_server, autocommit=True) as admin:
        admin.execute("create database small_cmp")
        with Cmp(dsn) as cmp:
            cmp.conn.execute(TABLE)
            with db.connect(dsn) as conn:
                install.install(conn, projects("projects", ("name", "status")))
            yield cmp
        admin.execute("drop database small_cmp with (force)")


def fill_queue(cmp: Cmp, usage: float) -> None:
    """Fill the queue up to this share of its size.

    A listener in an open transaction keeps PostgreSQL from emptying it.
    """
    while cmp.value("select pg_notification_queue_usage()") < usage:
        cmp.conn.execute("select pg_notify('noise', %s)", [NOTIFICATION])


def test_writers_do_not_notify_while_the_queue_is_half_full(small_cmp: Cmp) -> None:
    with Ear(small_cmp) as ear, small_cmp.connect() as stuck_listener, db.connect(small_cmp.dsn) as consumer:
        db.execute(consumer, "park")
        stuck_listener.execute("listen noise")
        stuck_listener.execute("begin; select 1")
        small_cmp.upsert("before")
        before = ear.rings()
        fill_queue(small_cmp, 0.5)
        small_cmp.upsert("during")
        during = ear.rings()
        stuck_listener.execute("commit")
        small_cmp.conn.execute("select pg_notification_queue_usage()")
        small_cmp.upsert("after")

        assert (before, during, ear.rings()) == (1, 0, 1)
        assert len(small_cmp.log()) == 3


def test_a_full_queue_makes_no_write_of_cmp_fail(small_cmp: Cmp) -> None:
    with small_cmp.connect() as stuck_listener, db.connect(small_cmp.dsn) as consumer:
        db.execute(consumer, "park")
        stuck_listener.execute("listen noise")
        stuck_listener.execute("begin; select 1")
        with pytest.raises(psycopg.errors.ProgramLimitExceeded):
            fill_queue(small_cmp, 2.0)

        small_cmp.upsert("apollo")
        small_cmp.conn.execute("truncate projects")

        assert [op for _, op, _ in small_cmp.log()] == ["insert", "truncate"]
