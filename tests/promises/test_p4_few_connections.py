"""P4: however much of a process waits, it takes CMP's writers few connections; and it lets go of them."""

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

OURS = """
select count(*), count(*) filter (where query ilike 'listen%%')
  from pg_stat_activity where datname = current_database() and application_name = 'waits'
"""
THREADS = 50


def client(host: Host, more: str = "", **env: str) -> GenesisClient:
    """A client whose connections can be told from others."""
    dsn = f"{host.env['OMNICDC_DSN']} application_name=waits {more}"
    return GenesisClient(config=host.config(OMNICDC_DSN=dsn, **env), timeout=20)


@pytest.fixture
def asking(host: Host) -> Iterator[GenesisClient]:
    with client(host) as asking:
        yield asking


def threads() -> set[str]:
    """The names of our threads that are running."""
    return {it.name for it in threading.enumerate() if it.name.startswith("omnicdc")}


def connections(cmp: Cmp) -> int:
    return int(cmp.value(OURS))


def test_fifty_threads_wait_on_one_connection_that_listens_and_a_pool(cmp: Cmp, host: Host) -> None:
    """They took fifty. Each has a client of its own; a daemon that hangs keeps all of them waiting."""
    daemon = host.daemon()
    daemon.process.send_signal(signal.SIGSTOP)
    cmp.upsert("P")
    clients = [client(host, OMNICDC_WAIT_CONNECTIONS="3") for _ in range(THREADS)]
    most = 0
    with ThreadPoolExecutor(THREADS) as pool:
        waits = [pool.submit(it.propagate_project, "P") for it in clients]
        pool_of_all = clients[0]._lease.pool()
        until(lambda: len(pool_of_all._waiters) == THREADS, "all of them wait")
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


def test_a_server_that_is_full_is_tried_again_until_the_time_is_up(cmp: Cmp, host: Host) -> None:
    """The client and the command; and the answer says why it is none."""
    host.daemon()
    role = f"few_{os.getpid()}"
    cmp.conn.execute(f"create role {role} login connection limit 1 in role omnicdc_client")
    dsn = psycopg.conninfo.make_conninfo(cmp.dsn, user=role)
    env = {"OMNICDC_DSN": dsn}
    try:
        with GenesisClient(config=host.config(**env), timeout=0.3) as asking, ThreadPoolExecutor() as pool:
            with psycopg.connect(dsn):
                refused = asking.wait()
                command = host.run("wait", "--timeout", "0.3", **env)
                before = asking._lease.pool()._lender._failures[-1]
                patient = pool.submit(asking.wait, timeout=20)
                until(lambda: asking._lease.pool()._lender._failures[-1] is not before, "it was refused")
            answer = patient.result()
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
    cmp: Cmp, host: Host, asking: GenesisClient
) -> None:
    """As after a restart of CMP between two waits, and in the middle of one.

    The listener's and the pool's.
    """
    host.daemon()
    assert asking.wait()["success"]
    cmp.conn.execute(
        "select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'waits' and "
        "datname = current_database()"
    )
    again = asking.wait()

    assert again["success"], again


def test_a_closed_client_leaves_nothing_and_may_be_used_again(cmp: Cmp, host: Host) -> None:
    host.once()
    first, second = client(host), client(host)
    for it in (first, second):
        it.wait(timeout=0.01)
    first.close()
    first.close()
    shared = second.wait(timeout=0.01)
    second.close()
    left = threads()
    until(lambda: connections(cmp) == 0, "the server has seen that all connections are closed")
    again = first.wait(timeout=0.01)
    first.close()

    assert left == set()
    assert shared["verdict"] == again["verdict"] == "no_consumer"


def test_a_client_that_is_forgotten_is_closed_at_the_next_use_of_another(cmp: Cmp, host: Host) -> None:
    """The garbage collector closes nothing itself: it may run while the locks are held that closing needs."""
    host.once()
    forgotten = client(host)
    forgotten.wait(timeout=0.01)
    del forgotten
    gc.collect()
    with client(host, "keepalives_idle=31") as other:
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


def test_a_process_that_was_forked_opens_its_own(cmp: Cmp, host: Host) -> None:
    """The parent's sessions are left alone, and neither says a word at its end."""
    del cmp
    host.once()
    done = subprocess.run(
        [sys.executable, "-W", "error::ResourceWarning", "-c", FORKED],
        env=host.env, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip

    assert done.stderr == ""
    assert done.stdout.split()[:3] == ["no_consumer", "0", "no_consumer"]


@pytest.mark.parametrize("trouble", ["host=127.0.0.1 port=1", "dbname=nowhere"])
def test_a_server_that_is_not_there_is_told_at_once_and_quietly(
    host: Host, trouble: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The pool would try for minutes, and write warnings into the program's log."""
    with client(host, trouble) as asking:
        answer = asking.wait(timeout=60)

    assert (answer["success"], answer["verdict"]) == (False, "unavailable")
    assert [it for it in caplog.records if it.name.startswith("psycopg")] == []


def test_in_a_storm_of_publications_a_wait_looks_less_and_less(
    cmp: Cmp, host: Host, asking: GenesisClient
) -> None:
    """It looked at each generation. The notifications are sent here, as fast as they go."""
    daemon = host.daemon()
    daemon.process.send_signal(signal.SIGSTOP)
    cmp.upsert("P")
    sent = 0
    with ThreadPoolExecutor() as pool:
        waiting: Any = pool.submit(asking.wait)
        shared = asking._lease.pool()
        until(lambda: shared._listening and shared._waiters, "it waits")
        looks = int(shared._lender._opened().get_stats()["requests_num"])
        while sent < 500:
            heard = shared.notification_count()
            cmp.conn.execute("notify omnicdc_published")
            until(lambda heard=heard: shared.notification_count() > heard, "heard")  # type: ignore[misc]
            sent += 1
        looked = int(shared._lender._opened().get_stats()["requests_num"]) - looks
        daemon.process.send_signal(signal.SIGCONT)
        answer = waiting.result()

    assert answer["verdict"] == "published"
    assert looked < sent / 5
