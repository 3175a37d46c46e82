"""CMP is restored from a dump: into a new cluster, into another database, or in place."""

from __future__ import annotations

import signal
import sys
from functools import partial
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from faults.time_travel.serving import (
    PROJECTS,
    assert_serving,
    pruned,
    replace_server,
    served,
    shows,
    use_up_ids,
    write,
    write_to_lose,
)
from support.frozen_daemon import freeze
from support.host import INVENTORY, Host, until

if TYPE_CHECKING:
    from pathlib import Path

    from faults.time_travel.clusters import Cluster, Sandbox
    from support.evidence import Evidence, Scale
    from support.host import Daemon

pytestmark = [pytest.mark.timeout(300), pytest.mark.xdist_group("time_travel")]  # of one prepared cluster


def restore(cluster: Cluster, roles: str, dump: Path) -> None:
    """Create CMP from a dump in a cluster that has none."""
    admin = cluster.dsn("postgres")
    cluster.call_client("psql", "-Xq", admin, script=roles)  # psql goes on where a role exists
    if dump.suffix == ".sql":
        cluster.call_client("psql", "-Xq", "-v", "ON_ERROR_STOP=1", "-f", dump, admin)
    else:
        cluster.call_client("pg_restore", "--create", "--exit-on-error", "-d", admin, dump)


def dumped(cluster: Cluster, directory: Path, *options: str, suffix: str = ".custom") -> tuple[str, Path]:
    """Dump CMP; returns the statements that create the roles, and the file with the dump."""
    file = directory / f"cmp{suffix}"
    form = "plain" if suffix == ".sql" else "custom"
    cluster.call_client("pg_dump", *options, f"--format={form}", "-f", file, cluster.dsn())
    return cluster.call_client("pg_dumpall", "--roles-only", "-d", cluster.dsn("postgres")), file


def move_to_new_cluster(
    sandbox: Sandbox, empty: Cluster, suffix: str, *, running: bool
) -> tuple[Cluster, Host, Daemon]:
    """Dump a served CMP with high transaction ids, and restore the dump into a new cluster.

    The new cluster takes the place of the old one.
    """
    old = sandbox.cluster()
    old.start()
    host = sandbox.host(old.dsn())
    with old.cmp() as cmp:
        daemon = served(cmp, host)
        assert pruned(cmp)
        # The new cluster will give out these ids later. To it, these rows of the log are from the future,
        # and one of them lets a large change through the guard.
        use_up_ids(cmp, 400)
        cmp.arrived(write(cmp, "of the old cluster"))
        cmp.arrived(cmp.value("select omnicdc.request_accept()::text"))
        roles, dump = dumped(old, sandbox.directory, "--create", suffix=suffix)
        write_to_lose(cmp)
    if not running:
        daemon.stop()
    new = sandbox.cluster(
        empty, sandbox.prepared.make_writable(sandbox.directory / f"socket{next(sandbox._number)}")
    )
    new.start()
    restore(new, roles, dump)
    new.stop()
    moved = sandbox.cluster(new)
    return moved, host, replace_server(old, moved, host, daemon if running else None)


@pytest.mark.campaign
def test_a_dump_restored_into_a_new_cluster_behind_the_same_dsn(
    sandbox: Sandbox, empty: Cluster, scale: Scale, evidence: Evidence
) -> None:
    """P8: the restored log, history and consumers are of another cluster, and the daemon ignores them."""
    ways = [(".custom", True), (".sql", True), (".custom", False), (".sql", False)]
    times = scale(1, 4)
    for suffix, running in ways[:times]:
        new, host, daemon = move_to_new_cluster(sandbox, empty, suffix, running=running)
        daemon.wait_for("snapshot_of_another_cluster")
        daemon.wait_for("log_of_another_cluster")
        assert_serving(new, host, daemon)
        with new.cmp() as cmp:
            assert cmp.consumer("host")["system_identifier"] == cmp.value(
                "select system_identifier from pg_control_system()"
            )
        host.close()
        new.stop()

    evidence(
        "P1 P5 P8",
        "pg_dump (plain, custom), restored with omnicdc's schema into a new cluster that then answers to "
        "the same DSN; "
        "the daemon runs or is down meanwhile",
        times=times,
        found="reported each time; log and history of the other cluster forgotten; files equal to a full "
        "rebuild, writes arrive, "
        "pruning goes on",
    )


@pytest.mark.campaign
def test_restored_rows_are_not_trusted_when_the_new_cluster_reaches_their_ids(
    sandbox: Sandbox, empty: Cluster, evidence: Evidence
) -> None:
    """P5: the dump has a history, a prune mark and an `accept` whose ids the new cluster gives out later.

    They must not apply to the new cluster's own transactions.
    """
    new, host, _ = move_to_new_cluster(sandbox, empty, ".custom", running=False)
    with new.cmp() as cmp:
        waited = host.run("wait", "--project", "of the old cluster")
        assert waited.returncode == 0, waited.stderr
        # A file cannot be written. By the old history, the transactions with these ids are published.
        directory = (host.root / INVENTORY).parent
        directory.rename(directory.with_name("moved"))
        directory.touch()
        held = cmp.wait(write(cmp, "held"))
        directory.unlink()
        directory.with_name("moved").rename(directory)
        until(lambda: cmp.wait().arrived, "the directory is back")
        # A write that no trigger logs. By the old prune mark, its row was pruned long ago.
        cmp.conn.execute("alter table projects disable trigger omnicdc_log_row")
        unlogged = cmp.wait(write(cmp, "unlogged"), timeout_s=1)
        cmp.conn.execute("alter table projects enable always trigger omnicdc_log_row")
        # Every project is deleted. The guard holds this, even after the ids pass that of the old `accept`.
        cmp.conn.execute("delete from projects")
        before = cmp.wait()
        use_up_ids(cmp, 600)
        after = cmp.wait(write(cmp, "later"))

    assert held.status == "held", held
    assert unlogged.status == "capture_broken", unlogged
    assert (before.status, after.status) == ("held", "held")
    assert len(host.canonical()) > PROJECTS
    evidence(
        "P5 P8",
        "after such a restore: a file that cannot be written, a write that no trigger notes, every project "
        "deleted, "
        "while ids reach those of the old cluster's history, prune mark and `accept`",
        times=3,
        found="`held`, `capture_broken`, `held`: no false `published`, and the guard stays shut",
    )


@pytest.mark.campaign
def test_another_database_of_the_cluster_takes_the_name(
    sandbox: Sandbox, scale: Scale, evidence: Evidence
) -> None:
    """P8: a dump is restored into a second database, which is then renamed to CMP's name.

    Transaction ids and snapshots are of the same cluster.
    """
    times = scale(1, 2)
    for running in (True, False)[:times]:
        cluster = sandbox.cluster()
        cluster.start()
        host = sandbox.host(cluster.dsn())
        with cluster.cmp() as cmp:
            daemon = served(cmp, host)
            _, dump = dumped(cluster, sandbox.directory)
            write_to_lose(cmp)
        if not running:
            daemon.stop()
        with psycopg.connect(cluster.dsn("postgres"), autocommit=True) as admin:
            admin.execute("create database restored")
            cluster.call_client("pg_restore", "--exit-on-error", "-d", cluster.dsn("restored"), dump)
            seen = len(daemon.events)
            admin.execute("alter database cmp with allow_connections false")
            admin.execute("select pg_terminate_backend(pid) from pg_stat_activity where datname = 'cmp'")
            until(partial(renamed, admin, "cmp", "gone"), "no session is connected")
            assert renamed(admin, "restored", "cmp")
        if running:
            daemon.wait_for("recovered", after=seen)
        else:
            daemon = host.daemon()
        assert_serving(cluster, host, daemon)
        host.close()
        cluster.stop()

    evidence(
        "P1 P8",
        "pg_dump restored into another database of the same cluster, which is then renamed to CMP's name; "
        "the daemon runs or is down",
        times=times,
        found="files equal to a full rebuild, writes arrive, pruning goes on",
    )


def renamed(admin: psycopg.Connection[Any], name: str, to: str) -> bool:
    """Rename a database. Returns False if a session is connected to it."""
    try:
        admin.execute(f"alter database {name} rename to {to}")
    except psycopg.errors.ObjectInUse:
        return False
    return True


def test_a_restore_in_place_under_a_frozen_daemon(sandbox: Sandbox, scale: Scale, evidence: Evidence) -> None:
    """P5 P8: one transaction drops and creates everything, and the log as well.

    No notification is sent, and no row of the log shows it.
    """
    times = scale(1, 5)
    cluster = sandbox.cluster()
    cluster.start()
    host = sandbox.host(cluster.dsn())
    with cluster.cmp() as cmp:
        daemon = served(cmp, host)
    for _ in range(times):
        with cluster.cmp() as cmp:
            _, dump = dumped(cluster, sandbox.directory)
            lost = write_to_lose(cmp)
            seen = len(daemon.events)
            freeze(daemon, cmp)
            cluster.call_client(
                "pg_restore", "--clean", "--if-exists", "--single-transaction", "-d", cluster.dsn(), dump
            )
            assert shows(host)
            blind = [cmp.wait(timeout_s=0.2), cmp.wait(lost, timeout_s=0.2)]
            daemon.process.send_signal(signal.SIGCONT)
            daemon.wait_for("recovered", after=seen)
        assert not any(verdict.status == "published" for verdict in blind), blind
        assert_serving(cluster, host, daemon)

    evidence(
        "P5 P8",
        "pg_restore --clean --single-transaction over CMP while the daemon sleeps: table and log are "
        "others, and nothing rings",
        times=times,
        found="noticed at the next look; until then `wait` does not say `published`; then the files equal a "
        "full rebuild",
    )


@pytest.mark.campaign
def test_a_restore_in_sections_while_the_daemon_runs(
    sandbox: Sandbox, empty: Cluster, evidence: Evidence
) -> None:
    """P1 P5 P8: the daemon finds tables without rows first, and then rows without triggers.

    The dump is restored section by section, and CMP writes before the triggers are there.
    """
    old = sandbox.cluster()
    old.start()
    host = sandbox.host(old.dsn())
    host.program = (sys.executable, "-c", IMPATIENT)
    with old.cmp() as cmp:
        daemon = served(cmp, host)
        roles, dump = dumped(old, sandbox.directory)
        write_to_lose(cmp)
    old.stop()
    new = sandbox.cluster(empty)
    new.start()
    new.call_client("psql", "-Xq", new.dsn("postgres"), script=roles)
    part = partial(new.call_client, "pg_restore", "--exit-on-error", "-d", new.dsn(), dump)
    with psycopg.connect(new.dsn("postgres"), autocommit=True) as admin:
        admin.execute("create database cmp")
    part("--section=pre-data")
    with new.cmp() as cmp:
        part("--section=data")
        until(lambda: not shows(host), "the empty tables are published")
        cmp.conn.execute("update projects set status = 'unlogged'")
        blind = cmp.wait(timeout_s=1)
        part("--section=post-data")
        until(lambda: shows(host, "unlogged"), "the write that no trigger logged is published")

    assert blind.status == "capture_broken", blind
    assert_serving(new, host, daemon)
    evidence(
        "P1 P5 P8",
        "pg_restore, section by section, into the server that the daemon tries to reach; CMP writes before "
        "the triggers are there",
        times=3,
        found="`capture_broken` while there are no triggers; what they did not note is found a minute after "
        "they are there",
    )


IMPATIENT = (
    "from omnicdc import cli; from omnicdc.daemon import periodic; periodic.HEARTBEAT_S = 0.5; cli.main()"
)
"""The command with a shorter time between two heartbeats, which is else a minute."""
