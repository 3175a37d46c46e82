"""The disk is full, or a file may not grow."""

from __future__ import annotations

import errno
import os
import resource
import shutil
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

import pytest
from faults.disk.mounts import filled, mount_tmpfs, without_inodes
from faults.disk.trial import ALL, Failure, Trial, readers, start_trial
from support.host import REGISTRIES, Daemon, Host, until
from support.numbered_updates import NumberedUpdates
from support.rebuild import assert_as_rebuilt

from omnicdc.files.manifest import MANIFEST

if TYPE_CHECKING:
    import random
    from collections.abc import Iterator
    from pathlib import Path

    from support.cmp import Cmp
    from support.evidence import Evidence, Scale

pytestmark = pytest.mark.timeout(900)


@contextmanager
def limited_file_size(daemon: Daemon, size: int) -> Iterator[None]:
    """Limit the size of the files that the daemon writes, as `ulimit -f` does."""
    _, hard = resource.prlimit(daemon.process.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(daemon.process.pid, resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.prlimit(daemon.process.pid, resource.RLIMIT_FSIZE, (hard, hard))


def test_a_registry_that_does_not_fit_on_the_disk_is_held(
    cmp: Cmp, tmp_path: Path, cleanup: ExitStack, scale: Scale, dice: random.Random, evidence: Evidence
) -> None:
    """P2, P3, P5, P8: the disk has no byte left, or no inode, or only some bytes.

    With some bytes left, one registry can fit while another does not.
    """
    place = mount_tmpfs(cleanup, tmp_path / "disk", "nr_inodes=60")
    trial = start_trial(cleanup, cmp, Host(place / "host", cmp.dsn))
    times = scale(3, 100)
    with readers(trial.host.root, scale):
        late = trial.check(filled(place), os.strerror(errno.ENOSPC), ALL)
        late += trial.check(without_inodes(place), os.strerror(errno.ENOSPC), ALL)
        for _ in range(times - 2):
            late += trial.check(filled(place, left=dice.randrange(1 << 16)), os.strerror(errno.ENOSPC))

    assert_as_rebuilt(cmp, trial.host)
    evidence(
        "P2 P3 P5 P8",
        "the disk of root and state filled up, to the last byte, to the last inode, or with room for some "
        "files only",
        times=times,
        found=f"{late} files stayed as they were, whole and reported as held; all caught up once there was "
        "room",
    )


@pytest.mark.campaign
def test_a_full_disk_of_one_registry_does_not_affect_the_others(
    cmp: Cmp, tmp_path: Path, cleanup: ExitStack, scale: Scale, evidence: Evidence
) -> None:
    """P3, P6, P8: each registry's directory is a separate disk, and so is the manifest's directory."""
    host = Host(tmp_path / "host", cmp.dsn)
    manifest_place = mount_tmpfs(cleanup, (host.root / MANIFEST).parent)
    places = {name: mount_tmpfs(cleanup, (host.root / name).parent) for name in REGISTRIES}
    trial = start_trial(cleanup, cmp, host)
    times, some = scale(1, 8), [*places.items()][: scale(1, 3)]
    for _ in range(times):
        for name, place in some:
            trial.check(filled(place), os.strerror(errno.ENOSPC), frozenset([name]))
        check_manifest_on_full_disk(trial, manifest_place)

    evidence(
        "P3 P6 P8",
        "the disk of one registry's directory filled up, each in turn, then the manifest's alone",
        times=(len(some) + 1) * times,
        found="the others were published; a manifest that cannot be written holds back no registry and is "
        "reported",
    )


def check_manifest_on_full_disk(trial: Trial, place: Path) -> None:
    """All registries are published, and it is reported that the manifest cannot be written."""
    seen, manifest = len(trial.daemon.events), trial.host.root / MANIFEST
    before = manifest.read_bytes()
    with filled(place):
        trial.cmp.arrived(trial.updates.next())
        event = trial.daemon.wait_for("manifest_not_written", after=seen)
        until(lambda: trial.cmp.consumer("host")["last_error"], "the database holds the error")
        assert manifest.read_bytes() == before
    until(lambda: manifest.read_bytes() != before, "written once there is room")
    until(lambda: not trial.cmp.consumer("host")["last_error"], "the database holds no error any more")

    assert os.strerror(errno.ENOSPC) in event["error"]
    assert "df" in event["hint"]
    assert trial.updates.right()
    trial.assert_alive()


@pytest.mark.campaign
def test_a_file_that_cannot_grow_is_held(
    cmp: Cmp, host: Host, cleanup: ExitStack, scale: Scale, dice: random.Random, evidence: Evidence
) -> None:
    """P2, P3, P5, P8: the kernel writes some bytes, and then refuses more."""
    trial = start_trial(cleanup, cmp, host)
    times = scale(2, 30)
    for _ in range(times):
        trial.check(limited_file_size(trial.daemon, dice.randrange(5000)), os.strerror(errno.EFBIG), ALL)

    evidence(
        "P2 P3 P5 P8",
        "files limited to a random size (`ulimit -f`) beneath the running daemon",
        times=times,
        found="held, reported, caught up with; no part of a file stayed",
    )


@pytest.mark.campaign
def test_a_start_on_a_full_disk_waits_for_room(
    cmp: Cmp, tmp_path: Path, cleanup: ExitStack, scale: Scale, evidence: Evidence
) -> None:
    """P3, P5, P8: this is so for the first start, when no file exists, and for a later one."""
    host = Host(tmp_path / "host", cmp.dsn)
    cleanup.callback(host.close)
    updates = NumberedUpdates(cmp, host)
    places = mount_tmpfs(cleanup, host.root, "nr_inodes=60"), mount_tmpfs(cleanup, host.state)
    rounds = scale(1, 4)
    for _ in range(rounds):
        for place in places:
            for path in place.iterdir():
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        check_start_during(updates, without_inodes(host.root), "standing_by")
        shutil.rmtree(host.root / "governance")
        (host.state / "adopted_inventory.json").unlink()
        check_start_during(updates, filled(host.state), "session_lost")
        check_start_during(updates, filled(host.root), "held")

    evidence(
        "P3 P5 P8",
        "the daemon started where root or state directory had no room left, for the first time or again",
        times=3 * rounds,
        found="it waited, reported what to do, and published once there was room",
    )


def check_start_during(updates: NumberedUpdates, failure: Failure, name: str) -> None:
    """Start a daemon; its event of this name reports what it waits for."""
    updates.next()
    with failure:
        daemon = updates.host.starting(OMNICDC_POLL_S="0.05")
        event = daemon.wait_for(name)
        assert os.strerror(errno.ENOSPC) in str(event)
        assert "df " in event["hint"]
        assert not updates.cmp.wait(timeout_s=0.5).arrived
    until(updates.right, "published once there is room")

    assert daemon.stop() == 0
