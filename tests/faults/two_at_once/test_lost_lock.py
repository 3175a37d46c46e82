"""The lock file of a serving daemon is removed, replaced, or moved away: still only one daemon serves."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from faults.two_at_once.daemons import exit_of, publications
from support.host import until
from support.rebuild import assert_as_rebuilt

from omnicdc.files.lock import LOCK

if TYPE_CHECKING:
    from pathlib import Path

    from support.cmp import Cmp
    from support.evidence import Evidence, Scale
    from support.host import Daemon, Host

pytestmark = pytest.mark.timeout(400)

LOSSES = ("removed", "moved away", "replaced")


@pytest.mark.campaign
def test_two_daemons_do_not_serve_one_root_after_the_lock_was_lost(
    cmp: Cmp, host: Host, tmp_path: Path, scale: Scale, evidence: Evidence
) -> None:
    """P2, P8: `git clean` removes the lock, or a user moves its directory.

    The next daemon then locks another file.
    """
    rounds, served = scale(1, 9), 0
    cmp.fill(30)
    for number in range(rounds):
        first = host.daemon(OMNICDC_POLL_S="60")
        cmp.arrived()
        lose_the_lock(host, LOSSES[number % 3], tmp_path / f"moved{number}")
        second = host.starting(OMNICDC_CONSUMER="other")
        if serves(second):
            served += 1
            so_far = publications(first)
            cmp.upsert(f"written beside two {number}")
            first.wait_for("standing_by")
            cmp.upsert(f"written after that {number}")
            cmp.arrived()

            assert publications(first) == so_far
            assert_as_rebuilt(cmp, host)
            second.kill()
            first.wait_for("recovered")
        cmp.upsert(f"written at last {number}")
        # The next poll, in a minute, would find that files were moved away. A rebuild looks now.
        cmp.conn.execute("select omnicdc.request_rebuild()")
        cmp.arrived()

        assert_as_rebuilt(cmp, host)
        first.kill()
    evidence(
        "P2 P8",
        "the lock of a serving daemon removed, replaced, or moved away with its directory; and at once a "
        "second daemon started",
        times=rounds,
        found=f"{rounds - served} times the first had noticed by then, and the second was refused; {served} "
        f"times the second came first, "
        "and the first noticed before it wrote again, stood by, and went on when the second ended",
    )


def serves(daemon: Daemon) -> bool:
    """Whether a daemon comes to serve. If it does not, claim that it reported the daemon that serves."""

    def decided() -> bool:
        return daemon.process.poll() is not None or any(it["event"] == "serving" for it in daemon.events)

    until(decided, "it serves or ends")
    if daemon.process.poll() is None:
        return True
    status, message = exit_of(daemon)
    assert (status, "already publishes below" in message) == (2, True)
    return False


def lose_the_lock(host: Host, loss: str, destination: Path) -> None:
    """Remove or replace the locked file, or move its directory to `destination`."""
    lock = host.root / LOCK
    if loss == "moved away":
        (host.root / "governance").rename(destination)
    else:
        lock.unlink()
    if loss == "replaced":
        lock.write_text("1 somewhere\n")


def test_the_next_poll_creates_a_removed_lock_again(
    cmp: Cmp, host: Host, scale: Scale, evidence: Evidence
) -> None:
    """P8: after that, a second daemon is refused as before."""
    rounds = scale(1, 5)
    cmp.fill(30)
    first = host.daemon(OMNICDC_POLL_S="0.1")
    for _ in range(rounds):
        (host.root / LOCK).unlink()
        until((host.root / LOCK).exists, "the lock is there again")
        status, message = exit_of(host.starting(OMNICDC_CONSUMER="other"))

        assert status == 2
        assert f"process {first.process.pid} on " in message
    evidence(
        "P8",
        "the lock of a serving daemon removed, and a second one started after the next look (poll_s)",
        times=rounds,
        found="it was there again, and the second was refused",
    )
