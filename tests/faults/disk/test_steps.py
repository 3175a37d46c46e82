"""One step of the publication of one registry fails."""

from __future__ import annotations

import errno
import os
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

import pytest
from faults.disk.trial import Failure, Trial, readers, start_trial
from support.faulty_command import FAULTS, PROGRAM
from support.host import CANONICAL, INVENTORY, PROJECT, Host, until
from support.rebuild import assert_as_rebuilt

if TYPE_CHECKING:
    import random
    from collections.abc import Iterator
    from pathlib import Path

    from support.cmp import Cmp
    from support.evidence import Evidence, Scale

pytestmark = pytest.mark.timeout(900)

SCANNERS = {CANONICAL: "cmp_projects", PROJECT: "project", INVENTORY: "git"}
"""The names of the registries' scanners, as the injected errors use them."""

STEPS = ("open", "write", "fsync", "rename", "fsync_directory")
REFUSALS = (errno.EIO, errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.ESTALE)


@contextmanager
def injected_error(faults: Path, point: str, number: int) -> Iterator[None]:
    """Let the daemon fail with an error each time it reaches a point."""
    faults.write_text(f"{point}: {errno.errorcode[number]}\n")
    try:
        yield
    finally:
        faults.unlink()


@pytest.mark.campaign
def test_a_step_that_fails_holds_its_own_registry_only(
    cmp: Cmp,
    host: Host,
    tmp_path: Path,
    cleanup: ExitStack,
    scale: Scale,
    dice: random.Random,
    evidence: Evidence,
) -> None:
    """P2, P3, P5, P6, P8: open, write, fsync, rename or the directory's fsync of one registry fails.

    The other registries are published.
    """
    host.program, faults = PROGRAM, tmp_path / "faults"
    host.env[FAULTS] = str(faults)
    trial = start_trial(cleanup, cmp, host)
    all_steps = [(*registry_and_scanner, step) for registry_and_scanner in SCANNERS.items() for step in STEPS]
    chosen = dice.sample(all_steps, scale(2, len(all_steps))) * scale(1, 8)
    again = [*SCANNERS.items()][-scale(1, 3) :]
    with readers(host.root, scale):
        for registry, scanner, step in chosen:
            number = dice.choice(REFUSALS)
            fault = injected_error(faults, f"{step} {scanner}", number)
            trial.check(fault, os.strerror(number), frozenset([registry]), behind=step != STEPS[-1])
        for registry, scanner in again:
            check_rename_is_repeated(
                trial, registry, injected_error(faults, f"fsync_directory {scanner}", errno.EIO)
            )

    assert not [event for event in trial.daemon.events if event["event"] == "drift_found"], (
        "a file that omnicdc wrote is not drift"
    )
    assert not (host.state / "drift").exists()
    assert_as_rebuilt(cmp, host)
    evidence(
        "P2 P3 P5 P6 P8",
        "open, write, fsync, rename, fsync of the directory failed for one registry (EIO, ENOSPC, EDQUOT, "
        "EROFS, EACCES, EPERM, ESTALE)",
        times=len(chosen) + len(again),
        found="that registry held with reason and remedy, the two others published; caught up with; "
        "a rename whose directory could not be synced was done again before it was acknowledged",
    )


def check_rename_is_repeated(trial: Trial, registry: str, failure: Failure) -> None:
    """The daemon renames the file again, although readers see the new content already.

    The next fsync of the directory does not report what the failed fsync lost.
    """
    with failure:
        assert trial.cmp.wait(trial.updates.next()).status == "held"
        first = trial.host.stats()[registry]
    until(lambda: trial.cmp.wait().status == "published", "published once the failure is gone")

    assert trial.host.stats()[registry] != first
