"""P5: an answer names the hosts that it says nothing of.

A host that is stopped, or behind, is not called healthy.
"""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Any

import pytest
from support.host import Host

from omnicdc import db
from omnicdc.clients import GenesisClient
from omnicdc.delivery import wait as waits
from omnicdc.delivery.status import late, status
from omnicdc.errors import ConfigError
from omnicdc.stop import Stop

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.cmp import Cmp

HOST: dict[str, Any] = {
    "name": "host", "host": "h", "alive": True, "behind": 1, "lag_s": 0.0, "heartbeat_age_s": 1.0
}  # fmt: skip


@pytest.fixture
def other(cmp: Cmp, tmp_path: Path) -> Iterator[Host]:
    """A second registry host."""
    host = Host(tmp_path / "other", cmp.dsn)
    yield host
    host.close()


def test_a_host_that_is_down_is_named_and_not_waited_for(cmp: Cmp, host: Host, other: Host) -> None:
    """By token, by name and by barrier; the command and the client; with all hosts, it is no success."""
    host.daemon()
    other.daemon().kill()
    cmp.upsert("P")
    client = GenesisClient(config=host.config(), timeout=20)
    answers = [client.propagate_project("P"), client.propagate_project(None), host.ask("wait")]
    insisting = host.run("wait", "--all-hosts", "--timeout", "0.2")
    everywhere = client.propagate_project("P", all_hosts=True)
    alone = host.ask("wait", "--consumer", "host")
    other.daemon()
    together = client.propagate_project("P", all_hosts=True)

    assert [(it["verdict"], it["left_out"]) for it in answers] == [("published", ["other"])] * 3
    assert insisting.returncode == 3
    assert (everywhere["success"], everywhere["verdict"]) == (False, "no_consumer")
    assert everywhere["left_out"] == ["other"]
    assert "alive on other" in everywhere["detail"]
    assert alone["left_out"] == []
    assert (together["verdict"], together["left_out"]) == ("published", [])
    assert set(together["consumers"]) == {"host", "other"}


def test_a_host_that_is_silent_for_longer_than_its_limit_is_not_expected(
    cmp: Cmp, host: Host, other: Host
) -> None:
    host.daemon()
    other.daemon().kill()
    cmp.conn.execute(
        "update omnicdc.consumer set seen_at = seen_at - interval '25 hours' where name = 'other'"
    )
    with db.connect(cmp.dsn) as conn:
        verdict = waits.wait(conn, timeout_s=20, stop=Stop(), all_hosts=True)

    assert (verdict.status, verdict.left_out) == ("published", ())


def test_a_name_that_no_consumer_ever_had_is_told_at_once(cmp: Cmp, host: Host) -> None:
    """It was waited for, two seconds, and then called down."""
    nobody = host.run("wait", "--consumer", "host")
    cmp.upsert("P")
    host.once()
    typo = host.run("wait", "--consumer", "hots")
    both = host.run("wait", "--consumer", "host", "--all-hosts")
    with db.connect(cmp.dsn) as conn, pytest.raises(ConfigError, match="ever been named 'hots'"):
        waits.wait(conn, timeout_s=20, stop=Stop(), consumer="hots")

    assert (nobody.returncode, typo.returncode, both.returncode) == (2, 2, 2)
    assert "none has ever run here" in nobody.stderr
    assert "did you mean host?" in typo.stderr
    assert (typo.stdout, typo.stderr.count("\n")) == ("", 1)


def test_a_daemon_that_was_stopped_for_three_minutes_is_unhealthy(cmp: Cmp, host: Host) -> None:
    """It was called healthy, 186 s behind. The minutes are in the rows: nobody waits for them here."""
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
    ("found", "said"),
    [
        ({}, None),
        ({"lag_s": None, "behind": 0}, None),
        ({"lag_s": 100.0}, None),  # a long transaction has just committed
        ({"lag_s": 100.0, "heartbeat_age_s": 95.0}, "behind for 95 s"),
        ({"lag_s": 91.0, "heartbeat_age_s": 500.0}, "behind for 91 s"),
        ({"lag_s": None, "heartbeat_age_s": 149.0}, None),
        ({"lag_s": None, "heartbeat_age_s": 151.0}, "no heartbeat for 151 s"),
        ({"lag_s": 500.0, "heartbeat_age_s": 500.0, "alive": False}, None),  # that is said already
    ],
)
def test_which_lag_is_a_fault(found: dict[str, Any], said: str | None) -> None:
    faults = late(HOST | found, max_lag_s=90)

    assert len(faults) == (said is not None)
    assert said is None or said in faults[0]
