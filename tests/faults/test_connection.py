"""Faults 2: what happens to the connection between the daemon and CMP's server."""

from __future__ import annotations

import socket
import tempfile
import threading
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import pytest
from psycopg import sql as pgsql
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from support.cmp import TABLE, Cmp
from support.faulty import PROGRAM, SHORTER
from support.fresh import FreshServer
from support.host import Host, until
from support.memory import in_memory
from support.pooler import needs_pooler, pooler
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
"""How long a connection that leads nowhere may go unnoticed."""


@pytest.fixture
def proxy(cmp: Cmp, host: Host) -> Iterator[Proxy]:
    """Stand between the host's daemons and the server; tests write to CMP without it."""
    with Proxy(cmp.dsn) as proxy:
        host.env["OMNICDC_DSN"] = proxy.dsn
        yield proxy


def published(cmp: Cmp, host: Host, name: str) -> None:
    """Write a project, and insist that it arrives."""
    project = cmp.upsert(name, github_url=f"https://github.com/acme/{name}")
    until(lambda: cmp.wait().status == "published", f"{name} is published")
    assert project in host.canonical()


def lost_after_s(daemon: Daemon, since: float, after: int) -> float:
    """Wait until the daemon says that its session is lost, and return how long that took."""
    daemon.wait_for("session_lost", after=after)
    return time.monotonic() - since


def test_a_server_gone_silent_is_noticed_and_left(
    cmp: Cmp, host: Host, proxy: Proxy, scale: Scale, evidence: Evidence, pace: Pace
) -> None:
    """P8: half-open.

    A proxy passes nothing on and closes nothing; noticed within 15 s, and left for a new connection.

    A short run waits for a second where a campaign waits for as long as the daemon does by itself.
    """
    if scale(1, 0):
        host.program, host.env[SHORTER] = PROGRAM, "allowed_s=1 probe_s=1"
    daemon, took = host.daemon(OMNICDC_POLL_S="0.5" if scale(1, 0) else "5"), []
    for number in range(times := scale(1, 4)):
        published(cmp, host, f"before{number}")
        seen, since = len(daemon.events), time.monotonic()
        proxy.go_deaf()
        cmp.upsert("while nothing gets through")
        took.append(lost_after_s(daemon, since, seen))
        proxy.heal()
        daemon.wait_for("recovered", after=seen)
        published(cmp, host, f"after{number}")

    assert max(took) < pace.allows(NOTICED_S)
    assert daemon.process.poll() is None
    evidence(
        "P5 P8", "a proxy goes deaf without closing the connection (half-open)",
        times=times, found=f"noticed after {max(took):.0f} s at most; all arrived once it let through again",
    )  # fmt: skip


@pytest.mark.campaign
def test_a_server_that_goes_silent_while_a_canary_is_sent_is_noticed_as_soon(
    host: Host, proxy: Proxy, evidence: Evidence, pace: Pace
) -> None:
    """P8: the canary's own connection must not be waited for at length; it was, and this took 23 s."""
    daemon, took = host.daemon(OMNICDC_POLL_S="5"), 0.0
    proxy.go_deaf()
    took = lost_after_s(daemon, time.monotonic(), 0)
    proxy.heal()
    daemon.wait_for("recovered")

    assert took < pace.allows(NOTICED_S)
    evidence(
        "P8", "a proxy goes deaf as soon as the daemon serves, while it sends its first canary",
        times=1, found=f"noticed after {took:.0f} s",
    )  # fmt: skip


@pytest.mark.campaign
def test_a_query_that_takes_long_is_not_taken_for_silence(cmp: Cmp, host: Host, evidence: Evidence) -> None:
    """P8: the daemon waits behind CMP's lock for longer than a silence may last, and keeps its connection."""
    daemon = host.daemon()
    seen = len(daemon.events)
    with cmp.transaction() as (conn, _):
        conn.execute("lock table projects")
        cmp.conn.execute("select omnicdc.request_rebuild()")
        until(lambda: cmp.value("select count(*) from pg_locks where not granted"), "the daemon waits")
        time.sleep(7.0)  # the length of the wait is what is tried
    cmp.arrived()

    assert "session_lost" not in [event["event"] for event in daemon.events[seen:]]
    evidence(
        "P8", "a lock of CMP's lets a query wait for 7 s", times=1, found="waited for; the connection stayed"
    )


def test_connections_cut_again_and_again_lose_nothing(
    cmp: Cmp, host: Host, proxy: Proxy, dice: random.Random, scale: Scale, evidence: Evidence
) -> None:
    """P1, P8: by a proxy, and by pg_terminate_backend, at random moments under writes."""
    daemon = host.daemon()
    for number in range(times := scale(4, 200)):
        cmp.upsert(f"project {number}", github_url=f"https://github.com/acme/p{number}")
        time.sleep(dice.random() * 0.1)  # the moment is what is tried
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


def test_lost_notifications_are_found_by_a_canary_and_replaced_by_polling(
    cmp: Cmp, host: Host, proxy: Proxy, tmp_path: Path, scale: Scale, evidence: Evidence
) -> None:
    """P1, P8: LISTEN is silently lost.

    Said, also to systemd; changes arrive by polling; well again by itself.
    """
    if scale(1, 0):
        host.program, host.env[SHORTER] = PROGRAM, "notification_s=1 capture_look_s=0.5"
    proxy.mute = True
    with _notify_socket(tmp_path) as (path, told):
        daemon = host.daemon(NOTIFY_SOCKET=str(path))
        lost = daemon.wait_for("canary_lost")
        until(lambda: any("READY=1" in it for it in told), "degraded, and ready: a boot must not wait")
        fed = told.count("WATCHDOG=1")
        published(cmp, host, "while deaf")
        status = host.run("status")
        fed_while_deaf = told.count("WATCHDOG=1") - fed
        proxy.mute = False
        daemon.wait_for("canary_ok")
        seen = len(daemon.events)
        published(cmp, host, "after")
        until(lambda: told.count("WATCHDOG=1") > fed + fed_while_deaf, "the watchdog is fed again")
    until(lambda: host.run("status").returncode == 0, "healthy again")
    ready = next(it for it in told if "READY=1" in it)

    assert "session mode" in lost["hint"]
    assert all("notifications do not arrive" in said for said in (lost["reason"], status.stdout, ready))
    assert status.returncode == 1
    assert fed_while_deaf == 0
    assert "session_lost" not in [event["event"] for event in daemon.events[seen:]]
    evidence(
        "P1 P8", "notifications are lost on their way, and nothing else", times=1,
        found="the canary told log, status and systemd, whose watchdog was no longer fed; changes arrived "
              "by polling; well "
        "again by itself",
    )  # fmt: skip


HOME: LiteralString = """
select exists (select from omnicdc.change c, omnicdc.consumer k
                where c.source = 0 and pg_visible_in_snapshot(c.xid, k.snapshot))
"""


@pytest.mark.campaign
@pytest.mark.timeout(300)
def test_a_session_that_turns_deaf_is_replaced(
    cmp: Cmp, host: Host, proxy: Proxy, evidence: Evidence, monkeypatch: pytest.MonkeyPatch
) -> None:
    """P8: it heard before, so the connection is to blame.

    Found at the next canary, a minute later at most.
    """
    monkeypatch.setattr("support.host.DEADLINE_S", 200.0)
    daemon = host.daemon()
    until(lambda: cmp.value(HOME), "its first canary is home")
    proxy.mute = True
    since = time.monotonic()
    daemon.wait_for("canary_lost")
    told = time.monotonic() - since
    lost = daemon.wait_for("session_lost")
    proxy.mute = False
    daemon.wait_for("recovered")
    published(cmp, host, "after")

    assert "notifications do not arrive" in lost["error"]
    evidence(
        "P8",
        "a session that did hear turns deaf",
        times=1,
        found=f"found after {told:.0f} s, and replaced by a new one",
    )


def only_reads(cmp: Cmp, switch: str) -> None:
    """Let the whole server take no writes, or take them again, as for its maintenance."""
    cmp.conn.execute(pgsql.SQL("alter system set default_transaction_read_only = {}").format(switch))
    cmp.conn.execute("select pg_reload_conf()")
    asked: LiteralString = "select setting from pg_settings where name = 'default_transaction_read_only'"
    until(lambda: cmp.value(asked) == switch, "the server has read its settings")


@pytest.mark.campaign
def test_a_server_that_only_reads_is_waited_for_and_among_several_passed_over(
    cmp: Cmp, host: Host, evidence: Evidence
) -> None:
    """P8: named alone it is waited for, and told; named beside one that writes, that one is taken."""
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
            only_reads(elsewhere, "on")
            daemon = host.starting(OMNICDC_DSN=elsewhere.dsn)
            lost = daemon.wait_for("session_lost")
            only_reads(elsewhere, "off")
            daemon.wait_for("serving")
            daemon.stop()
            only_reads(elsewhere, "on")
            several = {"host": f"{reading.directory},{at['host']}", "port": f"{reading.port},{at['port']}"}
            host.daemon(OMNICDC_DSN=make_conninfo(elsewhere.dsn, **several))
            published(cmp, host, "on the one that writes")
    finally:
        host.close()
        reading.delete()

    assert "only read" in lost["error"]
    evidence(
        "P8", "CMP's server takes no writes (stand-by, maintenance)", times=1,
        found="waited for and said; of several in the DSN the one that writes is taken",
    )  # fmt: skip


@contextmanager
def _notify_socket(directory: Path) -> Iterator[tuple[Path, list[str]]]:
    """Be systemd: gives the socket's path and what it was told, which grows."""
    path, told = directory / "notify", list[str]()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(str(path))

        def listen() -> None:
            while message := sock.recv(4096):
                told.append(message.decode())

        thread = threading.Thread(target=listen, daemon=True)
        thread.start()
        yield path, told
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as end:
            end.sendto(b"", str(path))
        thread.join()


@needs_pooler
@pytest.mark.parametrize(
    ("mode", "size"),
    [("transaction", 5), ("statement", 5), pytest.param("transaction", 1, marks=pytest.mark.campaign)],
)
def test_a_pooler_that_lends_sessions_is_named(
    cmp: Cmp, host: Host, mode: str, size: int, evidence: Evidence
) -> None:
    """P8: exit status 2 and one line that says what it is and what to do; nothing is written."""
    with pooler(cmp, mode, size) as dsn:
        refused = host.run("run", OMNICDC_DSN=dsn)

    assert refused.returncode == 2
    assert {"transaction": "a pooler in transaction mode", "statement": "as in statement mode"}[
        mode
    ] in refused.stderr
    assert "session mode" in refused.stderr
    assert host.content() == {}
    evidence(
        "P8", f"a pooler in {mode} mode, {size} session{'s' if size > 1 else ''}", times=1,
        found="named at the start: exit 2, one line",
    )  # fmt: skip


@needs_pooler
def test_a_pooler_in_session_mode_is_fine_and_clients_may_use_any(
    cmp: Cmp, host: Host, evidence: Evidence
) -> None:
    """P1, P5: the daemon through a pool of sessions.

    Writers, `wait` and `verify` through one of transactions.
    """
    with ExitStack() as stack:
        sessions = stack.enter_context(pooler(cmp, "session"))
        transactions = stack.enter_context(pooler(cmp, "transaction"))
        daemon = host.daemon(OMNICDC_DSN=sessions)
        with psycopg.connect(transactions, autocommit=True) as writer:
            writer.prepare_threshold = None
            project = cmp.upsert("pooled", conn=writer, github_url="https://github.com/acme/pooled")
        waited = host.ask("wait", OMNICDC_DSN=transactions)
        verified = host.run("verify", project, OMNICDC_DSN=transactions)
        daemon.stop()

    assert waited["verdict"] == "published"
    assert verified.returncode == 0, verified.stderr
    assert "canary_lost" not in [event["event"] for event in daemon.events]
    evidence(
        "P1 P5", "the daemon through a pooler in session mode, writers and waiters through one in "
                 "transaction mode",
        times=1, found="published, waited for and verified; the canary came home",
    )  # fmt: skip
