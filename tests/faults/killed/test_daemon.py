"""The daemon is killed while eight connections write and two programs parse every registry.

In a short run one program parses, and it rests between its rounds.
"""

from __future__ import annotations

import signal
import time
from collections import Counter
from contextlib import closing
from functools import partial
from typing import TYPE_CHECKING

import pytest
from faults.killed.hosts import Kill, KilledHost, Moment, Scenario
from support.faulty_command import FAULTS, PROGRAM
from support.host import COMMAND, DEADLINE_S, REGISTRIES

if TYPE_CHECKING:
    import random
    from pathlib import Path

    from support.cmp import Cmp
    from support.evidence import Evidence, Scale
    from support.host import Host
    from support.pace import Pace

NAMES = ("cmp_projects", "project", "git", "teams")
STEPS = ("scanned", "open", "write", "fsync", "rename", "fsync_directory", "published")
POINTS = (
    *(f"{step} {name}" for step in STEPS for name in NAMES), "scanned", "published", "acknowledged",
    "manifest",
)  # fmt: skip
"""Every point of a cycle that rewrites all of these registries. test_p3_durable_first has them in order."""

HOSTS = 2
"""The daemons of two hosts are killed at the same time, one on each processor."""

LONGEST_WRITE_S = 2.0
"""A transaction takes some milliseconds, and more where the kills keep all processors busy. A write that
waits for one of omnicdc's time-outs takes longer."""

TAKEOVER_S = 5.0
"""Seconds from a kill until the stand-by daemon serves. First it scans everything, for the declared
registries as well, while the writers and readers keep all processors busy."""

MOMENTS = tuple((point, starting) for point in POINTS for starting in (True, False))


def at_the_very_first_start(target: KilledHost, moment: Moment) -> None:
    """Kill the first daemon that a host ever has. The second one finds what the first left, and no more."""
    new = target.new_host()
    at_a_start(new, moment)
    new.host.once()
    new.check_files()


def at_a_start(target: KilledHost, _moment: Moment) -> None:
    daemon = target.host.starting()
    time.sleep(target.dice.random() * 0.3)  # the moment is the fault
    daemon.kill()
    target.check_after_kill(daemon)


def while_serving(target: KilledHost, _moment: Moment) -> None:
    daemon = target.host.daemon()
    time.sleep(target.dice.random() * 0.1)  # the moment is the fault
    daemon.kill()
    target.check_after_kill(daemon)


def at_a_point(target: KilledHost, moment: Moment) -> None:
    point, starting = moment
    faults = target.host.root.parent / "faults"
    target.host.program, target.host.env[FAULTS] = PROGRAM, str(faults)
    if starting:
        faults.write_text(f"{point}: kill\n")
    daemon = target.host.starting()
    if not starting:
        daemon.wait_for("serving")
        faults.write_text(f"{point}: kill\n")
    daemon.process.wait(DEADLINE_S)
    faults.unlink()
    target.check_after_kill(daemon)
    target.host.program = (COMMAND,)


def beside_a_standby(target: KilledHost, _moment: Moment) -> None:
    """Kill the daemon that serves, and then the stand-by that took over."""
    first = target.host.daemon()
    second = target.host.starting("--standby")
    second.wait_for("standing_by")
    time.sleep(target.dice.random() * 0.1)  # the moment is the fault
    first.process.kill()
    killed = time.monotonic()
    target.check_files()
    second.wait_for("serving")
    target.longest_takeover_s = max(target.longest_takeover_s, time.monotonic() - killed)
    second.kill()
    target.check_after_kill(second)
    first.close()


KILLS: dict[Kill, tuple[str, int, int]] = {
    at_the_very_first_start: ("kill -9 of the daemon at a random moment of a host's very first start", 1, 50),
    at_a_start: ("kill -9 of the daemon at a random moment of a start", 1, 150),
    while_serving: ("kill -9 of the daemon at a random moment of its work", 1, 250),
    at_a_point: (
        f"kill -9 of the daemon at each of the {len(POINTS)} points of a cycle, a start's and a later one's",
        3,
        500,
    ),
    beside_a_standby: ("kill -9 of the daemon while a stand-by waits", 1, 50),
}
"""The line of evidence for each kind of kill, and how often it is done: in a short run, in a campaign."""


@pytest.mark.timeout(3600)
def test_a_killed_daemon_tears_nothing_loses_nothing_and_acknowledges_nothing_too_early(
    cmp: Cmp, tmp_path: Path, dice: random.Random, scale: Scale, evidence: Evidence, pace: Pace
) -> None:
    """P1, P2, P3, P4, P8: after each kill the next start goes on from what it finds.

    At the end the files are as if no daemon had been killed.
    """
    times = {kill: scale(short, campaign) for kill, (_, short, campaign) in KILLS.items()}
    plan = [partial(run_kill, kill, moment) for kill in KILLS for moment in some_moments(dice, times[kill])]
    dice.shuffle(plan)
    with closing(Scenario(cmp, tmp_path, dice, hosts=HOSTS, scale=scale)) as scenario:
        scenario.run_side_by_side(plan)
        found = scenario.finish()
    leftovers = sum((target.leftovers for target in scenario.targets), Counter[tuple[Kill | None, str]]())
    takeover_s = max(target.longest_takeover_s for target in scenario.targets)

    assert found.longest_s < pace.allows(LONGEST_WRITE_S)
    assert takeover_s < pace.allows(TAKEOVER_S)
    for kill, (action, _, _) in KILLS.items():
        left = (
            f"{leftovers[kill, 'unfinished']} left an unfinished file beside the whole one, "
            f"{leftovers[kill, 'not acknowledged']} had published what they had not acknowledged yet, "
            "none the other way round"
        )
        quick = f"; the stand-by served after {takeover_s:.2f} s at most" if kill is beside_a_standby else ""
        evidence("P1 P2 P3 P8", action, times=times[kill], found=left + quick)
    evidence(
        "P2", "two programs parse every registry without a pause, through all of that", times=found.reads,
        found="none torn, none going back, no half of a transaction, counters right",
    )  # fmt: skip
    evidence(
        "P1 P4", "eight connections write, through all of that", times=found.transactions,
        found=f"none failed, the longest took {found.longest_s * 1000:.0f} ms; all are there, in files as a "
              f"full rebuild writes them",
    )  # fmt: skip


def run_kill(kill: Kill, moment: Moment, target: KilledHost) -> None:
    target.current_kill = kill
    kill(target, moment)


def some_moments(dice: random.Random, times: int) -> list[Moment]:
    """Return so many moments, each as often as the others."""
    rounds = range(0, times, len(MOMENTS))
    return [moment for _ in rounds for moment in dice.sample(MOMENTS, len(MOMENTS))][:times]


BEFORE_THE_MANIFEST = ("fsync_directory cmp_projects", "fsync_directory git", "published", "acknowledged")
"""Points at which new files are in place, and the manifest does not describe them yet."""


@pytest.mark.campaign
@pytest.mark.timeout(600)
def test_files_of_a_killed_daemon_are_not_taken_for_external_changes(
    cmp: Cmp, host: Host, dice: random.Random, scale: Scale, evidence: Evidence
) -> None:
    """P1, P5, P8: a daemon is killed after it published a change. The change is undone before the next start.

    With `on_drift: alert` the killed daemon's file once stayed, as an external change would.
    """
    project = cmp.upsert("one", status="right", github_url="https://github.com/acme/right")
    faults = host.root.parent / "faults"
    host.env[FAULTS] = str(faults)
    plan = [(point, on_drift) for point in BEFORE_THE_MANIFEST for on_drift in ("alert", "restore")]
    plan *= scale(1, 5)
    plan = dice.sample(plan[:: scale(2, 1)], scale(1, len(plan)))  # in a short run one with `alert`
    for point, host.env["OMNICDC_ON_DRIFT"] in plan:
        host.program = PROGRAM
        daemon = host.daemon()
        right = host.content()
        faults.write_text(f"{point}: kill\n")
        cmp.upsert("one", id=project, status="wrong", github_url="https://github.com/acme/wrong")
        assert daemon.process.wait(DEADLINE_S) == -signal.SIGKILL
        faults.unlink()
        wrong = host.content()
        cmp.upsert("one", id=project, status="right", github_url="https://github.com/acme/right")
        host.program = (COMMAND,)
        daemon = host.daemon()
        cmp.arrived()
        assert daemon.stop() == 0

        assert wrong.keys() == right.keys()
        assert all(wrong[name] != right[name] for name in REGISTRIES)
        assert host.content() == right
        assert [event for event in daemon.events if event["level"] != "info"] == []

    evidence(
        "P1 P5 P8", "kill -9 between new files and their manifest; the change is taken back before the next "
                    "start", times=len(plan),
        found="the files are right, with `on_drift: alert` as well; no external change is reported",
    )  # fmt: skip
