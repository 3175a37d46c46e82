"""The state directory cannot be used."""

from __future__ import annotations

import errno
import os
import shutil
import signal
from typing import TYPE_CHECKING

import pytest
from faults.disk.directories import moved_away
from faults.disk.external_changes import backups, check_edit_without_backup
from faults.disk.mounts import filled, mount_tmpfs, read_only
from faults.disk.trial import Failure, start_trial
from support.external_changes import replace_atomically
from support.host import PROJECT, Host, until

if TYPE_CHECKING:
    import random
    from collections.abc import Callable
    from contextlib import ExitStack
    from pathlib import Path

    from support.cmp import Cmp
    from support.evidence import Evidence, Scale

pytestmark = pytest.mark.timeout(900)


def test_without_a_state_directory_an_external_change_is_not_overwritten(
    cmp: Cmp, tmp_path: Path, cleanup: ExitStack, scale: Scale, evidence: Evidence
) -> None:
    """P5, P6, P8: the state directory's disk is full or read-only, or the directory is gone."""
    place = mount_tmpfs(cleanup, tmp_path / "disk")
    host = Host(tmp_path / "host", cmp.dsn)
    host.state = place / "below/state"
    host.env["OMNICDC_STATE_DIR"] = str(host.state)
    trial = start_trial(cleanup, cmp, host)
    rounds, short = scale(1, 6), scale(1, 0)
    for _ in range(rounds):
        check_edit_without_backup(trial, filled(place), os.strerror(errno.ENOSPC))
        if not short:
            check_edit_without_backup(trial, read_only(place), os.strerror(errno.EROFS))
            check_edit_without_backup(trial, moved_away(host.state, "file"), "irectory")
        check_edit_without_backup(trial, moved_away(host.state.parent, "/proc"), "")
        host.state.rename(host.state.with_name("lost"))  # in one step: the daemon may be writing into it
        shutil.rmtree(host.state.with_name("lost"), ignore_errors=True)
        replace_atomically(host.root / PROJECT, "no backup exists yet, and one can be made")
        until(trial.updates.right, "the directory is created again")
        assert len(backups(host)) == 1
        trial.check(filled(place), "", frozenset())

    evidence(
        "P5 P6 P8",
        "another process wrote into a registry while the state directory was full, read-only, gone, or no "
        "directory",
        times=(6 - 2 * short) * rounds,
        found="held as long as it could not be backed up, the others published; then backed up and "
        "restored; "
        "a state directory that is gone is made again, one that is full holds no other registry",
    )


@pytest.mark.campaign
def test_a_reload_during_a_failure_does_not_end_the_daemon(
    cmp: Cmp, host: Host, cleanup: ExitStack, scale: Scale, dice: random.Random, evidence: Evidence
) -> None:
    """P2, P5, P8: SIGHUP reloads the configuration during a failure.

    The failure ends a daemon that starts, with a reason. It does not end a daemon that has served.
    """
    trial = start_trial(cleanup, cmp, host)
    failures: tuple[Callable[[], Failure], ...] = (
        lambda: moved_away(host.state, "file"),
        lambda: read_only(host.state),
        lambda: moved_away(host.root),
        lambda: read_only(host.root),
    )
    chosen = dice.sample(failures, scale(1, 4)) * scale(1, 2)
    for fail in chosen:
        seen = len(trial.daemon.events)
        with fail():
            trial.daemon.process.send_signal(signal.SIGHUP)
            event = trial.daemon.wait_for("session_lost", after=seen)
            verdict = trial.cmp.wait(trial.updates.next(), timeout_s=0.1)
            refused = host.run("run")
            assert event["error"]
            assert event["hint"]
            assert not verdict.arrived
            assert trial.daemon.process.poll() is None
            assert (refused.returncode, len(refused.stderr.splitlines())) == (2, 1)
        trial.daemon.wait_for("recovered", after=seen)
        until(trial.updates.right, "published once the failure is gone")

    assert trial.daemon.stop() == 0
    evidence(
        "P2 P5 P8",
        "a reload (SIGHUP), and a start, while root or state directory are gone, read-only, or no directory",
        times=2 * len(chosen),
        found="a daemon that had served waited, reported it, and served again once it was fixed; a start "
        "ended with one line",
    )
