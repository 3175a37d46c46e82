"""A directory is gone, read-only, or closed to the daemon's user."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from faults.disk.directories import moved_away
from faults.disk.external_changes import check_edit_without_backup
from faults.disk.mounts import read_only, run_or_skip
from faults.disk.trial import ALL, start_trial
from support.host import CANONICAL, COMMAND, REGISTRIES, Host, until

from omnicdc.files.manifest import MANIFEST

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.cmp import Cmp
    from support.evidence import Evidence, Scale

pytestmark = pytest.mark.timeout(900)

UNPRIVILEGED = 65534
AS_UNPRIVILEGED = ("setpriv", f"--reuid={UNPRIVILEGED}", f"--regid={UNPRIVILEGED}", "--clear-groups")


@contextmanager
def with_mode(place: Path, bits: int) -> Iterator[None]:
    """Change the permissions of a directory for a while."""
    before = place.stat()
    place.chmod(bits)
    try:
        yield
    finally:
        place.chmod(before.st_mode)


@contextmanager
def owned_by_root(place: Path) -> Iterator[None]:
    """Give a directory to root, as a command that root ran there can do."""
    before = place.stat()
    os.chown(place, 0, 0)
    try:
        yield
    finally:
        os.chown(place, before.st_uid, before.st_gid)


@pytest.mark.campaign
def test_the_daemon_waits_for_a_read_only_root(
    cmp: Cmp, host: Host, cleanup: ExitStack, scale: Scale, evidence: Evidence
) -> None:
    """P2, P3, P5, P6, P8: the whole root is read-only, or one registry's directory."""
    trial = start_trial(cleanup, cmp, host)
    rounds = scale(1, 8)
    for _ in range(rounds):
        trial.check(read_only(host.root), os.strerror(errno.EROFS), ALL)
        for name in REGISTRIES:
            trial.check(read_only((host.root / name).parent), os.strerror(errno.EROFS), frozenset([name]))

    evidence(
        "P2 P3 P5 P6 P8",
        "the root, or one registry's directory, became read-only",
        times=4 * rounds,
        found="held and reported, the others published, caught up with once it was writable",
    )


@pytest.mark.campaign
def test_a_missing_or_replaced_directory_is_reported_and_created_again(
    cmp: Cmp, host: Host, cleanup: ExitStack, scale: Scale, evidence: Evidence
) -> None:
    """P2, P3, P5, P6, P8: a directory is renamed, removed, or replaced by a file or a link.

    It is the root, or a directory below the root.
    """
    trial = start_trial(cleanup, cmp, host)
    registry = host.root / CANONICAL
    outside = host.root.parent / "outside"
    outside.mkdir()
    times, short = scale(1, 5), scale(1, 0)
    replacements = [str(outside), "file", "/nowhere/at/all", "uuid"][: scale(1, 4)]
    trees = [host.root / "governance", registry.parent, (host.root / MANIFEST).parent][: scale(1, 3)]
    for _ in range(times):
        trial.check(moved_away(host.root), os.strerror(errno.ENOENT), ALL)
        trial.check(moved_away(host.root / "governance", "file"), "directory", ALL)
        if not short:
            trial.check(moved_away(host.root, "file"), "directory", ALL)
        for replacement in replacements:
            trial.check(moved_away(registry.parent, replacement), "", frozenset([CANONICAL]))
        for tree in trees:
            tree.rename(host.root.parent / f"removed {len([*host.root.parent.iterdir()])}")
            until(trial.updates.right, "created again without a change of CMP")
    trial.assert_alive()

    assert [*outside.iterdir()] == []
    evidence(
        "P2 P3 P5 P6 P8",
        "root or directories taken away, removed, replaced by a file, by a link to nowhere, to itself or "
        "out of the root",
        times=(3 - short + len(replacements) + len(trees)) * times,
        found="held where nothing can be written, made again where it can; nothing written outside",
    )


@pytest.mark.campaign
def test_a_missing_permission_is_reported_and_waited_for(
    cmp: Cmp, cleanup: ExitStack, scale: Scale, evidence: Evidence
) -> None:
    """P2, P3, P5, P6, P8: the daemon runs as an unprivileged user.

    Directories are closed, or given to root.
    """
    run_or_skip(*AS_UNPRIVILEGED, COMMAND, "--version")
    where = Path(tempfile.mkdtemp(prefix="omnicdc-test-"))
    cleanup.callback(shutil.rmtree, where)
    host = Host(where / "host", cmp.dsn)
    host.program = (*AS_UNPRIVILEGED, COMMAND)
    where.chmod(0o755)
    for directory in (host.root.parent, host.root):
        os.chown(directory, UNPRIVILEGED, UNPRIVILEGED)
    trial = start_trial(cleanup, cmp, host)
    registry, governance = host.root / CANONICAL, host.root / "governance"
    refused, rounds, short = os.strerror(errno.EACCES), scale(1, 5), scale(1, 0)
    for _ in range(rounds):
        trial.check(owned_by_root(registry.parent), refused, frozenset([CANONICAL]))
        trial.check(with_mode(host.root, 0o000), refused, ALL)
        if not short:
            trial.check(with_mode(registry.parent, 0o555), refused, frozenset([CANONICAL]))
            trial.check(with_mode(governance, 0o600), refused, ALL)
        check_edit_without_backup(trial, with_mode(host.state, 0o000), refused)
        with with_mode(host.state, 0o000):
            (registry.parents[1] / "projects/LOCAL_OVERRIDES_V1.yaml").write_text("overrides: []\n")
            trial.daemon.wait_for("input_fault")
            trial.cmp.arrived(trial.updates.next())
    trial.assert_alive()

    assert registry.stat().st_uid == UNPRIVILEGED
    evidence(
        "P2 P3 P5 P6 P8",
        "write or search permission taken from the daemon's user: a directory, the root, the state directory",
        times=(6 - 2 * short) * rounds,
        found="held with the command that fixes it, the others published, caught up with",
    )
