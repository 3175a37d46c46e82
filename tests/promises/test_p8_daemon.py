"""P8: the daemon stops, reloads, reconnects and is replaced without help."""

from __future__ import annotations

import signal
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from support.cmp import TABLE, Cmp
from support.host import CANONICAL, Host, until
from support.memory import in_memory

from omnicdc.testing.embedded import EmbeddedServer

if TYPE_CHECKING:
    from support.pace import Pace


def test_the_daemon_stops_within_a_second(cmp: Cmp, host: Host, pace: Pace) -> None:
    """P8: while it sleeps, and while it publishes. Exit status 0, and no half-written file."""
    cmp.fill(2000)
    took = []
    for busy in (False, True):
        daemon = host.daemon()
        if busy:
            cmp.conn.execute("update projects set status = clock_timestamp()::text")
        started = time.monotonic()
        status = daemon.stop()
        took.append(time.monotonic() - started)
        assert status == 0
        assert daemon.events[-1]["event"] == "stopped"
        assert not [*host.root.rglob("*.omnicdc-tmp")]

    assert max(took) < pace.allows(1.0)


def test_a_reload_applies_the_new_configuration(cmp: Cmp, host: Host) -> None:
    """P8: after SIGHUP the daemon publishes below the new root at once.

    If the configuration file is invalid, the configuration in force stays.
    """
    project = cmp.upsert("one")
    file, moved = host.root.parent / "omnicdc.yaml", host.root.parent / "moved"
    moved.mkdir()
    del host.env["OMNICDC_ROOT"]
    host.env["OMNICDC_CONFIG"] = str(file)
    file.write_text(f"root: {host.root}\n")
    daemon = host.daemon()
    file.write_text(f"root: {host.root}\nno_such_setting: 1\n")
    daemon.process.send_signal(signal.SIGHUP)
    failed = daemon.wait_for("reload_failed")
    cmp.set(project, status="still published")
    cmp.arrived()
    file.write_text(f"root: {moved}\n")
    daemon.process.send_signal(signal.SIGHUP)
    until((moved / CANONICAL).exists, "published below the new root")
    cmp.set(project, status="published there")
    cmp.arrived()

    assert "no_such_setting" in failed["error"]
    assert host.canonical()[project]["status"] == "still published"
    host.root = moved
    assert host.canonical()[project]["status"] == "published there"


def test_a_reload_to_an_unusable_root_keeps_the_old_root(cmp: Cmp, host: Host) -> None:
    """P8: the configuration file is valid, but its root does not exist. Regression: the daemon ended then."""
    file = host.root.parent / "omnicdc.yaml"
    del host.env["OMNICDC_ROOT"]
    host.env["OMNICDC_CONFIG"] = str(file)
    file.write_text(f"root: {host.root}\n")
    daemon = host.daemon()
    file.write_text(f"root: {host.root}/nowhere\n")
    daemon.process.send_signal(signal.SIGHUP)
    failed = daemon.wait_for("reload_failed")
    project = cmp.upsert("one")
    cmp.arrived()

    assert "nowhere" in failed["error"]
    assert project in host.canonical()


def test_a_lost_connection_is_opened_again(cmp: Cmp, host: Host) -> None:
    """P8: the server ends the daemon's backend, while it sleeps and while it works.

    Projects that are written meanwhile are published.
    """
    daemon = host.daemon()
    for number in range(2):
        if number % 2:
            cmp.fill(500)
        seen = len(daemon.events)
        cmp.conn.execute(
            """select pg_terminate_backend(a.pid) from pg_locks l join pg_stat_activity a using (pid)
                where l.locktype = 'advisory' and l.classid = 1869442666 and a.datname = current_database()"""
        )
        project = cmp.upsert(f"while it was away {number}")
        daemon.wait_for("published", after=seen)
        until(lambda: cmp.wait().status == "published", "published again")
        assert project in host.canonical()

    assert daemon.process.poll() is None
    assert len(host.canonical()) == len(host.projects()) == 502


def test_the_daemon_serves_again_after_a_restart_of_the_server(tmp_path: Path) -> None:
    """P8: the same daemon reports a lost session, then its recovery. The shutdown is fast, then immediate."""
    server = EmbeddedServer(Path(tempfile.mkdtemp(prefix="omnicdc-test-", dir=in_memory())), {"fsync": "off"})
    host = Host(tmp_path / "host", server.dsn())
    try:
        server.create()
        server.start()
        with Cmp(server.dsn()) as cmp:
            cmp.conn.execute(TABLE)
        assert host.run("install").returncode == 0
        daemon = host.daemon()
        for how in (signal.SIGINT, signal.SIGQUIT):  # fast, immediate
            seen = len(daemon.events)
            server.stop(how)
            daemon.wait_for("session_lost", after=seen)
            server.start()
            with Cmp(server.dsn()) as cmp:
                project = cmp.upsert(f"before the daemon is back {how.name}")
                daemon.wait_for("recovered", after=seen)
                cmp.arrived()
            assert project in host.canonical(), how
    finally:
        host.close()
        server.delete()


def test_a_daemon_takes_the_name_of_one_that_was_killed_while_a_lock_blocked_it(cmp: Cmp, host: Host) -> None:
    """P8: the killed daemon's backend waits behind an open TRUNCATE.

    The backend does not notice that its client is gone.
    """
    daemon = host.daemon()
    with cmp.transaction() as (conn, _):
        conn.execute("truncate projects")
        cmp.conn.execute("select omnicdc.request_rebuild()")
        until(lambda: cmp.value("select count(*) from pg_locks where not granted"), "the daemon is blocked")
        before = name_holder(cmp)
        daemon.kill()
        following = host.starting()
        until(
            lambda: following.process.poll() is not None or name_holder(cmp) not in (None, before),
            "the name is taken",
        )
        taken = name_holder(cmp)
        following_is_alive = following.process.poll() is None

    assert following_is_alive, following.noise
    assert taken != before
    cmp.arrived()


def name_holder(cmp: Cmp) -> int | None:
    """Return the backend that holds a consumer's name."""
    pids = cmp.value(
        """select array_agg(l.pid) from pg_locks l join pg_database d on d.oid = l.database
            where l.locktype = 'advisory' and l.classid = 1869442666 and d.datname = current_database()"""
    )
    return pids[0] if pids else None


@pytest.mark.campaign
def test_a_second_daemon_is_refused_and_names_the_first(cmp: Cmp, host: Host, tmp_path: Path) -> None:
    """P8: one has the same root, one the same name.

    Each ends with status 2 and one line, and writes no file.
    """
    first = host.daemon()
    elsewhere = Host(tmp_path / "elsewhere", cmp.dsn)
    same_name = elsewhere.starting(OMNICDC_CONSUMER="host")
    same_root = host.run("run", OMNICDC_CONSUMER="another-name")
    until(lambda: same_name.process.poll() is not None, "the name is reported as taken")
    same_name.close()

    assert (same_root.returncode, same_root.stdout) == (2, "")
    [line] = same_root.stderr.splitlines()
    assert f"process {first.process.pid} " in line
    assert str(host.root) in line
    assert same_name.process.returncode == 2
    [line] = same_name.noise
    assert "'host'" in line
    assert elsewhere.content() == {}
    assert cmp.value("select count(*) from omnicdc.consumer") == 1


def test_a_standby_takes_over_from_a_daemon_that_is_killed(cmp: Cmp, host: Host) -> None:
    """P8: it publishes what the killed daemon had not published."""
    first = host.daemon()
    second = host.starting("--standby")
    second.wait_for("standing_by")
    cmp.upsert("published by the first")
    cmp.arrived()
    first.kill()
    cmp.upsert("published by the second")
    second.wait_for("serving")
    cmp.arrived()

    assert "published by the second" in str(host.canonical())
    assert second.stop() == 0


def test_a_standby_stops_on_sigterm(cmp: Cmp, host: Host) -> None:
    host.daemon()
    second = host.starting("--standby")
    second.wait_for("standing_by")

    assert second.stop() == 0
    assert cmp.wait().arrived
