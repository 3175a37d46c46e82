"""The canary's path through the database: the real trigger function logs it, and nothing else reads it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import psycopg
import pytest
from support.host import DEADLINE_S, until
from support.session import opened

from omnicdc import db
from omnicdc.capture.doorbell import Wakeup
from omnicdc.db import sql

if TYPE_CHECKING:
    from support.cmp import Cmp
    from support.host import Host


def send_canary(cmp: Cmp) -> str:
    """Send a canary. Return its transaction id."""
    return str(cmp.value("select omnicdc.release_canary()::text"))


def canaries_in_log(cmp: Cmp) -> int:
    """Return the number of canaries in the log."""
    return int(cmp.value("select count(*) from omnicdc.change where source = 0"))


def test_a_canary_leaves_only_its_row_in_the_log(cmp: Cmp) -> None:
    send_canary(cmp)

    assert canaries_in_log(cmp) == 1
    assert cmp.value("select count(*) from omnicdc.canary") == 0


def test_a_canary_notifies_a_sleeping_consumer(cmp: Cmp) -> None:
    with db.connect(cmp.dsn) as conn:
        conn.execute("listen omnicdc_change")
        db.fetch_one(conn, "park")
        send_canary(cmp)
        notifications = list(conn.notifies(timeout=DEADLINE_S, stop_after=1))

    assert len(notifications) == 1


def test_a_canary_is_not_read_not_waited_for_and_not_counted(cmp: Cmp) -> None:
    with db.connect(cmp.dsn) as conn:
        before = db.fetch_one(conn, "snapshot")["snapshot"]
        send_canary(cmp)
        changes = db.fetch_all(conn, "changes", {"last": before, "most": 10})
        waiting = db.fetch_one(conn, "changes_waiting", {"last": before})["waiting"]
        size = db.fetch_one(conn, "log_size")["changes"]

    assert (changes, waiting, size) == ([], False, 0)


def test_a_canary_is_deleted_from_the_log_after_its_arrival(cmp: Cmp, host: Host) -> None:
    """The log would otherwise fill with thousands of canaries a week. CMP's changes stay in the log."""
    kept = cmp.upsert("kept")
    with opened(host) as one:
        one.publish()
        one.canary.send()
        sent = canaries_in_log(cmp)
        one.publish()
        one.canary.settle(Wakeup.RANG)

    assert (sent, canaries_in_log(cmp)) == (1, 0)
    assert one.canary.fault is None
    assert cmp.log() == [(kept, "insert", None)]


def test_a_canary_detects_a_trigger_function_that_logs_nothing(cmp: Cmp, host: Host) -> None:
    """P1: the catalog looks correct, because the function's hash was updated too, but it logs nothing."""
    cmp.conn.execute(
        """create or replace function omnicdc.log_row_0() returns trigger language plpgsql security definer
           set search_path = pg_catalog, pg_temp as $$ begin return null; end $$"""
    )
    cmp.conn.execute(
        """update omnicdc.source
              set source_hash = (select omnicdc.hash_of(prosrc) from pg_proc where proname = 'log_row_1')
                                || ' ' || split_part(source_hash, ' ', 2)"""
    )
    daemon = host.daemon()
    lost = daemon.wait_for("canary_lost")
    until(lambda: host.run("status").returncode == 1, "status says it")  # after the next acknowledgement
    status = host.run("status")
    install = host.run("install")
    daemon.wait_for("canary_ok")

    assert "not noted" in lost["reason"]
    assert status.returncode == 1
    assert lost["reason"] in status.stdout
    assert install.returncode == 0


def test_a_canary_that_is_logged_again_is_detected_beside_an_open_writer(cmp: Cmp, host: Host) -> None:
    """Only a sleeping daemon can test notifications. It can test at any time whether a canary is logged."""
    [[working]] = cmp.conn.execute(
        "select pg_get_functiondef('omnicdc.log_row_0()'::regprocedure)"
    ).fetchall()
    apollo = cmp.upsert("apollo")
    cmp.conn.execute(
        "create or replace function omnicdc.log_row_0() returns trigger language plpgsql "
        "security definer set search_path = pg_catalog, pg_temp as 'begin return null; end'"
    )
    daemon = host.daemon(OMNICDC_POLL_S="0.2")
    daemon.wait_for("canary_lost")
    with cmp.connect() as writer, writer.transaction():
        writer.execute("update projects set name = 'artemis' where id = %s", [apollo])
        cmp.conn.execute(working)
        recovered = daemon.wait_for("canary_ok")

    assert "not noted" in recovered["was"]


def test_a_canary_that_cannot_be_logged_is_reported_with_the_server_s_error(cmp: Cmp, host: Host) -> None:
    """P1: a canary that cannot be sent shows the same fault as a canary that is lost."""
    cmp.conn.execute("alter table omnicdc.canary rename to gone")
    daemon = host.daemon()
    lost = daemon.wait_for("canary_lost")
    cmp.conn.execute("alter table omnicdc.gone rename to canary")
    recovered = daemon.wait_for("canary_ok")

    assert lost["reason"].startswith("changes cannot be noted: ")
    assert "canary" in lost["reason"]
    assert lost["hint"] == "run `omnicdc install`"
    assert recovered["was"] == lost["reason"]


def test_a_client_may_not_send_a_canary(cmp: Cmp) -> None:
    cmp.conn.execute("set role omnicdc_client")

    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        send_canary(cmp)


def test_a_read_uses_the_index_however_long_the_log_is(cmp: Cmp) -> None:
    """A generic plan must not expect to find a third of the log: it would read the whole log each time."""
    cmp.fill(20_000)
    cmp.conn.execute("analyze omnicdc.change")
    with db.connect(cmp.dsn) as conn:
        conn.execute("set plan_cache_mode = force_generic_plan")
        conn.execute(
            f"prepare waiting (pg_snapshot) as {sql.query('changes_waiting').replace('%(last)s', '$1')}"
        )
        plan = conn.execute("explain execute waiting (pg_current_snapshot())").fetchall()

    assert any("Index Scan using change_xid_idx" in row["QUERY PLAN"] for row in plan)
