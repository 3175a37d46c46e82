"""A stand-by takes over when the daemon that serves ends, and not before."""

from __future__ import annotations

import signal
import time
from typing import TYPE_CHECKING

import pytest
from faults.two_at_once.daemons import (
    exit_of,
    generation_on_disk,
    generations,
    median_and_most_ms,
    never_decreases,
    publications,
    settled_generation,
    updates,
    write_wave,
)
from support.host import DEADLINE_S, Host
from support.reader import Reader
from support.rebuild import assert_as_rebuilt

if TYPE_CHECKING:
    import random
    from pathlib import Path

    from support.cmp import Cmp
    from support.evidence import Evidence, Scale
    from support.host import Daemon
    from support.pace import Pace

pytestmark = pytest.mark.timeout(400)

TAKEN_OVER_S = 2.0
PROJECTS = 100


@pytest.mark.parametrize("shared", ["root", "name"])
def test_a_standby_takes_over_within_two_seconds_and_nothing_is_lost(
    cmp: Cmp,
    host: Host,
    tmp_path: Path,
    dice: random.Random,
    scale: Scale,
    evidence: Evidence,
    shared: str,
    pace: Pace,
) -> None:
    """P1, P2, P8: the serving daemon gets SIGKILL or SIGTERM at random moments under a stream of writes.

    Readers never see an older file after a newer one.
    """
    rounds = scale(2 if shared == "root" else 1, 40 if shared == "root" else 10)
    cmp.fill(PROJECTS)
    write_wave(cmp, 0)
    hosts = [host, host if shared == "root" else with_another_root(host, tmp_path)]
    took: dict[signal.Signals, list[float]] = {signal.SIGKILL: [], signal.SIGTERM: []}
    on_disk = [0]
    serving = hosts[0].daemon()
    readers = [Reader(hosts[0].root, "updates", scale(5, 0) / 1000)] if shared == "root" else []
    with updates(cmp) as written:
        for number in range(rounds):
            follower = hosts[(number + 1) % 2].starting("--standby")
            follower.wait_for("standing_by")
            time.sleep(dice.random() * 0.1)  # the moment is the fault
            how = dice.choice([signal.SIGKILL, signal.SIGKILL, signal.SIGTERM])
            too_early, at = publications(follower), time.monotonic()
            serving.process.send_signal(how)
            follower.wait_for("serving")
            took[how].append(time.monotonic() - at)
            on_disk.append(generation_on_disk(hosts[(number + 1) % 2]))

            assert too_early == 0
            assert serving.process.wait(DEADLINE_S) == (0 if how is signal.SIGTERM else -9)
            serving = follower
    cmp.arrived()
    found = [reader.end() for reader in readers]
    all_took = took[signal.SIGKILL] + took[signal.SIGTERM]
    last = hosts[rounds % 2]

    assert [it["wrong"] for it in found] == [[]] * len(readers)
    assert f"w{written[0]:06}" in last.raw("governance/registry/git_repos/repo_inventory.json").decode()
    assert_as_rebuilt(cmp, last)
    assert never_decreases(generations(cmp, host))
    assert shared == "name" or never_decreases(on_disk)
    assert max(all_took) < pace.allows(TAKEN_OVER_S)
    reads = sum(it["reads"] for it in found)
    evidence(
        "P1 P2 P8",
        f"the serving daemon killed (-9) or ended (-15) at a random moment under a stream of writes, with a "
        f"stand-by on the same {shared}",
        times=rounds,
        found=f"the stand-by published after {median_and_most_ms(all_took)}; {written[0]:,} transactions, "
        "none lost; "
        + (f"{reads:,} reads, none torn or older than the one before; " if readers else "")
        + "generations never went back; at the end files = full rebuild",
    )


def with_another_root(host: Host, tmp_path: Path) -> Host:
    """Return a host with another root, whose daemons have the same name."""
    other = Host(tmp_path / "elsewhere", host.env["OMNICDC_DSN"])
    other.env["OMNICDC_CONSUMER"] = host.env["OMNICDC_CONSUMER"]
    # The fixture `host` ends these daemons with its own.
    other._daemons = host._daemons
    return other


@pytest.mark.campaign
def test_a_suspended_daemon_keeps_its_root_until_it_is_killed(
    cmp: Cmp, host: Host, dice: random.Random, scale: Scale, evidence: Evidence, pace: Pace
) -> None:
    """P2, P4, P5, P8: SIGSTOP at a random moment. The stand-by must not write: the daemon may continue.

    Writes do not wait, and `wait` reports what is not published yet. If the daemon is killed (as systemd's
    watchdog does), the stand-by takes over. If it is continued, it goes on.
    """
    rounds = scale(1, 5)
    cmp.fill(PROJECTS)
    serving, took, slowest = host.daemon(), [], 0.0
    for _ in range(rounds):
        follower = host.starting("--standby")
        follower.wait_for("standing_by")
        slowest = max(slowest, write_while_suspended_s(cmp, host, serving, follower, dice))
        serving.process.send_signal(signal.SIGCONT)
        cmp.arrived()

        assert publications(follower) == 0
        assert_as_rebuilt(cmp, host)
        slowest = max(slowest, write_while_suspended_s(cmp, host, serving, follower, dice))
        at = time.monotonic()
        serving.process.kill()
        follower.wait_for("serving")
        took.append(time.monotonic() - at)
        cmp.arrived()
        serving = follower
        assert_as_rebuilt(cmp, host)

    assert slowest < pace.allows(1.0)
    assert max(took) < pace.allows(TAKEN_OVER_S)
    evidence(
        "P2 P4 P5 P8",
        "the serving daemon stopped (SIGSTOP) in the middle of its work, beside a stand-by; then continued, "
        "or killed as the watchdog does",
        times=2 * rounds,
        found="while it stood no process wrote a file, no write waited, and `wait` reported how far behind "
        "it is; continued, it went on; "
        f"killed, the stand-by published after {median_and_most_ms(took)}; then files = full rebuild",
    )


def write_while_suspended_s(
    cmp: Cmp, host: Host, serving: Daemon, follower: Daemon, dice: random.Random
) -> float:
    """Suspend the daemon while it works, and claim that no other process publishes.

    Returns the seconds that a write to CMP took.
    """
    with updates(cmp):
        time.sleep(dice.random() * 0.1)  # the moment is the fault
        serving.process.send_signal(signal.SIGSTOP)
        time.sleep(0.3)  # the length of the suspension is a part of the fault
    before, started = host.stats(), time.monotonic()
    write_wave(cmp, 999_999)
    took = time.monotonic() - started
    behind = cmp.wait(timeout_s=0.2)

    assert behind.status == "timeout", behind
    assert "to publish" in behind.detail
    assert (host.rewritten(before), publications(follower)) == (set(), 0)
    return took


@pytest.mark.campaign
def test_a_standby_of_another_configuration_serves_with_its_own(
    cmp: Cmp, host: Host, scale: Scale, evidence: Evidence
) -> None:
    """P7, P8: the stand-by has another name. It rewrites nothing, and the generations go on.

    A stand-by that cannot serve ends, and reports why.
    """
    rounds = scale(1, 5)
    cmp.fill(30)
    for number in range(rounds):
        first = host.daemon()
        cmp.upsert(f"one more {number}")
        cmp.arrived()
        unfit = host.starting("--standby", OMNICDC_TABLES="projects=elsewhere.projects")
        unfit.wait_for("standing_by")
        before, generation = host.stats(), settled_generation(cmp, host, "host")
        first.kill()
        status, message = exit_of(unfit)
        second = host.starting(
            "--standby", OMNICDC_CONSUMER="other", OMNICDC_WAKE="poll", OMNICDC_POLL_S="0.1"
        )
        second.wait_for("serving")

        assert status == 2
        assert "table elsewhere.projects does not exist" in message
        assert host.rewritten(before) == set()
        assert generation_on_disk(host) == generation
        cmp.upsert(f"and one {number}")
        cmp.arrived()
        assert settled_generation(cmp, host, "other") == generation + 1
        assert "no daemon is serving" in str(host.ask("status")["faults"])
        second.kill()
    evidence(
        "P7 P8",
        "a stand-by whose configuration differs: one of another name and way to wake, one for a table that "
        "is not there",
        times=2 * rounds,
        found="the first went on from the generation on disk and rewrote nothing that was right; the second "
        "ended with status 2 and the reason",
    )
