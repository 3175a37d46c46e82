"""P4: a full NOTIFY queue fails the commit of who notifies.

CMP's writers go on, and are found by the backstop.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import psycopg
import pytest
from support.cmp import TABLE, Cmp
from support.sessions import Ear

from omnicdc import db
from omnicdc.capture import install

if TYPE_CHECKING:
    from collections.abc import Iterator

# Its server is started once, also when several processes share the tests.
pytestmark = pytest.mark.xdist_group("small server")

NOTIFICATION = "x" * 7000


@pytest.fixture
def cramped(small_server: str) -> Iterator[Cmp]:
    """A captured CMP in the cluster with the smallest queue."""
    dsn = psycopg.conninfo.make_conninfo(small_server, dbname="cramped")
    with psycopg.connect(small_server, autocommit=True) as admin:
        admin.execute("create database cramped")
        with Cmp(dsn) as cmp:
            cmp.conn.execute(TABLE)
            with db.connect(dsn) as conn:
                install.install(conn, "projects", ("name", "status"))
            yield cmp
        admin.execute("drop database cramped with (force)")


def stuff(cmp: Cmp, usage: float) -> None:
    """Fill the queue up to a share of it.

    A listener that stays in a transaction keeps it from being emptied.
    """
    while cmp.value("select pg_notification_queue_usage()") < usage:
        cmp.conn.execute("select pg_notify('noise', %s)", [NOTIFICATION])


def test_writers_stay_silent_while_the_queue_is_half_full_and_ring_again_after(cramped: Cmp) -> None:
    with Ear(cramped) as ear, cramped.connect() as deaf, db.connect(cramped.dsn) as consumer:
        db.execute(consumer, "park")
        deaf.execute("listen noise")
        deaf.execute("begin; select 1")
        cramped.upsert("heard")
        heard = ear.rings()
        stuff(cramped, 0.5)
        cramped.upsert("not heard")
        silence = ear.rings()
        deaf.execute("commit")
        cramped.conn.execute("select pg_notification_queue_usage()")
        cramped.upsert("heard again")

        assert (heard, silence, ear.rings()) == (1, 0, 1)
        assert len(cramped.log()) == 3


def test_a_full_queue_fails_no_write_of_cmp(cramped: Cmp) -> None:
    with cramped.connect() as deaf, db.connect(cramped.dsn) as consumer:
        db.execute(consumer, "park")
        deaf.execute("listen noise")
        deaf.execute("begin; select 1")
        with pytest.raises(psycopg.errors.ProgramLimitExceeded):
            stuff(cramped, 2.0)

        cramped.upsert("apollo")
        cramped.conn.execute("truncate projects")

        assert [op for _, op, _ in cramped.log()] == ["insert", "truncate"]
