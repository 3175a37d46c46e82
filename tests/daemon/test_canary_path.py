"""The canary's way through the database: noted by the real trigger function, and in nobody's way."""

from __future__ import annotations

from typing import TYPE_CHECKING

import psycopg
import pytest
from support.host import DEADLINE_S
from support.session import opened

from omnicdc import db
from omnicdc.capture.doorbell import Wakeup
from omnicdc.db import sql

if TYPE_CHECKING:
    from support.cmp import Cmp
    from support.host import Host


def release(cmp: Cmp) -> str:
    """Send a canary; returns its transaction."""
    return str(cmp.value("select omnicdc.release_canary()::text"))


def noted(cmp: Cmp) -> int:
    """Return how many canaries the log holds."""
    return int(cmp.value("select count(*) from omnicdc.change where source = 0"))


def test_it_is_noted_and_leaves_nothing_but_that(cmp: Cmp) -> None:
    release(cmp)

    assert noted(cmp) == 1
    assert cmp.value("select count(*) from omnicdc.canary") == 0


def test_it_rings_for_whoever_sleeps(cmp: Cmp) -> None:
    with db.connect(cmp.dsn) as conn:
        conn.execute("listen omnicdc_change")
        db.fetch_one(conn, "park")
        release(cmp)
        rung = list(conn.notifies(timeout=DEADLINE_S, stop_after=1))

    assert len(rung) == 1


def test_nobody_reads_it_waits_for_it_or_counts_it(cmp: Cmp) -> None:
    with db.connect(cmp.dsn) as conn:
        before = db.fetch_one(conn, "snapshot")["snapshot"]
        release(cmp)
        changes = db.fetch_all(conn, "changes", {"last": before, "most": 10})
        waiting = db.fetch_one(conn, "changes_waiting", {"last": before})["waiting"]
        size = db.fetch_one(conn, "log_size")["changes"]

    assert (changes, waiting, size) == ([], False, 0)


def test_it_leaves_the_log_once_it_arrived(cmp: Cmp, host: Host) -> None:
    """Thousands a week would be noise in the log; a change of CMP's stays."""
    kept = cmp.upsert("kept")
    with opened(host) as one:
        one.publish()
        one.canary.send()
        sent = noted(cmp)
        one.publish()
        one.canary.settle(Wakeup.RANG)

    assert (sent, noted(cmp)) == (1, 0)
    assert one.canary.fault is None
    assert cmp.log() == [(kept, "insert", None)]


def test_a_trigger_function_that_notes_nothing_is_found_out_by_it(cmp: Cmp, host: Host) -> None:
    """P1: the catalogs look fine, owner and hash put right by whoever edited it; what it does is not."""
    cmp.conn.execute(
        """create or replace function omnicdc.log_row() returns trigger language plpgsql security definer
           set search_path = pg_catalog, pg_temp as $$ begin return null; end $$"""
    )
    cmp.conn.execute(
        """update omnicdc.source
              set source_hash = (select omnicdc.hash_of(prosrc) from pg_proc where proname = 'log_row')
                                || ' ' || split_part(source_hash, ' ', 2)"""
    )
    daemon = host.daemon()
    lost = daemon.wait_for("canary_lost")
    status = host.run("status")
    install = host.run("install")
    daemon.wait_for("canary_ok")

    assert "not noted" in lost["reason"]
    assert status.returncode == 1
    assert lost["reason"] in status.stdout
    assert install.returncode == 0


def test_that_it_is_noted_again_is_found_beside_writers_who_leave_no_quiet_moment(
    cmp: Cmp, host: Host
) -> None:
    """Whether a bell is heard can be told only by who sleeps; this can be told at any time."""
    [[working]] = cmp.conn.execute("select pg_get_functiondef('omnicdc.log_row()'::regprocedure)").fetchall()
    apollo = cmp.upsert("apollo")
    cmp.conn.execute(
        "create or replace function omnicdc.log_row() returns trigger language plpgsql "
        "security definer set search_path = pg_catalog, pg_temp as 'begin return null; end'"
    )
    daemon = host.daemon(OMNICDC_POLL_S="0.2")
    daemon.wait_for("canary_lost")
    with cmp.connect() as writer, writer.transaction():
        writer.execute("update projects set name = 'artemis' where id = %s", [apollo])
        cmp.conn.execute(working)
        home = daemon.wait_for("canary_ok")

    assert "not noted" in home["was"]


def test_what_keeps_a_change_from_being_noted_is_told_in_the_server_s_words(cmp: Cmp, host: Host) -> None:
    """P1: one that cannot even be sent tells as much as one that is lost."""
    cmp.conn.execute("alter table omnicdc.canary rename to gone")
    daemon = host.daemon()
    lost = daemon.wait_for("canary_lost")
    cmp.conn.execute("alter table omnicdc.gone rename to canary")
    home = daemon.wait_for("canary_ok")

    assert lost["reason"].startswith("changes cannot be noted: ")
    assert "canary" in lost["reason"]
    assert lost["hint"] == "run `omnicdc install`"
    assert home["was"] == lost["reason"]


def test_who_may_not_send_one_cannot(cmp: Cmp) -> None:
    cmp.conn.execute("set role omnicdc_client")

    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        release(cmp)


def test_a_read_is_answered_from_the_index_however_long_the_log(cmp: Cmp) -> None:
    """A plan for any snapshot must not expect a third of the log: it would read all of it, every time."""
    cmp.fill(20_000)
    cmp.conn.execute("analyze omnicdc.change")
    with db.connect(cmp.dsn) as conn:
        conn.execute("set plan_cache_mode = force_generic_plan")
        conn.execute(
            f"prepare waiting (pg_snapshot) as {sql.query('changes_waiting').replace('%(last)s', '$1')}"
        )
        plan = conn.execute("explain execute waiting (pg_current_snapshot())").fetchall()

    assert any("Index Scan using change_xid_idx" in row["QUERY PLAN"] for row in plan)
