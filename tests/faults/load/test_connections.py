"""The server accepts no more connections."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

import psycopg
import pytest
from faults.load.measurement import LONGEST_WRITE_S, timed_upsert
from faults.load.sessions import terminate_daemon_sessions
from support.host import DEADLINE_S, Host, until
from support.rebuild import assert_as_rebuilt

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.cmp import Cmp
    from support.evidence import Evidence, Scale
    from support.host import Daemon
    from support.pace import Pace

pytestmark = [pytest.mark.timeout(900), pytest.mark.xdist_group("load")]  # on one server

HALF_FREE = "select count(*) < current_setting('max_connections')::int / 2 from pg_stat_activity"


@contextmanager
def no_free_connection(cmp: Cmp) -> Iterator[None]:
    """Take all connections that the server accepts, and each one that becomes free."""
    taken: list[psycopg.Connection[tuple[object, ...]]] = []
    full, done = threading.Event(), threading.Event()

    def take() -> None:
        while not done.is_set():
            try:
                taken.append(psycopg.connect(cmp.dsn))
            except psycopg.OperationalError:
                full.set()
                done.wait(0.01)

    thread = threading.Thread(target=take)
    thread.start()
    try:
        assert full.wait(DEADLINE_S)
        yield
    finally:
        done.set()
        thread.join()
        for conn in taken:
            conn.close()
        until(lambda: cmp.value(HALF_FREE), "half of the connections are free")


def cut_off(cmp: Cmp, daemon: Daemon, seen: int) -> dict[str, object]:
    """Terminate a daemon's sessions until it gets no new one. Returns the event that it logs."""

    def reported() -> bool:
        terminate_daemon_sessions(cmp)
        return any(event["event"] == "database_unavailable" for event in daemon.events[seen:])

    until(reported, "the daemon gets no connection")
    return daemon.wait_for("database_unavailable", after=seen)


@pytest.mark.campaign
def test_daemons_wait_for_a_server_without_free_connections(
    small_cmp: Cmp, small_host: Host, tmp_path: Path, scale: Scale, evidence: Evidence, pace: Pace
) -> None:
    """P4, P8: one daemon lost its connection and gets no new one, another daemon starts.

    Both report it, wait, and continue automatically.
    """
    rounds = scale(1, 5)
    small_cmp.fill(30)
    daemon = small_host.daemon(OMNICDC_POLL_S="0.5")
    slowest = 0.0
    for number in range(rounds):
        seen = len(daemon.events)
        other = Host(tmp_path / f"other{number}", small_cmp.dsn)
        with no_free_connection(small_cmp):
            events = [cut_off(small_cmp, daemon, seen)]
            starting = other.starting()
            events.append(starting.wait_for("database_unavailable"))
            refused = small_host.run("status")
            slowest = max(slowest, timed_upsert(small_cmp, f"without room {number}"))
        starting.wait_for("serving")
        daemon.wait_for("recovered", after=seen)

        assert all("too many clients" in str(event["error"]) for event in events)
        assert "too many clients" in refused.stderr
        assert_as_rebuilt(small_cmp, small_host, other)
        other.close()
    assert slowest < pace.allows(LONGEST_WRITE_S)
    evidence(
        "P4 P8",
        "every connection that the server has (max_connections) taken by other sessions, and the daemon's "
        "own cut; a second daemon started meanwhile",
        times=rounds,
        found="both reported that the server takes no connections and waited; no write of CMP waited; with "
        "room again both published, files = full rebuild",
    )
