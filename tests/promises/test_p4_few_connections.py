"""P4: many waits in one process use few connections to CMP, and close them at the end."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from support.host import Host, until

from omnicdc.clients import GenesisClient

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.cmp import Cmp

CONNECTION_COUNTS = """
select count(*), count(*) filter (where query ilike 'listen%%')
  from pg_stat_activity where datname = current_database() and application_name = 'waits'
"""
THREADS = 50


def new_client(host: Host, more: str = "", **env: str) -> GenesisClient:
    """Return a client whose connections have an application name of their own."""
    dsn = f"{host.env['OMNICDC_DSN']} application_name=waits {more}"
    return GenesisClient(config=host.config(OMNICDC_DSN=dsn, **env), timeout=20)


@pytest.fixture
def client(host: Host) -> Iterator[GenesisClient]:
    with new_client(host) as client:
        yield client


def threads() -> set[str]:
    """Return the names of the running threads of omnicdc."""
    return {it.name for it in threading.enumerate() if it.name.startswith("omnicdc")}


def connections(cmp: Cmp) -> int:
    return int(cmp.value(CONNECTION_COUNTS))


def test_fifty_waiting_threads_share_one_listener_and_a_small_pool(cmp: Cmp, host: Host) -> None:
    """Regression: they used fifty connections.

    Each thread has a client of its own. The daemon is stopped, so that all of them wait.
    """
    daemon = host.daemon()
    daemon.process.send_signal(signal.SIGSTOP)
    cmp.upsert("P")
    clients = [new_client(host, OMNICDC_WAIT_CONNECTIONS="3") for _ in range(THREADS)]
    most = 0
    with ThreadPoolExecutor(THREADS) as pool:
        waits = [pool.submit(it.propagate_project, "P") for it in clients]
        pool_of_all = clients[0]._lease.pool()
        until(lambda: len(pool_of_all._waiters) == THREADS, "all clients wait")
        until(lambda: pool_of_all._listening, "one connection listens")
        for number in range(20):
            with cmp.transaction():
                cmp.upsert(f"other {number}")
            most = max(most, connections(cmp))
        daemon.process.send_signal(signal.SIGCONT)
        answers = [it.result() for it in waits]
    most = max(most, connections(cmp))
    for it in clients:
        it.close()

    assert {answer["verdict"] for answer in answers} == {"published"}
    assert 1 < most <= 1 + 3
    until(lambda: connections(cmp) == 0, "all connections are closed")
    assert threads() == set()


def test_a_full_server_is_retried_until_the_timeout(cmp: Cmp, host: Host) -> None:
    """The client and the command retry. After the timeout the answer gives the reason."""
    host.daemon()
    role = f"few_{os.getpid()}"
    cmp.conn.execute(f"create role {role} login connection limit 1 in role omnicdc_client")
    dsn = psycopg.conninfo.make_conninfo(cmp.dsn, user=role)
    env = {"OMNICDC_DSN": dsn}
    try:
        with GenesisClient(config=host.config(**env), timeout=0.3) as client, ThreadPoolExecutor() as pool:
            with psycopg.connect(dsn):
                refused = client.wait()
                command = host.run("wait", "--timeout", "0.3", **env)
                before = client._lease.pool()._lender._failures[-1]
                pending = pool.submit(client.wait, timeout=20)
                until(lambda: client._lease.pool()._lender._failures[-1] is not before, "a new refusal")
            answer = pending.result()
    finally:
        sessions = "select count(*) from pg_stat_activity where usename = %s"
        until(lambda: not cmp.value(sessions, role), "its sessions have ended")
        cmp.conn.execute(f"drop owned by {role}; drop role {role}")

    assert refused["verdict"] == "unavailable"
    assert "no connection left" in str(refused["error"])
    assert command.returncode == 2
    assert "no connection left" in command.stderr
    assert answer["verdict"] in ("published", "nothing_to_do")


def test_connections_that_the_server_closed_are_opened_again(
    cmp: Cmp, host: Host, client: GenesisClient
) -> None:
    """The server closes the connections of the listener and of the pool, as a restart of CMP does."""
    host.daemon()
    assert client.wait()["success"]
    cmp.conn.execute(
        "select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'waits' and "
        "datname = current_database()"
    )
    again = client.wait()

    assert again["success"], again


def test_a_closed_client_leaves_no_thread_or_connection_and_can_be_used_again(cmp: Cmp, host: Host) -> None:
    host.once()
    first, second = new_client(host), new_client(host)
    for it in (first, second):
        it.wait(timeout=0.01)
    first.close()
    first.close()
    shared = second.wait(timeout=0.01)
    second.close()
    remaining = threads()
    until(lambda: connections(cmp) == 0, "the server has seen that all connections are closed")
    again = first.wait(timeout=0.01)
    first.close()

    assert remaining == set()
    assert shared["verdict"] == again["verdict"] == "no_consumer"


def test_a_discarded_client_is_closed_when_another_client_is_used(cmp: Cmp, host: Host) -> None:
    """The garbage collector does not close it: it may run while the locks are held that closing needs."""
    host.once()
    discarded = new_client(host)
    discarded.wait(timeout=0.01)
    del discarded
    gc.collect()
    with new_client(host, "keepalives_idle=31") as other:
        other.wait(timeout=0.01)
    until(lambda: connections(cmp) == 0, "all connections are closed")

    assert threads() == set()


FORKED = """
import os, sys, threading
from omnicdc.clients import GenesisClient

client = GenesisClient(timeout=0.01)
before = client.wait()["verdict"]
child = os.fork()
if not child:
    verdict = client.wait()["verdict"]
    client.close()
    sys.exit(0 if verdict == before == "no_consumer" else 1)
status = os.waitpid(child, 0)[1]
after = client.wait()["verdict"]
print(before, status, after, len(client._lease.pool()._lender._opened().get_stats()))
"""


def test_a_forked_process_opens_its_own_connections(cmp: Cmp, host: Host) -> None:
    """The connections of the parent stay usable. Neither process prints a warning at its end."""
    del cmp
    host.once()
    done = subprocess.run(
        [sys.executable, "-W", "error::ResourceWarning", "-c", FORKED],
        env=host.env, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip

    assert done.stderr == ""
    assert done.stdout.split()[:3] == ["no_consumer", "0", "no_consumer"]


@pytest.mark.parametrize("setting", ["host=127.0.0.1 port=1", "dbname=nowhere"])
def test_a_missing_server_is_unavailable_and_writes_no_warnings(
    host: Host, setting: str, caplog: pytest.LogCaptureFixture
) -> None:
    """psycopg's own pool would retry for minutes, and write warnings into the program's log."""
    with new_client(host, setting) as client:
        answer = client.wait(timeout=60)

    assert (answer["success"], answer["verdict"]) == (False, "unavailable")
    assert [it for it in caplog.records if it.name.startswith("psycopg")] == []


def test_a_wait_looks_less_often_than_notifications_arrive(
    cmp: Cmp, host: Host, client: GenesisClient
) -> None:
    """Regression: a wait looked at each generation. Here the test sends notifications as fast as it can."""
    daemon = host.daemon()
    daemon.process.send_signal(signal.SIGSTOP)
    cmp.upsert("P")
    sent = 0
    with ThreadPoolExecutor() as pool:
        waiting: Any = pool.submit(client.wait)
        shared = client._lease.pool()
        until(lambda: shared._listening and shared._waiters, "the client waits")
        looks_before = int(shared._lender._opened().get_stats()["requests_num"])
        while sent < 500:
            before = shared.notification_count()
            cmp.conn.execute("notify omnicdc_published")
            until(lambda before=before: shared.notification_count() > before, "it arrives")  # type: ignore[misc]
            sent += 1
        looks = int(shared._lender._opened().get_stats()["requests_num"]) - looks_before
        daemon.process.send_signal(signal.SIGCONT)
        answer = waiting.result()

    assert answer["verdict"] == "published"
    assert looks < sent / 5
