"""Users and other programs change the manifest, the lock, people's files and the state directory."""

from __future__ import annotations

import shutil
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from support.file_damage import (
    DAMAGES,
    FALSE_VALUES,
    ROOT,
    Damage,
    bound,
    deleted,
    device,
    falsify,
    full_directory,
    hard_linked_outside,
    linked_outside,
    linked_to_a_device,
    notes,
    pipe,
    remove,
    replaced,
    with_flag,
)
from support.host import INVENTORY, PROJECT, REGISTRIES, Host, until
from support.numbered_updates import leftovers

from omnicdc.files.lock import LOCK
from omnicdc.files.manifest import MANIFEST, read_manifest

if TYPE_CHECKING:
    import random

    from support.cmp import Cmp
    from support.evidence import Evidence, Scale
    from support.outside import Outside
    from support.scene import Scene

pytestmark = pytest.mark.timeout(900)


def test_lock_manifest_and_notes_are_not_written_through_links(
    scene: Scene, outside: Outside, scale: Scale, dice: random.Random, evidence: Evidence
) -> None:
    """P2, P8: omnicdc writes these files in place.

    It may not write through a link to a precious file, or through a second name of it.
    """
    lock = scene.host.root / LOCK
    second_names = [(hard_linked_outside, path) for path in (lock, *notes(scene.host))]
    others = [
        (harm, path) for harm in (linked_outside, pipe, bound, replaced, deleted) for _, path in second_names
    ]
    chosen = [
        *dice.sample(second_names, scale(2, len(second_names))),
        *dice.sample(others, scale(1, len(others))),
    ]
    for harm, path in chosen:
        harm(path, outside)
        scene.goes_on()
        outside.assert_untouched()
        scene.daemon.stop()
        if lock.is_symlink() or lock.is_socket():
            refused = scene.host.run("run")
            assert (refused.returncode, len(refused.stderr.splitlines())) == (2, 1)
            assert str(lock) in refused.stderr
            remove(lock)
        scene.daemon = scene.host.daemon()
        scene.goes_on()
        outside.assert_untouched()
        remove(path)

    evidence(
        "P2 P8",
        "lock, manifest and notes replaced by a link to a precious file, a second name of it, a pipe, a "
        "socket, or gone, "
        "beneath the daemon and before a start",
        times=2 * len(chosen),
        found="the daemon went on, the precious file as it was; a start refuses a link or a socket for the "
        "lock, and reports it",
    )


def apply_harm(harm: Damage, outside: Outside, path: Path) -> None:
    harm(path, outside)


@pytest.mark.campaign
def test_a_harmed_manifest_hinders_nothing(
    scene: Scene, outside: Outside, scale: Scale, dice: random.Random, evidence: Evidence
) -> None:
    """P2, P6, P8: the manifest only helps the next start. It is not the source of any registry.

    It is harmed while the daemon serves, and again before a start.
    """
    manifest = scene.host.root / MANIFEST
    every = [
        *(partial(apply_harm, harm, outside) for harm in DAMAGES),
        *(partial(falsify, *it) for it in FALSE_VALUES),
    ]
    chosen = dice.sample(every, scale(2, len(every)))
    for harm in chosen:
        harm(manifest)
        manifest_is_written_again(scene)
        scene.daemon.stop()
        files = scene.host.content()
        harm(manifest)
        scene.daemon = scene.host.daemon()
        assert scene.host.content() == files, harm
        manifest_is_written_again(scene)

    evidence(
        "P2 P6 P8",
        f"the manifest harmed in {len(every)} ways, beneath the daemon and before a start: as the "
        f"registries, and "
        "lies in each of its fields",
        times=2 * len(chosen),
        found="the registries stayed right and went on; the manifest came back, also where a directory had "
        "its place",
    )


def manifest_is_written_again(scene: Scene) -> None:
    manifest = scene.host.root / MANIFEST
    scene.goes_on()
    until(
        lambda: manifest.is_file() and not manifest.is_symlink() and read_manifest(scene.host.root),
        "there again",
    )


OVERRIDES = "governance/registry/projects/LOCAL_OVERRIDES_V1.yaml"
EXCLUSIONS = "governance/registry/projects/EXCLUSION_LIST_V1.yaml"
ADOPTED = (
    '[{"name": "adopted", "url": "https://github.com/acme/adopted", "colour": "blue", '
    '"owner": {"id": "1", "login": "acme"}}]'
)


@pytest.mark.campaign
def test_a_start_waits_for_no_pipe_and_reads_no_device(
    cmp: Cmp, host: Host, outside: Outside, scale: Scale, dice: random.Random, evidence: Evidence
) -> None:
    """P8: pipes and devices replace several files at once.

    These are registries, manifest, people's files, and the files of the state directory.
    """
    overrides, exclusions = host.root / OVERRIDES, host.root / EXCLUSIONS
    overrides.parent.mkdir(parents=True)
    (host.root / INVENTORY).parent.mkdir()
    overrides.write_text("overrides: [{github_url: https://github.com/acme/project-1, notes: noted}]")
    exclusions.write_text("exclusions: [{repo: project-2}]")
    (host.root / INVENTORY).write_text(ADOPTED)
    cmp.fill(30)
    host.once()
    right = host.content()
    registries = [host.root / it for it in REGISTRIES]
    state = [it for it in host.state.iterdir() if it.is_file()]
    assert len(state) == 4
    assert b"noted" in right[PROJECT]
    assert b"blue" in right[INVENTORY]
    times, harmed = scale(2, 60), 0
    for _ in range(times):
        # What is lost in the state directory and in the root is lost, so a round harms only one of them.
        either = dice.choice([state, [*registries, overrides, exclusions]])
        chosen = dice.sample([*either, *notes(host)], dice.randrange(1, 4))
        for path in chosen:
            harm = dice.choice([pipe, bound, linked_to_a_device, full_directory, *([device] if ROOT else [])])
            harm(path, outside)
        harmed += len(chosen)
        daemon = host.daemon()
        assert host.content() == right, chosen
        daemon.stop()
        for path in (overrides, exclusions):
            remove(path)
            shutil.copyfile(host.state / f"last_good_{path.name}", path)
        for path in notes(host):
            if path.is_dir():
                remove(path)

    evidence(
        "P8",
        "pipes, sockets, devices, links to devices and directories in the place of registries, manifest, "
        "people's files and "
        "what the state directory holds, before a start",
        times=harmed,
        found=f"{times} starts, none waited or read without end; the registries right, no adopted field and "
        f"no note lost",
    )


@pytest.mark.campaign
def test_in_the_state_directory_no_link_is_followed_and_no_backup_hinders(
    scene: Scene, outside: Outside, scale: Scale, evidence: Evidence
) -> None:
    """P8: links and pipes at the temporary names of the state directory.

    Among the backups are a directory, and a file that a user made immutable.
    """
    host, rounds = scene.host, scale(1, 3)
    drift = host.state / "drift"
    for _ in range(rounds):
        scene.daemon.stop()
        for file in (it for it in host.state.iterdir() if it.is_file() and not it.name.startswith(".")):
            file.unlink()
            linked_outside(file.with_name(f".{file.name}.new"), outside)
        scene.daemon = host.daemon()
        assert not leftovers([host.state])
        for harm in (linked_outside, pipe):
            drift.mkdir(exist_ok=True)
            harm(drift / f".{Path(PROJECT).name}.omnicdc-tmp", outside)
            text = replaced(host.root / PROJECT, outside)
            until(scene.updates.right, "right")
            assert text in scene.kept()
        (drift / f"{Path(PROJECT).name}.20000101T000000.000000Z").mkdir()
        with with_flag(next(it for it in drift.iterdir() if it.is_file()), "i"):
            for _ in range(7):
                text = replaced(host.root / PROJECT, outside)
                until(scene.updates.right, "right")
                assert text in scene.kept()
        shutil.rmtree(drift)
        scene.goes_on()

    evidence(
        "P8",
        "links and pipes where the state directory's next files are written; an immutable copy, and a "
        "directory, among the copies",
        times=13 * rounds,
        found="none followed or waited for; what cannot be pruned hinders nothing",
    )
