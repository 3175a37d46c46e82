"""CMP's table is a copy that logical replication keeps up to date."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import psycopg
import pytest
from faults.schema.arrival import check_arrival
from psycopg import sql as pgsql
from support.cmp import TABLE, Cmp
from support.host import until
from support.served_cmp import PROJECTS, ServedCmp

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import LiteralString

    from support.evidence import Evidence


@pytest.fixture
def origin(server: str, cmp: Cmp) -> Iterator[Cmp]:
    """Another CMP, which publishes its table."""
    if cmp.value("select current_setting('wal_level')") != "logical":
        pytest.skip("the server's wal_level is not logical")
    name = f"omnicdc_publisher_{os.getpid()}"
    with psycopg.connect(server, autocommit=True) as admin:
        admin.execute(pgsql.SQL("create database {}").format(pgsql.Identifier(name)))
        with Cmp(psycopg.conninfo.make_conninfo(server, dbname=name)) as origin:
            origin.conn.execute(TABLE)
            origin.fill(PROJECTS)
            origin.conn.execute("create publication everything for all tables")
            # In one server, creating the subscription would wait for itself to create the slot.
            origin.conn.execute("select pg_create_logical_replication_slot(%s, 'pgoutput')", [name])
            yield origin
            origin.conn.execute("select pg_drop_replication_slot(%s)", [name])
        admin.execute(pgsql.SQL("drop database {} with (force)").format(pgsql.Identifier(name)))


@pytest.mark.campaign
def test_replicated_changes_are_captured_like_any_other(
    served: ServedCmp, origin: Cmp, evidence: Evidence
) -> None:
    """P1, P5, P8: the first copy and the streamed changes are captured.

    Triggers that are not ALWAYS do not fire for them, and that is reported.
    """
    served.daemon = served.host.daemon()
    name = origin.conn.info.dbname
    times = 3

    def replicated() -> bool:
        everything: LiteralString = "select coalesce(array_agg(p::text order by id), '{}') from projects p"
        return bool(served.cmp.value(everything) == origin.value(everything))

    served.cmp.conn.execute(
        pgsql.SQL(
            "create subscription {} connection {} publication everything with (create_slot = false)"
        ).format(pgsql.Identifier(name), origin.dsn)
    )
    try:
        until(replicated, "the first copy")
        check_arrival(served, None)
        copied = len(served.host.canonical())
        for number in range(times):
            for statement in (
                (
                    "insert into projects (name, status) "
                    "select 'streamed', i::text from generate_series(1, 50) i"
                ),
                "update projects set status = clock_timestamp()::text where status like '%1'",
                "delete from projects where key like '%7' or status like '%8'",
                "update projects set id = gen_random_uuid() where key like '%5'",
                *(["truncate projects"] if number else []),
            ):
                origin.conn.execute(statement)
                until(replicated, statement)
                check_arrival(served, None)
        served.cmp.conn.execute("alter table projects enable trigger user")
        origin.conn.execute("insert into projects (name) values ('not seen')")
        until(replicated, "the last of it")
        verdict = served.wait()
        fault = served.fix()
        check_arrival(served, None)
    finally:
        served.cmp.conn.execute(
            pgsql.SQL(
                "alter subscription {0} disable; alter subscription {0} set (slot_name = none); drop "
                "subscription {0}"
            ).format(pgsql.Identifier(name))
        )
        until(
            lambda: not origin.value("select count(*) from pg_replication_slots where active"),
            "the slot is free",
        )
    served.assert_correct()

    assert copied == PROJECTS
    assert verdict.status == "capture_broken"
    assert "does not fire always" in fault
    evidence(
        "P1 P5 P8",
        "CMP is a logical subscriber: first copy, streamed inserts, updates, deletes, other ids, TRUNCATE; "
        "then its triggers demoted by ENABLE TRIGGER USER",
        times=1 + 4 * times + times - 1 + 1,
        found=f"{copied} copied rows and every streamed change arrived; the demotion was named, and what it "
        f"hid was published after `omnicdc install`",
    )
