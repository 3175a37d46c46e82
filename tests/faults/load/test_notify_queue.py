"""The server's NOTIFY queue is full."""

from __future__ import annotations

from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import psycopg
import pytest
from faults.load.measurement import LONGEST_WRITE_S, timed_arrival, timed_upsert
from faults.load.sessions import terminate_daemon_sessions
from support.host import Host, until
from support.rebuild import assert_as_rebuilt

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.cmp import Cmp
    from support.evidence import Evidence, Scale
    from support.pace import Pace

pytestmark = [pytest.mark.timeout(900), pytest.mark.xdist_group("load")]  # on one server

NOTIFICATION = "x" * 7000


@contextmanager
def stuck_listener(cmp: Cmp) -> Iterator[psycopg.Connection[tuple[object, ...]]]:
    """Open a session of another program that listens and stays in a transaction.

    As long as it does, the server can remove nothing from the queue.
    """
    with cmp.connect() as conn:
        conn.execute("listen noise")
        conn.execute("begin; select 1")
        yield conn


def fill_queue(cmp: Cmp) -> None:
    """Send notifications until the server refuses more."""
    with suppress(psycopg.errors.ProgramLimitExceeded):
        while True:
            cmp.conn.execute("select pg_notify('noise', %s)", [NOTIFICATION])


@pytest.mark.campaign
def test_a_full_notify_queue_delays_changes_until_the_next_poll_only(
    small_cmp: Cmp, small_host: Host, scale: Scale, evidence: Evidence, pace: Pace
) -> None:
    """P1, P4, P5: another program fills the queue.

    No write fails or waits. Changes arrive by polling, and are acknowledged.
    """
    rounds = scale(1, 10)
    small_cmp.fill(30)
    daemon = small_host.daemon(OMNICDC_POLL_S="0.5")
    small_cmp.arrived()
    slowest = latest = 0.0
    for number in range(rounds):
        with stuck_listener(small_cmp) as conn:
            fill_queue(small_cmp)
            for write in range(3):
                slowest = max(slowest, timed_upsert(small_cmp, f"without notification {number} {write}"))
                latest = max(latest, timed_arrival(small_cmp))
            conn.execute("commit")
        small_cmp.upsert(f"with notification {number}")
        small_cmp.arrived()

    assert_as_rebuilt(small_cmp, small_host)
    assert not [event for event in daemon.events if event["event"] == "session_lost"]
    assert slowest < pace.allows(LONGEST_WRITE_S)
    evidence(
        "P1 P4 P5",
        "the server's NOTIFY queue filled to the brim by another session's notifications, beside a listener "
        "that stays in a transaction",
        times=rounds,
        found=f"no write failed, the slowest took {slowest * 1000:.0f} ms; changes arrived by polling, "
        f"{latest:.1f} s after they were written at "
        "most (poll_s: 0.5), and were acknowledged; emptied, it rang again",
    )


@pytest.mark.campaign
def test_a_full_notify_queue_and_its_end_are_reported(
    small_cmp: Cmp, small_host: Host, scale: Scale, evidence: Evidence
) -> None:
    """P5: the log and `status` report the full queue, and how to find the session that keeps it full."""
    rounds = scale(1, 2)
    small_cmp.fill(30)
    daemon = small_host.daemon(OMNICDC_POLL_S="0.5")
    for number in range(rounds):
        with stuck_listener(small_cmp) as conn:
            fill_queue(small_cmp)
            seen = len(daemon.events)
            # A new session sends a canary at once, an old one only every minute.
            terminate_daemon_sessions(small_cmp)
            lost = daemon.wait_for("canary_lost", after=seen)
            small_cmp.upsert(f"without notification {number}")
            small_cmp.arrived()
            until(
                lambda: "queue of notifications" in str(small_host.ask("status")["faults"]),
                "status reports the full queue",
            )
            conn.execute("commit")
        daemon.wait_for("canary_ok", after=seen)
        until(lambda: small_host.ask("status")["faults"] == [], "status reports no fault any more")

        assert "queue of notifications is more than half full" in lost["reason"]
        assert "pg_stat_activity" in lost["hint"]
    evidence(
        "P5",
        "the server's NOTIFY queue kept full by another session, and emptied again",
        times=rounds,
        found="the log and `status` named the queue and the query that finds the culprit, and its end",
    )
