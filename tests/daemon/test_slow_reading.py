"""The server ends the session of a daemon that does nothing within a reading. A slow host still serves."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from support.faulty_command import FAULTS, PROGRAM, SHORTER, SLOW_S

from omnicdc.daemon.once import run_to_the_end
from omnicdc.daemon.timing import Timing
from omnicdc.stop import Stop

if TYPE_CHECKING:
    from pathlib import Path

    from support.cmp import Cmp
    from support.host import Host

LIMIT_S = SLOW_S / 3
LIMITS = "select current_setting('idle_in_transaction_session_timeout')"


def test_a_host_that_renders_more_slowly_than_the_server_waits_serves_after_some_sessions(
    cmp: Cmp, host: Host, tmp_path: Path
) -> None:
    """P1: each session could end in the same way, and the daemon would never serve."""
    faults = tmp_path / "faults"
    faults.write_text("scanned cmp_projects: slow\n")
    host.program, host.env[FAULTS], host.env[SHORTER] = PROGRAM, str(faults), f"reading_idle_s={LIMIT_S}"
    cmp.upsert("atlas")

    daemon = host.daemon()
    lost = [it for it in daemon.events if it["event"] == "session_lost"]

    assert "idle-in-transaction timeout" in lost[0]["error"]
    assert len(host.canonical()) == 1

    faults.unlink()
    cmp.upsert("boreas")
    cmp.arrived()
    assert len(host.canonical()) == 2


def test_run_once_gets_more_time_if_it_needs_it(cmp: Cmp, host: Host) -> None:
    cmp.upsert("atlas")

    def slow(point: str) -> None:
        if point == "scanned cmp_projects":
            time.sleep(SLOW_S)  # the slowness is the fault

    run_to_the_end(host.config(), Stop(), slow, Timing(reading_idle_s=LIMIT_S))

    assert len(host.canonical()) == 1


def test_the_usual_limit_holds_again_after_a_publication(cmp: Cmp, host: Host, tmp_path: Path) -> None:
    """P4: otherwise CMP's ALTER TABLE could wait long for a daemon that hangs weeks later."""
    faults = tmp_path / "faults"
    faults.write_text("scanned cmp_projects: slow\n")
    host.program, host.env[FAULTS], host.env[SHORTER] = PROGRAM, str(faults), f"reading_idle_s={LIMIT_S}"
    daemon = host.daemon()
    before = len(daemon.events)

    cmp.upsert("atlas")

    daemon.wait_for("session_lost", after=before)
