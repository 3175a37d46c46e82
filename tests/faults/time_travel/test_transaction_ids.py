"""Transaction ids jump, are given out again, or go on in another cluster."""

from __future__ import annotations

import signal
import subprocess
from typing import TYPE_CHECKING

import psycopg
import pytest
from faults.time_travel.clusters import Cluster, Sandbox
from faults.time_travel.serving import PROJECTS, assert_serving, served, write, write_to_lose
from support.cmp import TABLE

from omnicdc.testing.embedded import bundled

if TYPE_CHECKING:
    from pathlib import Path

    from support.evidence import Evidence, Scale

pytestmark = [pytest.mark.timeout(300), pytest.mark.xdist_group("time_travel")]  # of one prepared cluster


@pytest.mark.campaign
def test_transaction_ids_far_ahead(sandbox: Sandbox, evidence: Evidence) -> None:
    """P1 P5 P8: pg_resetwal moves the ids on by a thousand million, and several times past 32 bits."""
    jumps = [("-x", 2**30, "-u", 3), ("-e", 1), ("-e", 2, "-x", 2**30 + 2**29), ("-e", 2**31 - 1)]
    cluster = sandbox.cluster()
    cluster.start()
    host = sandbox.host(cluster.dsn())
    with cluster.cmp() as cmp:
        daemon = served(cmp, host)
    for number, jump in enumerate(jumps):
        with cluster.cmp() as cmp:
            before = write(cmp, "before the jump")
            cmp.arrived(before)
        seen = len(daemon.events)
        if number % 2:
            daemon.stop()
        cluster.stop()
        cluster.call("pg_resetwal", *jump, "-D", cluster.data)
        cluster.start()
        if number % 2:
            daemon = host.daemon()
        else:
            daemon.wait_for("recovered", after=seen)
        with cluster.cmp() as cmp:
            after = write(cmp, "after the jump")
            assert cmp.wait(after).status == "published"
            assert cmp.wait(before).status in ("published", "nothing_to_do")
            assert int(after) - int(before) > 2**28
        assert_serving(cluster, host, daemon)

    evidence(
        "P1 P5 P8",
        "pg_resetwal: transaction ids ahead by 2^30, then past 2^32, 2^33, 2^63; the daemon runs or is down",
        times=len(jumps),
        found="every write arrives, the verdicts on old and new tokens are right, pruning goes on",
    )


@pytest.mark.campaign
def test_pg_resetwal_after_a_crash(sandbox: Sandbox, scale: Scale, evidence: Evidence) -> None:
    """P8: the WAL is removed, and with it every commit since the last checkpoint."""
    times = scale(1, 3)
    for number in range(times):
        # No page with a lost change may reach the disk: PostgreSQL would wait for ever to change a row
        # that a transaction of the future wrote.
        cluster = sandbox.cluster(bgwriter_lru_maxpages="0", checkpoint_timeout="1h", autovacuum="off")
        cluster.start()
        host = sandbox.host(cluster.dsn())
        with cluster.cmp() as cmp:
            daemon = served(cmp, host)
            cmp.conn.execute("vacuum")
            cmp.conn.execute("checkpoint")
            write_to_lose(cmp)
        seen = len(daemon.events)
        if number % 2:
            daemon.stop()
        cluster.stop(signal.SIGQUIT)
        (cluster.data / "postmaster.pid").unlink(missing_ok=True)
        cluster.call("pg_resetwal", "-f", "-D", cluster.data)
        cluster.start()
        if number % 2:
            daemon = host.daemon()
        else:
            daemon.wait_for("recovered", after=seen)
        assert_serving(cluster, host, daemon)
        host.close()
        cluster.stop()

    evidence(
        "P8",
        "the server killed and its WAL thrown away (pg_resetwal -f): back to the last checkpoint; the "
        "daemon runs or is down",
        times=times,
        found="files equal to a full rebuild, writes arrive, pruning goes on",
    )


@pytest.mark.campaign
def test_pg_upgrade(sandbox: Sandbox, evidence: Evidence) -> None:
    """P5 P8: the ids go on, in a cluster with another system identifier."""
    versions = sorted(bundled().parents[1].glob("pginstall*/bin"))
    if len(versions) < 2:
        pytest.skip("needs a second, older PostgreSQL in the embedded extra's package")
    old = Cluster(sandbox.directory / "old", sandbox.socket, versions[0])
    new = Cluster(sandbox.directory / "new", sandbox.socket, sandbox.prepared.programs)
    host = sandbox.host(old.dsn())
    try:
        old.create()
        old.start()
        with psycopg.connect(old.dsn("postgres"), autocommit=True) as admin:
            admin.execute("create database cmp")
        with old.cmp() as cmp:
            cmp.conn.execute(TABLE)
            assert host.run("install").returncode == 0
            cmp.fill(PROJECTS)
            daemon = served(cmp, host)
            kept = write(cmp, "kept")
            cmp.arrived(kept)
        old.stop()
        new.make_writable(new.directory)
        new.call(
            "initdb",
            "-U",
            "postgres",
            "-A",
            "trust",
            "-N",
            "-E",
            "UTF8",
            "--locale=C.UTF-8",
            "--no-data-checksums",
            "-D",
            new.data,
        )
        upgrade: list[str | Path] = [
            new.programs / "pg_upgrade", "-U", "postgres", "-s", sandbox.socket,
            "-b", old.programs, "-B", new.programs, "-d", old.data, "-D", new.data,
        ]  # fmt: skip
        done = subprocess.run(
            upgrade, cwd=new.directory, capture_output=True, text=True, check=False, **new._identity()
        )
        assert done.returncode == 0, done.stdout + done.stderr
        seen = len(daemon.events)
        new.start()
        daemon.wait_for("recovered", after=seen)
        daemon.wait_for("snapshot_of_another_cluster")
        with new.cmp() as cmp:
            assert cmp.wait(kept).status == "published"
        assert_serving(new, host, daemon)
    finally:
        host.close()
        old.delete()
        new.delete()

    evidence(
        "P5 P8",
        f"pg_upgrade from {version(versions[0])} to {version(new.programs)} while the daemon runs",
        times=1,
        found="reported; the verdict on a token from before is right; "
        "files equal to a full rebuild, writes arrive, "
        "pruning goes on",
    )


def version(programs: Path) -> str:
    """Return the version of the server in a directory of programs."""
    command: list[str | Path] = [programs / "postgres", "--version"]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return output.split()[-1]
