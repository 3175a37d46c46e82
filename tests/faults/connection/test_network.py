"""The network between the daemon and CMP's server is silent, cut, or loses notifications.

The last test has a server that accepts no writes.
"""

from __future__ import annotations

import socket
import tempfile
import threading
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import pytest
from psycopg import sql as pgsql
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from support.cmp import TABLE, Cmp
from support.faulty_command import PROGRAM, SHORTER
from support.fresh_server import FreshServer
from support.host import Host, until
from support.memory import in_memory
from support.proxy import Proxy
from support.rebuild import assert_as_rebuilt

if TYPE_CHECKING:
    import random
    from collections.abc import Iterator
    from typing import LiteralString

    from support.evidence import Evidence, Scale
    from support.host import Daemon
    from support.pace import Pace

NOTICED_S = 15.0
"""A connection without answers must be noticed within so many seconds."""


@pytest.fixture
def proxy(cmp: Cmp, host: Host) -> Iterator[Proxy]:
    """A proxy between the host's daemons and the server. Tests write to CMP without it."""
    with Proxy(cmp.dsn) as proxy:
        host.env["OMNICDC_DSN"] = proxy.dsn
        yield proxy


def assert_published(cmp: Cmp, host: Host, name: str) -> None:
    """Write a project, and claim that it is published."""
    project = cmp.upsert(name, github_url=f"https://github.com/acme/{name}")
    until(lambda: cmp.wait().status == "published", f"{name} is published")
    assert project in host.canonical()


def lost_after_s(daemon: Daemon, since: float, after: int) -> float:
    """Wait until the daemon reports that its session is lost; returns how long that took."""
    daemon.wait_for("session_lost", after=after)
    return time.monotonic() - since


def test_a_silent_connection_is_noticed_and_replaced(
    cmp: Cmp, host: Host, proxy: Proxy, scale: Scale, evidence: Evidence, pace: Pace
) -> None:
    """P8: a proxy passes nothing on and closes nothing (a half-open connection).

    The daemon notices it within 15 s, and opens a new connection. A short run shortens the daemon's time-outs
    to a second.
    """
    if scale(1, 0):
        host.program, host.env[SHORTER] = PROGRAM, "allowed_s=1 probe_s=1"
    daemon, took = host.daemon(OMNICDC_POLL_S="0.5" if scale(1, 0) else "5"), []
    for number in range(times := scale(1, 4)):
        assert_published(cmp, host, f"before{number}")
        seen, since = len(daemon.events), time.monotonic()
        proxy.stop_forwarding()
        cmp.upsert("while nothing gets through")
        took.append(lost_after_s(daemon, since, seen))
        proxy.resume_forwarding()
        daemon.wait_for("recovered", after=seen)
        assert_published(cmp, host, f"after{number}")

    assert max(took) < pace.allows(NOTICED_S)
    assert daemon.process.poll() is None
    evidence(
        "P5 P8", "a proxy goes deaf without closing the connection (half-open)",
        times=times, found=f"noticed after {max(took):.0f} s at most; all arrived once it let through again",
    )  # fmt: skip


@pytest.mark.campaign
def test_a_silent_connection_is_noticed_as_soon_while_a_canary_is_sent(
    host: Host, proxy: Proxy, evidence: Evidence, pace: Pace
) -> None:
    """P8: the canary has a connection of its own. The daemon once waited for it, and this took 23 s."""
    daemon, took = host.daemon(OMNICDC_POLL_S="5"), 0.0
    proxy.stop_forwarding()
    took = lost_after_s(daemon, time.monotonic(), 0)
    proxy.resume_forwarding()
    daemon.wait_for("recovered")

    assert took < pace.allows(NOTICED_S)
    evidence(
        "P8", "a proxy goes deaf as soon as the daemon serves, while it sends its first canary",
        times=1, found=f"noticed after {took:.0f} s",
    )  # fmt: skip


@pytest.mark.campaign
def test_a_slow_query_is_not_taken_for_a_silent_connection(cmp: Cmp, host: Host, evidence: Evidence) -> None:
    """P8: the daemon waits for CMP's lock for longer than a silence may last, and keeps its connection."""
    daemon = host.daemon()
    seen = len(daemon.events)
    with cmp.transaction() as (conn, _):
        conn.execute("lock table projects")
        cmp.conn.execute("select omnicdc.request_rebuild()")
        until(lambda: cmp.value("select count(*) from pg_locks where not granted"), "the daemon waits")
        time.sleep(7.0)  # the length of the wait is the fault
    cmp.arrived()

    assert "session_lost" not in [event["event"] for event in daemon.events[seen:]]
    evidence(
        "P8", "a lock of CMP's lets a query wait for 7 s", times=1, found="waited for; the connection stayed"
    )


def test_nothing_is_lost_when_connections_are_cut_repeatedly(
    cmp: Cmp, host: Host, proxy: Proxy, dice: random.Random, scale: Scale, evidence: Evidence
) -> None:
    """P1, P8: a proxy or pg_terminate_backend cuts them at random moments under writes."""
    daemon = host.daemon()
    for number in range(times := scale(4, 200)):
        cmp.upsert(f"project {number}", github_url=f"https://github.com/acme/p{number}")
        time.sleep(dice.random() * 0.1)  # the moment is the fault
        if dice.random() < 0.5:
            proxy.cut()
        else:
            cmp.conn.execute(
                """select pg_terminate_backend(a.pid) from pg_stat_activity a
                    where a.datname = current_database() and a.pid <> pg_backend_pid()"""
            )
    until(lambda: cmp.wait().status == "published", "all is published")

    assert_as_rebuilt(cmp, host)
    assert len(host.canonical()) == times
    assert daemon.process.poll() is None
    evidence(
        "P1 P8", "the connection is cut, or its backend terminated, at a random moment under writes",
        times=times, found="the same process reconnected each time; files as after a full rebuild",
    )  # fmt: skip


def test_a_canary_finds_lost_notifications_and_polling_replaces_them(
    cmp: Cmp, host: Host, proxy: Proxy, tmp_path: Path, scale: Scale, evidence: Evidence
) -> None:
    """P1, P8: the proxy drops notifications and nothing else.

    The daemon reports it, also to systemd. Changes arrive by polling. When notifications arrive again, the
    daemon recovers without help.
    """
    if scale(1, 0):
        host.program, host.env[SHORTER] = PROGRAM, "notification_s=1 capture_look_s=0.5"
    proxy.drop_notifications = True
    with _notify_socket(tmp_path) as (path, messages):
        daemon = host.daemon(NOTIFY_SOCKET=str(path))
        lost = daemon.wait_for("canary_lost")
        until(lambda: any("READY=1" in it for it in messages), "degraded, and ready: a boot must not wait")
        fed = messages.count("WATCHDOG=1")
        assert_published(cmp, host, "without notifications")
        status = host.run("status")
        fed_without = messages.count("WATCHDOG=1") - fed
        proxy.drop_notifications = False
        daemon.wait_for("canary_ok")
        seen = len(daemon.events)
        assert_published(cmp, host, "after")
        until(lambda: messages.count("WATCHDOG=1") > fed + fed_without, "the watchdog is fed again")
    until(lambda: host.run("status").returncode == 0, "healthy again")
    ready = next(it for it in messages if "READY=1" in it)

    assert "session mode" in lost["hint"]
    assert all("notifications do not arrive" in text for text in (lost["reason"], status.stdout, ready))
    assert status.returncode == 1
    assert fed_without == 0
    assert "session_lost" not in [event["event"] for event in daemon.events[seen:]]
    evidence(
        "P1 P8", "notifications are lost on their way, and nothing else", times=1,
        found="the canary reported it to log, status and systemd, whose watchdog was no longer fed; changes "
              "arrived by polling; recovered automatically",
    )  # fmt: skip


@pytest.mark.campaign
@pytest.mark.timeout(300)
def test_a_session_that_receives_no_more_notifications_is_replaced(
    cmp: Cmp, host: Host, proxy: Proxy, evidence: Evidence, monkeypatch: pytest.MonkeyPatch
) -> None:
    """P8: the session received notifications before, so the connection is the cause.

    The next canary finds it, after a minute at most.
    """
    monkeypatch.setattr("support.host.DEADLINE_S", 200.0)
    daemon = host.daemon()
    for name in ("first", "second"):  # the second one wakes it with a notification
        assert_published(cmp, host, name)
    proxy.drop_notifications = True
    since = time.monotonic()
    daemon.wait_for("canary_lost")
    took = time.monotonic() - since
    lost = daemon.wait_for("session_lost")
    proxy.drop_notifications = False
    daemon.wait_for("recovered")
    assert_published(cmp, host, "after")

    assert "notifications do not arrive" in lost["error"]
    evidence(
        "P8",
        "a session that did hear turns deaf",
        times=1,
        found=f"found after {took:.0f} s, and replaced by a new one",
    )


def set_read_only(cmp: Cmp, switch: str) -> None:
    """Make the whole server read-only (`on`), as for its maintenance, or writable again (`off`)."""
    cmp.conn.execute(pgsql.SQL("alter system set default_transaction_read_only = {}").format(switch))
    cmp.conn.execute("select pg_reload_conf()")
    query: LiteralString = "select setting from pg_settings where name = 'default_transaction_read_only'"
    until(lambda: cmp.value(query) == switch, "the server has read its settings")


@pytest.mark.campaign
def test_a_read_only_server_is_waited_for_and_skipped_among_several(
    cmp: Cmp, host: Host, evidence: Evidence
) -> None:
    """P8: if the DSN names only this server, the daemon waits for it and reports it.

    If the DSN names a writable server as well, the daemon uses that one.
    """
    at = {key: str(value) for key, value in conninfo_to_dict(cmp.dsn).items()}
    reading = FreshServer(Path(tempfile.mkdtemp(prefix="omnicdc-test-", dir=in_memory())))
    try:
        reading.create()
        reading.start()
        with psycopg.connect(reading.dsn(), autocommit=True) as admin:
            admin.execute(pgsql.SQL("create database {}").format(pgsql.Identifier(at["dbname"])))
        with Cmp(reading.dsn(at["dbname"])) as elsewhere:
            elsewhere.conn.execute(TABLE)
            assert host.run("install", OMNICDC_DSN=elsewhere.dsn).returncode == 0
            set_read_only(elsewhere, "on")
            daemon = host.starting(OMNICDC_DSN=elsewhere.dsn)
            lost = daemon.wait_for("session_lost")
            set_read_only(elsewhere, "off")
            daemon.wait_for("serving")
            daemon.stop()
            set_read_only(elsewhere, "on")
            several = {"host": f"{reading.directory},{at['host']}", "port": f"{reading.port},{at['port']}"}
            host.daemon(OMNICDC_DSN=make_conninfo(elsewhere.dsn, **several))
            assert_published(cmp, host, "on the one that writes")
    finally:
        host.close()
        reading.delete()

    assert "only read" in lost["error"]
    evidence(
        "P8", "CMP's server takes no writes (stand-by, maintenance)", times=1,
        found="waited for and reported; of several in the DSN the one that writes is taken",
    )  # fmt: skip


@contextmanager
def _notify_socket(directory: Path) -> Iterator[tuple[Path, list[str]]]:
    """Listen as systemd does; gives the socket's path, and the list of messages, which grows."""
    path, messages = directory / "notify", list[str]()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(str(path))

        def listen() -> None:
            while message := sock.recv(4096):
                messages.append(message.decode())

        thread = threading.Thread(target=listen, daemon=True)
        thread.start()
        yield path, messages
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as end:
            end.sendto(b"", str(path))
        thread.join()
