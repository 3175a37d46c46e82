"""P5: an answer names the hosts that it does not include.

A host that is stopped, or behind, is not reported as healthy.
"""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Any

import pytest
from support.host import Host

from omnicdc import db
from omnicdc.answers.status import late, status
from omnicdc.clients import GenesisClient
from omnicdc.delivery import wait as waits
from omnicdc.errors import ConfigError
from omnicdc.stop import Stop

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.cmp import Cmp

CONSUMER: dict[str, Any] = {
    "name": "host", "host": "h", "alive": True, "behind": 1, "lag_s": 0.0, "heartbeat_age_s": 1.0
}  # fmt: skip


@pytest.fixture
def other(cmp: Cmp, tmp_path: Path) -> Iterator[Host]:
    """A second registry host."""
    host = Host(tmp_path / "other", cmp.dsn)
    yield host
    host.close()


def test_a_host_that_is_down_is_named_and_not_waited_for(cmp: Cmp, host: Host, other: Host) -> None:
    """By name and as a barrier, with the client and the command.

    A wait for all hosts does not succeed.
    """
    host.daemon()
    other.daemon().kill()
    cmp.upsert("P")
    client = GenesisClient(config=host.config(), timeout=20)
    answers = [client.propagate_project("P"), client.propagate_project(None), host.ask("wait")]
    command = host.run("wait", "--all-hosts", "--timeout", "0.2")
    client_answer = client.propagate_project("P", all_hosts=True)
    alone = host.ask("wait", "--consumer", "host")
    other.daemon()
    both_alive = client.propagate_project("P", all_hosts=True)

    assert [(it["verdict"], it["left_out"]) for it in answers] == [("published", ["other"])] * 3
    assert command.returncode == 3
    assert (client_answer["success"], client_answer["verdict"]) == (False, "no_consumer")
    assert client_answer["left_out"] == ["other"]
    assert "alive on other" in client_answer["detail"]
    assert alone["left_out"] == []
    assert (both_alive["verdict"], both_alive["left_out"]) == ("published", [])
    assert set(both_alive["consumers"]) == {"host", "other"}


def test_a_host_that_was_silent_for_too_long_is_not_waited_for(cmp: Cmp, host: Host, other: Host) -> None:
    """Its last heartbeat is older than the consumer expiry."""
    host.daemon()
    other.daemon().kill()
    cmp.conn.execute(
        "update omnicdc.consumer set seen_at = seen_at - interval '25 hours' where name = 'other'"
    )
    with db.connect(cmp.dsn) as conn:
        verdict = waits.wait(conn, timeout_s=20, stop=Stop(), all_hosts=True)

    assert (verdict.status, verdict.left_out) == ("published", ())


def test_an_unknown_consumer_name_is_refused(cmp: Cmp, host: Host) -> None:
    """Regression: the wait took two seconds, and then reported that the consumer is down."""
    before_any = host.run("wait", "--consumer", "host")
    cmp.upsert("P")
    host.once()
    typo = host.run("wait", "--consumer", "hots")
    both = host.run("wait", "--consumer", "host", "--all-hosts")
    with db.connect(cmp.dsn) as conn, pytest.raises(ConfigError, match="ever been named 'hots'"):
        waits.wait(conn, timeout_s=20, stop=Stop(), consumer="hots")

    assert (before_any.returncode, typo.returncode, both.returncode) == (2, 2, 2)
    assert "none has ever run here" in before_any.stderr
    assert "did you mean host?" in typo.stderr
    assert (typo.stdout, typo.stderr.count("\n")) == ("", 1)


def test_a_daemon_that_was_stopped_for_three_minutes_is_unhealthy(cmp: Cmp, host: Host) -> None:
    """Regression: it was reported as healthy, with a lag of 186 s.

    The test changes the times in the rows instead of waiting.
    """
    daemon = host.daemon()
    daemon.process.send_signal(signal.SIGSTOP)
    try:
        cmp.conn.execute("update omnicdc.consumer set seen_at = seen_at - interval '186 s'")
        silent = host.ask("status")
        cmp.upsert("P")
        cmp.conn.execute("update omnicdc.change set at = at - interval '186 s'")
        behind = host.run("status")
        with db.connect(cmp.dsn) as conn:
            tolerant = status(conn, max_lag_s=1000)
    finally:
        daemon.process.send_signal(signal.SIGCONT)
    cmp.arrived()

    assert silent["healthy"] is False
    assert "no heartbeat for 18" in silent["faults"][0]
    assert behind.returncode == 1
    assert "1 changes behind for 18" in behind.stdout
    assert "systemctl restart omnicdc" in behind.stdout
    assert "no heartbeat" in tolerant["faults"][0]
    with db.connect(cmp.dsn) as conn:
        assert status(conn)["healthy"]


@pytest.mark.parametrize(
    ("row", "fault"),
    [
        ({}, None),
        ({"lag_s": None, "behind": 0}, None),
        ({"lag_s": 100.0}, None),  # a long transaction has just committed
        ({"lag_s": 100.0, "heartbeat_age_s": 95.0}, "behind for 95 s"),
        ({"lag_s": 91.0, "heartbeat_age_s": 500.0}, "behind for 91 s"),
        ({"lag_s": None, "heartbeat_age_s": 149.0}, None),
        ({"lag_s": None, "heartbeat_age_s": 151.0}, "no heartbeat for 151 s"),
        ({"lag_s": 500.0, "heartbeat_age_s": 500.0, "alive": False}, None),  # `status` reports this already
    ],
)
def test_which_lag_is_a_fault(row: dict[str, Any], fault: str | None) -> None:
    faults = late(CONSUMER | row, max_lag_s=90)

    assert len(faults) == (fault is not None)
    assert fault is None or fault in faults[0]
