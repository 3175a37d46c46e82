"""A scan waits for a lock while the table or the database changes under it."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import pytest
from faults.time_travel.serving import assert_serving, served, shows, write, write_to_lose
from support.frozen_daemon import freeze
from support.host import until

if TYPE_CHECKING:
    from faults.time_travel.clusters import Sandbox
    from support.evidence import Evidence, Scale

pytestmark = [pytest.mark.timeout(300), pytest.mark.xdist_group("time_travel")]  # of one prepared cluster


REPLACED = """
create table fresh (like projects including all);
insert into fresh select * from projects;
drop table projects;
alter table fresh rename to projects;
select omnicdc.watch(w.name, 'projects', 'id', w.watched, w.watched, w.required) from omnicdc.source w
"""


@pytest.mark.campaign
def test_a_table_created_while_a_scan_waits_is_not_published_as_empty(
    sandbox: Sandbox, scale: Scale, evidence: Evidence
) -> None:
    """P2: the scan's snapshot is older than the table, so that the table looks empty to the scan.

    CMP has too few projects here for the guard to hold the loss of all.
    """
    times = scale(1, 6)
    cluster = sandbox.cluster()
    cluster.start()
    host = sandbox.host(cluster.dsn())
    with cluster.cmp() as cmp:
        cmp.conn.execute("delete from projects where key not in ('key-1', 'key-2', 'key-3')")
        daemon = served(cmp, host)
        one = next(iter(host.canonical()))
        for number in range(times):
            whole = number % 2 == 0
            reported = cmp.consumer("host")["generation"]
            until(
                lambda: any(event.get("generation") == reported for event in daemon.events),  # noqa: B023
                "logged",
            )
            freeze(daemon, cmp)
            if whole:
                cmp.conn.execute("select omnicdc.request_rebuild()")
            else:
                cmp.set(one, status=f"changed {number}")
            with cmp.connect() as conn, conn.transaction():
                conn.execute("lock table projects")
                seen = len(daemon.events)
                daemon.process.send_signal(signal.SIGCONT)
                until(lambda: cmp.value("select count(*) from pg_locks where not granted"), "the scan waits")
                conn.execute(REPLACED)
            until(lambda: cmp.wait().status == "published", "published")
            daemon.wait_for("recovered", after=seen)
            events = [event["event"] for event in daemon.events[seen:]]
            assert "published" not in events[: events.index("session_lost")], daemon.events[seen:]
            assert len(host.canonical()) == 4

    assert_serving(cluster, host, daemon)
    evidence(
        "P2 P8",
        "a scan (full, or of one project) waits for a transaction that drops CMP's table and creates it "
        "again: a table younger than the "
        "scan's snapshot looks empty",
        times=times,
        found="noticed before anything was written; the files never lost an entry",
    )


@pytest.mark.campaign
def test_wait_times_out_until_the_daemon_s_first_scan(sandbox: Sandbox, evidence: Evidence) -> None:
    """P5: a daemon that has not scanned an older database yet does not count as up to date.

    It is alive, and its restored row covers the token. But its files still show the lost changes.
    """
    cluster = sandbox.cluster()
    old = sandbox.cluster(cluster)
    cluster.start()
    host = sandbox.host(cluster.dsn())
    with cluster.cmp() as cmp:
        daemon = served(cmp, host)
        kept = write(cmp, "kept")
        cmp.arrived(kept)
    cluster.stop()
    old.copy_data_of(cluster)
    cluster.start()
    with cluster.cmp() as cmp:
        until(lambda: cmp.wait().arrived, "published")
        write_to_lose(cmp)
        seen = len(daemon.events)
        freeze(daemon, cmp)
    cluster.stop()
    old.start()
    with old.cmp() as cmp:
        with cmp.connect() as conn, conn.transaction():
            conn.execute("lock table projects")
            daemon.process.send_signal(signal.SIGCONT)
            until(lambda: cmp.value("select count(*) from pg_locks where not granted"), "its scan waits")
            # As if the new session had the same process id as the session that wrote the row. A server
            # with few processes does give an id out again.
            cmp.conn.execute("update omnicdc.consumer set backend = omnicdc.consumer_pid(name)")
            blind = [cmp.wait(timeout_s=0.3), cmp.wait(kept, timeout_s=0.3)]
            showed = shows(host)
        daemon.wait_for("recovered", after=seen)
        scanned = cmp.wait(kept)

    assert showed
    assert {verdict.status for verdict in blind} == {"timeout"}, blind
    assert "has yet to compare its files" in blind[0].detail
    assert scanned.status == "published"
    assert_serving(old, host, daemon)
    evidence(
        "P5",
        "an older copy put back, and the daemon's first scan kept waiting by a lock, while `wait` asks",
        times=2,
        found="`timeout`, which says that the daemon has yet to compare its files; `published` after the "
        "scan",
    )
