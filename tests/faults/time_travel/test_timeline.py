"""The database goes on with a new timeline: recovery to a point in time, and promotion of a standby."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import pytest
from faults.time_travel.serving import assert_serving, replace_server, served, write, write_to_lose
from support.host import until

from omnicdc.errors import ConfigError

if TYPE_CHECKING:
    from faults.time_travel.clusters import Sandbox
    from support.evidence import Evidence

pytestmark = [pytest.mark.timeout(300), pytest.mark.xdist_group("time_travel")]  # of one prepared cluster


@pytest.mark.campaign
def test_recovery_to_a_point_in_time(sandbox: Sandbox, evidence: Evidence) -> None:
    """P8: a base backup and the archived WAL are restored, up to a transaction or a named point.

    There a new timeline begins.
    """
    ways = [("name", True), ("xid", True), ("xid", False)]
    for target, running in ways:
        archive = sandbox.prepared.make_writable(sandbox.directory / f"archive-{target}-{running}")
        cluster = sandbox.cluster(archive_mode="on", archive_command=f"cp %p {archive}/%f")
        cluster.start()
        host = sandbox.host(cluster.dsn())
        with cluster.cmp() as cmp:
            daemon = served(cmp, host)
            base = sandbox.backup(cluster, "-X", "none")
            kept = write(cmp, "kept")
            cmp.arrived(kept)
            cmp.conn.execute("select pg_create_restore_point('here')")
            lost = write_to_lose(cmp)
            cmp.conn.execute("select pg_switch_wal()")
        if not running:
            daemon.stop()
        recovered = sandbox.cluster(
            base,
            sandbox.socket,
            restore_command=f"cp {archive}/%f %p",
            recovery_target_action="promote",
            **{f"recovery_target_{target}": "here" if target == "name" else kept},
        )
        (recovered.data / "recovery.signal").touch()
        daemon = replace_server(cluster, recovered, host, daemon if running else None)
        daemon.wait_for("snapshot_of_another_cluster")
        with recovered.cmp() as cmp:
            assert cmp.wait(kept).status == "published"
            assert cmp.consumer("host")["timeline"] == 2
            with pytest.raises(ConfigError, match="not a transaction of this cluster"):
                cmp.wait(lost)
        assert_serving(recovered, host, daemon)
        host.close()
        recovered.stop()

    evidence(
        "P5 P8",
        "point in time recovery to a named point or a transaction, promoted in the old server's place; the "
        "daemon runs or is down",
        times=len(ways),
        found="the new timeline is reported at once; a lost token is refused; files equal to a full rebuild",
    )


@pytest.mark.campaign
def test_a_standby_is_promoted(sandbox: Sandbox, evidence: Evidence) -> None:
    """P8: the standby lacks the last commits of the primary, which the files already show.

    The DSN names both servers, or the standby takes the place of the primary.
    """
    for both in (True, False):
        primary = sandbox.cluster()
        primary.start()
        standby = sandbox.backup(primary, "-R", "-X", "stream")
        every = (
            f"host={primary.socket},{standby.socket} port=5432 dbname=cmp user=postgres "
            "target_session_attrs=read-write"
        )
        host = sandbox.host(every if both else primary.dsn())
        with primary.cmp() as cmp:
            daemon = served(cmp, host)
            standby.start()
            cmp.arrived(write(cmp, "kept"))
            with standby.cmp() as replica:
                until(
                    lambda: replica.value("select exists (select from projects where name = 'kept')"),
                    "replicated",
                )
            standby.stop()
            lost = write_to_lose(cmp)
        primary.stop(signal.SIGQUIT)
        seen = len(daemon.events)
        standby.start()
        late = sandbox.host(every, "late").starting() if both else None
        if late:
            late.wait_for("database_unavailable")
        standby.call("pg_ctl", "promote", "-w", "-D", standby.data)
        if not both:
            standby.stop()
            standby = sandbox.cluster(standby)
            standby.start()
        daemon.wait_for("recovered", after=seen)
        daemon.wait_for("snapshot_of_another_cluster", after=seen)
        if late:
            late.wait_for("serving")
            late.stop()
        with standby.cmp() as cmp:
            cmp.arrived()
            assert cmp.consumer("host")["timeline"] == 2
            cmp.conn.execute("delete from omnicdc.consumer where name = 'late'")
            with pytest.raises(ConfigError, match="not a transaction of this cluster"):
                cmp.wait(lost)
        assert_serving(standby, host, daemon)
        host.close()
        standby.stop()

    evidence(
        "P5 P8",
        "the primary killed with commits that its stand-by lacks, which is promoted: both in the DSN with "
        "target_session_attrs=read-write, "
        "or the promoted one in the old one's place; another daemon is started in between",
        times=2,
        found="the new timeline is reported at once; what was lost leaves the files; the daemon that was "
        "started waits for the promotion",
    )
