"""Users and other programs change registry files: before, after and while the daemon writes them."""

from __future__ import annotations

import random
import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING

import pytest
from support.file_damage import (
    DAMAGES,
    LINKS,
    ROOT,
    bound,
    damage_other_file,
    damage_registry,
    device,
    empty_directory,
    full_directory,
    hard_linked_outside,
    pipe,
    remove,
    repeat,
    replaced,
    temporary,
)
from support.host import PROJECT, REGISTRIES, until
from support.numbered_updates import content
from support.rebuild import assert_as_rebuilt
from support.scene import Scene, stream

from omnicdc.files.lock import LOCK
from omnicdc.files.manifest import MANIFEST, read_manifest

if TYPE_CHECKING:
    from pathlib import Path

    from support.evidence import Evidence, Scale
    from support.outside import Outside

pytestmark = pytest.mark.timeout(900)


def test_every_external_change_of_a_registry_is_backed_up_and_repaired(
    scene: Scene, outside: Outside, scale: Scale, dice: random.Random, evidence: Evidence
) -> None:
    """P2, P8: the next poll finds it, without a change in CMP. A text is backed up before it is replaced."""
    every = [(harm, name) for harm in DAMAGES for name in REGISTRIES] * 2
    chosen = dice.sample(every, scale(9, len(every)))
    texts = 0
    for harm, name in chosen:
        text = harm(scene.host.root / name, outside)
        until(scene.updates.right, f"{name} {harm.__name__}")
        if text is not None:
            texts += 1
            assert text in scene.kept(), harm.__name__
        if dice.random() < 0.3:
            scene.goes_on()
    scene.goes_on()

    assert_as_rebuilt(scene.updates.cmp, scene.host)
    evidence(
        "P2 P8",
        f"a registry harmed in {len(DAMAGES)} ways beneath the daemon: emptied, cut, edited, deleted, "
        f"a link, a directory, "
        "a pipe, a socket, a device, 4 MB of zeros, ...",
        times=len(chosen),
        found=f"each repaired automatically; all {texts} texts of the external changes backed up before; "
        f"nothing outside the root touched",
    )


def test_a_foreign_file_at_the_temporary_name_does_not_lead_out_of_the_root(
    scene: Scene, outside: Outside, scale: Scale, dice: random.Random, evidence: Evidence
) -> None:
    """P2, P6, P8: a file, links of all kinds, a pipe, a device: the daemon removes it and follows no link.

    The daemon may not remove a directory: it holds the registry.
    """
    paths = [scene.host.root / name for name in (*REGISTRIES, MANIFEST)]
    harms = [replaced, *LINKS, hard_linked_outside, pipe, bound, *([device] if ROOT else [])]
    every = [(harm, path) for harm in harms for path in paths]
    chosen = dice.sample(every, scale(3, len(every)))
    for harm, path in chosen:
        harm(temporary(path), outside)
        scene.goes_on()
    directories = [
        (harm, path)
        for harm in (empty_directory, full_directory)
        for path in dice.sample(paths[:3], scale(1, 3))
    ]
    for harm, path in directories:
        harm(temporary(path), outside)
        verdict = scene.cmp.wait(scene.updates.next())
        assert verdict.status == "held"
        assert verdict.hint == f"`mv {temporary(path)} {temporary(path)}.aside`"
        assert len(scene.updates.behind()) == 1
        remove(temporary(path))
        scene.goes_on()

    evidence(
        "P2 P6 P8",
        "something else where the next file is written: a file, a link to a precious file, a pipe, a "
        "device, a directory",
        times=len(chosen) + len(directories),
        found="removed, never written through; a directory holds its registry alone, and the remedy names it",
    )


def differs(path: Path, text: bytes) -> bool:
    return content(path) != text


def is_backed_up(scene: Scene, text: bytes) -> bool:
    return text in scene.kept()


@pytest.mark.campaign
def test_an_external_change_while_the_daemon_writes_is_backed_up(
    scene: Scene, outside: Outside, scale: Scale, dice: random.Random, evidence: Evidence
) -> None:
    """P8: at random moments of a publication, under a stream of changes in CMP.

    Some changes come between the daemon's last look at the file and its rename.
    """
    times = scale(8, 400)
    with stream(scene.updates, 0.0):
        for _ in range(times):
            path = scene.host.root / dice.choice(REGISTRIES)
            time.sleep(dice.random() * 0.01)  # the moment is the fault
            text = replaced(path, outside)
            until(partial(differs, path, text), "repaired")
            # A change between the last look and the rename is backed up just after the rename.
            until(partial(is_backed_up, scene, text), "backed up")
    scene.goes_on()

    evidence(
        "P8",
        "a registry overwritten by another process at random moments while it was published again and again",
        times=times,
        found="each text backed up",
    )


def test_the_daemon_survives_many_external_changes_at_once(
    scene: Scene, outside: Outside, scale: Scale, dice: random.Random, evidence: Evidence
) -> None:
    """P2, P8: one thread changes each registry, one changes the other files, and CMP changes meanwhile.

    The other files are the manifest, the lock, half-written files, directories and backups.
    """
    times = scale(40, 3000)
    rolls = [random.Random(dice.random()) for _ in range(4)]
    changes = [partial(damage_registry, scene.host.root / name, outside) for name in REGISTRIES]
    changes.append(partial(damage_other_file, scene.host, outside))
    with stream(scene.updates), ThreadPoolExecutor(len(changes)) as pool:
        done = [
            pool.submit(repeat, change, roll, times // 4) for change, roll in zip(changes, rolls, strict=True)
        ]
        harmed = [it.result() for it in done]
    remove(scene.host.root / LOCK)
    remove(scene.host.root / MANIFEST)
    scene.goes_on()
    until(lambda: read_manifest(scene.host.root), "the manifest")

    assert all(harmed)
    assert_as_rebuilt(scene.updates.cmp, scene.host)
    evidence(
        "P2 P8",
        "four threads that change files at random, at once: registries, manifest, lock, temporary files, "
        "directories and backups, while projects were written",
        times=sum(harmed),
        found=f"the daemon lived; the files equal a full rebuild, after {scene.updates.number} updates; "
        f"nothing outside the root touched",
    )


@pytest.mark.campaign
def test_with_alert_an_externally_changed_file_stays_and_is_reported_once(
    scene: Scene, outside: Outside, scale: Scale, evidence: Evidence
) -> None:
    """P5, P8: also while it cannot be backed up. `status` names that fault."""
    scene.daemon.stop()
    scene.daemon = scene.host.daemon(OMNICDC_ON_DRIFT="alert", OMNICDC_SWEEP_S="0.1")
    path, drift, rounds = scene.host.root / PROJECT, scene.host.state / "drift", scale(1, 5)
    for _ in range(rounds):
        seen = len(scene.daemon.events)
        drift.write_text("in the way")
        text = replaced(path, outside)
        scene.daemon.wait_for("held", after=seen, registry=path.name)
        until(lambda: scene.cmp.wait().status == "held", "acknowledged as held")
        assert f"{path.name} is held: cannot keep a copy" in scene.updates.faults()
        drift.unlink()
        scene.daemon.wait_for("drift_found", after=seen, registry=path.name)
        until(lambda: not scene.updates.faults(), "no fault any more")
        warnings = [event for event in scene.daemon.events[seen:] if event["level"] == "warning"]
        assert path.read_bytes() == text
        assert text in scene.kept()
        assert len(warnings) == 2, warnings
        scene.goes_on()
        shutil.rmtree(drift)

    evidence(
        "P5 P8",
        "with `on_drift: alert`, a registry overwritten by another process while it could not be backed up",
        times=rounds,
        found="reported once, named by `status`; it stays until the registry changes, and is backed up "
        "before",
    )
