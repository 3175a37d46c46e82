"""Faults 10: other hands in the files.

Registries, manifest, lock, state, what people write, half-written files.

Precious files stand outside the root, with links to them from within: nothing of ours may ever touch them.
"""

from __future__ import annotations

import os
import random
import shutil
import stat
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from support.harms import (
    HARMS,
    LIES,
    LINKS,
    ROOT,
    Harm,
    bound,
    busy,
    deleted,
    device,
    empty_directory,
    full_directory,
    hard_linked_outside,
    having,
    lie,
    linked_outside,
    linked_to_a_device,
    meddle,
    meddle_beside,
    notes,
    pipe,
    remove,
    replaced,
    temporary,
)  # fmt: skip
from support.host import INVENTORY, PROJECT, REGISTRIES, Host, until
from support.outside import Outside
from support.rebuild import assert_as_rebuilt
from support.scene import Scene, stream
from support.waves import Waves, content, leftovers, put_back

from omnicdc.files.lock import LOCK
from omnicdc.files.manifest import MANIFEST, read_manifest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.cmp import Cmp
    from support.evidence import Evidence, Scale

pytestmark = pytest.mark.timeout(900)


@pytest.fixture
def outside(tmp_path: Path) -> Iterator[Outside]:
    """What must not be touched, and what was done with it: looked at again at the end."""
    outside = Outside(tmp_path / "outside")
    yield outside
    try:
        outside.assert_untouched()
    finally:
        outside.close()


@pytest.fixture
def scene(cmp: Cmp, host: Host) -> Scene:
    """A host that serves."""
    host.env["OMNICDC_POLL_S"] = "0.05"
    waves = Waves(cmp, host)
    scene = Scene(cmp, host, waves, host.daemon())
    until((host.root / MANIFEST).exists, "the manifest")
    return scene


def test_whatever_a_hand_does_to_a_registry_it_is_put_right_and_kept_aside(
    scene: Scene, outside: Outside, scale: Scale, dice: random.Random, evidence: Evidence
) -> None:
    """P2, P8: found at the next look, without a change in CMP; what a hand wrote is kept aside before."""
    every = [(harm, name) for harm in HARMS for name in REGISTRIES] * 2
    chosen = dice.sample(every, scale(9, len(every)))
    wrote = 0
    for harm, name in chosen:
        said = harm(scene.host.root / name, outside)
        until(scene.waves.right, f"{name} {harm.__name__}")
        if said is not None:
            wrote += 1
            assert said in scene.kept(), harm.__name__
        if dice.random() < 0.3:
            scene.goes_on()
    scene.goes_on()

    assert_as_rebuilt(scene.waves.cmp, scene.host)
    evidence(
        "P2 P8",
        f"a registry harmed in {len(HARMS)} ways beneath the daemon: emptied, cut, edited, deleted, a link, "
        f"a directory, "
        "a pipe, a socket, a device, 4 MB of zeros, ...",
        times=len(chosen),
        found=f"each put right by itself; all {wrote} texts that a hand wrote kept aside before; nothing "
        f"outside the root touched",
    )


def test_a_foreign_file_where_the_next_one_is_written_is_no_way_out_of_the_root(
    scene: Scene, outside: Outside, scale: Scale, dice: random.Random, evidence: Evidence
) -> None:
    """P2, P6, P8: a file, links of all kinds, a pipe, a device: removed, not followed.

    A directory is nobody's to remove: held.
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
        verdict = scene.cmp.wait(scene.waves.next())
        assert verdict.status == "held"
        assert verdict.hint == f"`mv {temporary(path)} {temporary(path)}.aside`"
        assert len(scene.waves.behind()) == 1
        remove(temporary(path))
        scene.goes_on()

    evidence(
        "P2 P6 P8",
        "something else where the next file is written: a file, a link to a precious file, a pipe, a "
        "device, a directory",
        times=len(chosen) + len(directories),
        found="removed, never written through; a directory holds its registry alone, and the remedy names it",
    )


def harmed(harm: Harm, outside: Outside, path: Path) -> None:
    harm(path, outside)


def test_lock_and_notes_are_not_written_through_what_a_hand_put_there(
    scene: Scene, outside: Outside, scale: Scale, dice: random.Random, evidence: Evidence
) -> None:
    """P2, P8: these files are written in place.

    A link to a precious file, or a second name of it, is not theirs to write.
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
        "lock, and says so",
    )


@pytest.mark.campaign
def test_a_manifest_that_is_harmed_hinders_nothing(
    scene: Scene, outside: Outside, scale: Scale, dice: random.Random, evidence: Evidence
) -> None:
    """P2, P6, P8: it helps the next start, and is no source: beneath the daemon, and found by a start."""
    manifest = scene.host.root / MANIFEST
    every = [*(partial(harmed, harm, outside) for harm in HARMS), *(partial(lie, *it) for it in LIES)]
    chosen = dice.sample(every, scale(2, len(every)))
    for harm in chosen:
        harm(manifest)
        the_manifest_comes_back(scene)
        scene.daemon.stop()
        files = scene.host.content()
        harm(manifest)
        scene.daemon = scene.host.daemon()
        assert scene.host.content() == files, harm
        the_manifest_comes_back(scene)

    evidence(
        "P2 P6 P8",
        f"the manifest harmed in {len(every)} ways, beneath the daemon and before a start: as the "
        f"registries, and "
        "lies in each of its fields",
        times=2 * len(chosen),
        found="the registries stayed right and went on; the manifest came back, also where a directory had "
        "its place",
    )


def the_manifest_comes_back(scene: Scene) -> None:
    manifest = scene.host.root / MANIFEST
    scene.goes_on()
    until(
        lambda: manifest.is_file() and not manifest.is_symlink() and read_manifest(scene.host.root),
        "there again",
    )


PEOPLE_S = (
    "governance/registry/projects/LOCAL_OVERRIDES_V1.yaml",
    "governance/registry/projects/EXCLUSION_LIST_V1.yaml",
)
ADOPTED = (
    '[{"name": "adopted", "url": "https://github.com/acme/adopted", "colour": "blue", '
    '"owner": {"id": "1", "login": "acme"}}]'
)


@pytest.mark.campaign
def test_a_start_waits_for_no_pipe_and_reads_no_device(
    cmp: Cmp, host: Host, outside: Outside, scale: Scale, dice: random.Random, evidence: Evidence
) -> None:
    """P8: in the place of registries, manifest, people's files, and of what the state directory holds.

    Several at once.
    """
    overrides, exclusions = (host.root / it for it in PEOPLE_S)
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
    times, places = scale(2, 60), 0
    for _ in range(times):
        # What is lost in both places is lost.
        either = dice.choice([state, [*registries, overrides, exclusions]])
        chosen = dice.sample([*either, *notes(host)], dice.randrange(1, 4))
        for path in chosen:
            harm = dice.choice([pipe, bound, linked_to_a_device, full_directory, *([device] if ROOT else [])])
            harm(path, outside)
        places += len(chosen)
        daemon = host.daemon()
        assert host.content() == right, chosen
        daemon.stop()
        for path, text in (
            (overrides, "last_good_" + overrides.name),
            (exclusions, "last_good_" + exclusions.name),
        ):
            remove(path)
            shutil.copyfile(host.state / text, path)
        for path in notes(host):
            if path.is_dir():
                remove(path)

    evidence(
        "P8",
        "pipes, sockets, devices, links to devices and directories in the place of registries, manifest, "
        "people's files and "
        "what the state directory holds, before a start",
        times=places,
        found=f"{times} starts, none waited or read without end; the registries right, no adopted field and "
        f"no note lost",
    )


@pytest.mark.campaign
def test_what_is_immutable_or_only_grows_is_held_until_it_is_not(
    scene: Scene, scale: Scale, evidence: Evidence
) -> None:
    """P2, P3, P5, P6, P8: a file, its directory, a foreign temporary file.

    From an append-only directory nothing can be removed.
    """
    rounds, tried = scale(1, 12), 0
    for number in range(rounds):
        name = REGISTRIES[number % len(REGISTRIES)]
        path = scene.host.root / name
        every = [(place, flag) for place in (path, path.parent, temporary(path)) for flag in "ia"]
        # In a short run each place and each flag, and not both of each.
        for place, flag in [every[0], every[3], every[4]] if scale(1, 0) else every:
            held_while(scene, name, place, flag)
            tried += 1

    evidence(
        "P2 P3 P5 P6 P8",
        "`chattr +i` and `+a` on a registry, on its directory, on a foreign temporary file",
        times=tried,
        found="that registry held, its remedy names the flag, the two others published; caught up with, "
        "nothing half written left",
    )


def held_while(scene: Scene, name: str, place: Path, flag: str) -> None:
    temporary(scene.host.root / name).touch()
    with having(place, flag):
        token = scene.waves.next()
        verdict = scene.cmp.wait(token)
        assert verdict.status == "held", (place, flag)
        assert "lsattr" in verdict.hint
        assert str(place) in verdict.hint
        assert scene.waves.behind() == {name}
        scene.alive()
    until(lambda: scene.cmp.wait(token).status == "published", "published once it may be written")
    until(scene.waves.right, "right")


def test_owner_mode_and_other_names_of_a_file_are_people_s(
    scene: Scene, tmp_path: Path, evidence: Evidence
) -> None:
    """P2, P7: changed, they are kept and no reason to write; another name of the file keeps what it had."""
    files, others, bits = scene.host.stats(), {}, (0o600, 0o664, 0o444)
    for name, mode in zip(REGISTRIES, bits, strict=True):
        path = scene.host.root / name
        path.chmod(mode)
        if ROOT:
            os.chown(path, 65534, 65533)
        others[name] = tmp_path / path.name
        others[name].hardlink_to(path)
    before = {name: other.read_bytes() for name, other in others.items()}
    until(lambda: len(scene.daemon.events) >= 0, "")
    scene.goes_on()
    found = {name: (scene.host.root / name).stat() for name in REGISTRIES}

    assert scene.host.rewritten(files) == set(REGISTRIES)
    assert [stat.S_IMODE(it.st_mode) for it in found.values()] == [*bits]
    assert not ROOT or {(it.st_uid, it.st_gid) for it in found.values()} == {(65534, 65533)}
    assert {name: other.read_bytes() for name, other in others.items()} == before
    assert not [event for event in scene.daemon.events if event["event"] == "drift_found"]
    evidence(
        "P2 P7",
        "owner and mode of each registry changed, and another name given to it",
        times=3,
        found="not taken for drift; owner and mode kept when it was rewritten; the other name keeps the old "
        "content",
    )


def test_links_for_directories_lead_nothing_of_ours_out_of_the_root(
    scene: Scene, outside: Outside, tmp_path: Path, scale: Scale, evidence: Evidence
) -> None:
    """P2, P6, P8: the directories of registries are replaced by links.

    Each link leads to where something stands under the registry's very name.
    """
    rounds = scale(1, 6)
    names = REGISTRIES[-scale(1, 3) :]
    for _ in range(rounds):
        for name in names:
            place = (scene.host.root / name).parent
            place.rename(tmp_path / "away")
            place.symlink_to(outside.place / place.name)
            verdict = scene.cmp.wait(scene.waves.next())
            assert verdict.status == "held"
            assert f"{place} leads out of {scene.host.root}" in verdict.detail
            assert verdict.hint
            assert scene.cmp.wait(scene.waves.next()).status == "held"
            outside.assert_untouched()
            put_back(tmp_path / "away", place)
            scene.goes_on()
        # Within the root a link is followed.
        elsewhere = place.rename(scene.host.root / "elsewhere")
        place.symlink_to(elsewhere)
        scene.goes_on()
        put_back(elsewhere, place)

    evidence(
        "P2 P6 P8",
        "the directory of a registry replaced by a link out of the root, to a full directory of the "
        "registry's name",
        times=len(names) * rounds,
        found="held, the others published; nothing there touched; caught up with when the link was gone",
    )


def differs(path: Path, said: bytes) -> bool:
    return content(path) != said


def is_kept(scene: Scene, said: bytes) -> bool:
    return said in scene.kept()


@pytest.mark.campaign
def test_what_a_hand_writes_while_the_daemon_writes_is_kept_aside(
    scene: Scene, outside: Outside, scale: Scale, dice: random.Random, evidence: Evidence
) -> None:
    """P8: under a stream of changes, at random moments of a publication.

    Also between the look and the rename.
    """
    times = scale(8, 400)
    with stream(scene.waves, 0.0):
        for _ in range(times):
            path = scene.host.root / dice.choice(REGISTRIES)
            time.sleep(dice.random() * 0.01)  # the moment is the fault
            said = replaced(path, outside)
            until(partial(differs, path, said), "put right")
            # What came between the last look and the swap is kept just after it.
            until(partial(is_kept, scene, said), "kept aside")
    scene.goes_on()

    evidence(
        "P8",
        "a registry overwritten by hand at random moments while it was published again and again",
        times=times,
        found="each text kept aside",
    )


def test_many_hands_at_once_while_cmp_changes(
    scene: Scene, outside: Outside, scale: Scale, dice: random.Random, evidence: Evidence
) -> None:
    """P2, P8: one hand at each registry, and one at the other files.

    These are the manifest, the lock, half-written files, directories and what was kept aside.
    """
    times = scale(40, 3000)
    rolls = [random.Random(dice.random()) for _ in range(4)]
    hands = [partial(meddle, scene.host.root / name, outside) for name in REGISTRIES]
    hands.append(partial(meddle_beside, scene.host, outside))
    with stream(scene.waves), ThreadPoolExecutor(len(hands)) as pool:
        done = [pool.submit(busy, hand, roll, times // 4) for hand, roll in zip(hands, rolls, strict=True)]
        harmed = [it.result() for it in done]
    remove(scene.host.root / LOCK)
    remove(scene.host.root / MANIFEST)
    scene.goes_on()
    until(lambda: read_manifest(scene.host.root), "the manifest")

    assert all(harmed)
    assert_as_rebuilt(scene.waves.cmp, scene.host)
    evidence(
        "P2 P8",
        "four hands at once, at random, in registries, manifest, lock, temporary files, directories, and in "
        "what was kept "
        "aside, while projects were written",
        times=sum(harmed),
        found=f"the daemon lived; the files equal a full rebuild, after {scene.waves.number} waves; nothing "
        f"outside the root touched",
    )


@pytest.mark.campaign
def test_in_the_state_directory_no_link_is_followed_and_no_evidence_hinders(
    scene: Scene, outside: Outside, scale: Scale, evidence: Evidence
) -> None:
    """P8: half-written files of the state directory; copies that somebody made immutable.

    A directory among them.
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
            said = replaced(host.root / PROJECT, outside)
            until(scene.waves.right, "right")
            assert said in scene.kept()
        (drift / f"{Path(PROJECT).name}.20000101T000000.000000Z").mkdir()
        with having(next(it for it in drift.iterdir() if it.is_file()), "i"):
            for _ in range(7):
                said = replaced(host.root / PROJECT, outside)
                until(scene.waves.right, "right")
                assert said in scene.kept()
        shutil.rmtree(drift)
        scene.goes_on()

    evidence(
        "P8",
        "links and pipes where the state directory's next files are written; an immutable copy, and a "
        "directory, among the copies",
        times=13 * rounds,
        found="none followed or waited for; what cannot be pruned hinders nothing",
    )


@pytest.mark.campaign
def test_with_alert_a_file_of_another_hand_stays_and_is_told_once(
    scene: Scene, outside: Outside, scale: Scale, evidence: Evidence
) -> None:
    """P5, P8: also while it cannot be kept aside, which is a fault that `status` names."""
    scene.daemon.stop()
    scene.daemon = scene.host.daemon(OMNICDC_ON_DRIFT="alert", OMNICDC_SWEEP_S="0.1")
    path, drift, rounds = scene.host.root / PROJECT, scene.host.state / "drift", scale(1, 5)
    for _ in range(rounds):
        seen = len(scene.daemon.events)
        drift.write_text("in the way")
        said = replaced(path, outside)
        scene.daemon.wait_for("held", after=seen, registry=path.name)
        until(lambda: scene.cmp.wait().status == "held", "acknowledged as held")
        assert f"{path.name} is held: cannot keep a copy" in scene.waves.faults()
        drift.unlink()
        scene.daemon.wait_for("drift_found", after=seen, registry=path.name)
        until(lambda: not scene.waves.faults(), "no fault any more")
        told = [event for event in scene.daemon.events[seen:] if event["level"] == "warning"]
        assert path.read_bytes() == said
        assert said in scene.kept()
        assert len(told) == 2, told
        scene.goes_on()
        shutil.rmtree(drift)

    evidence(
        "P5 P8",
        "with `on_drift: alert`, a registry overwritten by hand while it could not be kept aside",
        times=rounds,
        found="told once, named by `status`; it stays until the registry changes, and is kept aside before",
    )
