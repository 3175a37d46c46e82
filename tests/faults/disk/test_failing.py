"""The disk fails, the file system stops, or the power is cut."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from faults.disk.block_device import Disk
from faults.disk.mounts import run_or_skip
from faults.disk.trial import ALL, Trial, start_trial
from support.host import REGISTRIES, Daemon, Host, until
from support.numbered_updates import NumberedUpdates

from omnicdc.files.manifest import MANIFEST

if TYPE_CHECKING:
    import random
    from contextlib import ExitStack

    from support.cmp import Cmp
    from support.evidence import Evidence, Scale

pytestmark = pytest.mark.timeout(900)


@pytest.mark.campaign
def test_an_aborted_file_system_keeps_the_last_good_files(
    cmp: Cmp, tmp_path: Path, cleanup: ExitStack, scale: Scale, dice: random.Random, evidence: Evidence
) -> None:
    """P2, P3, P5, P8: the file system stops at a random moment of a publication.

    After that, the daemon cannot even remove an incomplete file.
    """
    disk = Disk(cleanup, tmp_path)
    trial = start_trial(cleanup, cmp, Host(disk.place / "host", cmp.dsn), projects=1000)
    times = scale(1, 8)
    for _ in range(times):
        trial.updates.next()
        time.sleep(dice.random() * 0.1)  # the moment is the fault
        run_or_skip("mount", "-o", "remount,abort", disk.place)
        until(
            lambda: trial.updates.acknowledged() == trial.updates.number, "the latest update is acknowledged"
        )
        verdict, late = trial.cmp.wait(), trial.updates.behind()
        assert verdict.status in ({"held"} if late else {"held", "published"})
        trial.assert_alive()
        trial.daemon.stop()
        disk.mount_again()
        trial.daemon = trial.host.daemon()
        until(trial.updates.right, "correct after the next start")

    evidence(
        "P2 P3 P5 P8",
        "the kernel gave the file system up (ext4 abort: read-only at once) at random moments of a "
        "publication",
        times=times,
        found="the daemon lived on and reported it; files whole; after the repair the next start brought all "
        "up to date",
    )


@pytest.mark.campaign
def test_after_an_error_of_the_disk_all_is_written_again(
    cmp: Cmp, tmp_path: Path, cleanup: ExitStack, scale: Scale, evidence: Evidence
) -> None:
    """P2, P3, P5, P8: a failed fsync discards the pages, and the next fsync reports no error.

    All that was acknowledged is on the disk after a power cut.
    """
    disk = Disk(cleanup, tmp_path, "-O", "^has_journal")
    trial = start_trial(cleanup, cmp, Host(disk.place / "host", cmp.dsn))
    times = scale(1, 8)
    for number in range(times):
        trial.check(disk.failing(), os.strerror(errno.EIO), ALL)
        assert_disk_holds_latest_wave(trial, disk, tmp_path / f"cut {number}")
        trial.daemon.stop()
        check_start_on_failing_disk(trial, disk)
        assert_disk_holds_latest_wave(trial, disk, tmp_path / f"cut again {number}")

    evidence(
        "P2 P3 P5 P8",
        "the disk answered with errors: while writing, and while a start took over files that were right "
        "but never synced; "
        "then the power was cut",
        times=2 * times,
        found="held, reported, and written anew; what was acknowledged was on the disk",
    )


def check_start_on_failing_disk(trial: Trial, disk: Disk) -> None:
    """Replace the registries by copies of themselves while the daemon is down and the disk fails.

    The daemon that starts can read these files but cannot sync them.
    """
    with disk.failing():
        (trial.host.root / MANIFEST).unlink()
        for name in REGISTRIES:
            path = trial.host.root / name
            shutil.copyfile(path, path.with_name("copy"))
            path.with_name("copy").rename(path)
        trial.daemon = trial.host.daemon()
        verdict = trial.cmp.wait()
        assert verdict.status == "held"
        assert os.strerror(errno.EIO) in verdict.detail
    until(lambda: trial.cmp.wait().status == "published", "published once the disk works")
    trial.assert_alive()


def assert_disk_holds_latest_wave(trial: Trial, disk: Disk, where: Path) -> None:
    """Check that all registries show the latest update after a power cut."""
    with disk.after_a_power_cut(where) as place:
        found = {name: trial.updates.shown(name, place / "host/root") for name in REGISTRIES}
    assert found == dict.fromkeys(REGISTRIES, trial.updates.number)


def test_after_a_power_cut_every_file_is_complete_and_holds_all_that_was_acknowledged(
    cmp: Cmp, tmp_path: Path, cleanup: ExitStack, scale: Scale, dice: random.Random, evidence: Evidence
) -> None:
    """P2, P3, P8: the power is cut at a random moment while CMP is written.

    Sometimes that is during the first publication.
    """
    disk = Disk(cleanup, tmp_path)
    host = Host(disk.place / "host", cmp.dsn)
    cleanup.callback(host.close)
    updates, done = NumberedUpdates(cmp, host), threading.Event()

    def write() -> None:
        while not done.is_set():
            updates.next()

    thread = threading.Thread(target=write)
    thread.start()
    times, seen = scale(2, 30), 0
    try:
        for number in range(times):
            seen += cut_power(disk, updates, tmp_path / f"cut-{number}", dice, first=number % 3 == 0)
    finally:
        done.set()
        thread.join()

    others = sum(number % 3 > 0 for number in range(times))
    assert seen >= 2 * others, "all three registries were published"
    evidence(
        "P2 P3 P8",
        "the power cut at a random moment (the block device copied as it was, and mounted) while projects "
        "were written; "
        "a third of them during the first publication",
        times=times,
        found=f"{seen} files were there, each whole, none behind what had been acknowledged; the next start "
        f"brought all up to date",
    )


def cut_power(disk: Disk, updates: NumberedUpdates, where: Path, dice: random.Random, *, first: bool) -> int:
    """Cut the power, with `first` during the first publication. Returns how many registries were there."""
    host = updates.host
    if first:
        shutil.rmtree(host.root / "governance", ignore_errors=True)
        host.env["OMNICDC_CONSUMER"] = where.name  # has acknowledged nothing yet
        daemon = host.starting()
        until((host.root / "governance").exists, "the first publication begins")
    else:
        daemon = host.daemon()
    time.sleep(dice.random() * 0.2)  # the moment is the fault
    daemon.process.send_signal(signal.SIGSTOP)
    until(lambda: is_stopped(daemon), "the daemon is stopped")
    acknowledged = updates.acknowledged()
    with disk.after_a_power_cut(where) as place:
        daemon.kill()
        root, state = place / "host/root", place / "host/state"
        found = [updates.shown(name, root) for name in REGISTRIES]
        assert min(found) >= acknowledged, (found, acknowledged)
        root.mkdir(parents=True, exist_ok=True)
        elsewhere = {"OMNICDC_ROOT": str(root), "OMNICDC_STATE_DIR": str(state), "OMNICDC_CONSUMER": "next"}
        done = host.run("run", "--once", **elsewhere)
        assert done.returncode == 0, done.stderr
        assert min(updates.shown(name, root) for name in REGISTRIES) >= max(acknowledged, *found)
        assert not [*root.rglob(".*.omnicdc-tmp")]
    return sum(update >= 0 for update in found)


def is_stopped(daemon: Daemon) -> bool:
    return Path(f"/proc/{daemon.process.pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"
