"""Users change owners, modes, flags and names of files, and put links in the place of directories."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

import pytest
from support.file_damage import ROOT, temporary, with_flag
from support.host import REGISTRIES, until
from support.numbered_updates import put_back

from omnicdc.files.manifest import MANIFEST

if TYPE_CHECKING:
    from pathlib import Path

    from support.evidence import Evidence, Scale
    from support.outside import Outside
    from support.scene import Scene

pytestmark = pytest.mark.timeout(900)


@pytest.mark.campaign
def test_an_immutable_or_append_only_file_holds_its_registry_until_the_flag_is_gone(
    scene: Scene, scale: Scale, evidence: Evidence
) -> None:
    """P2, P3, P5, P6, P8: a registry, its directory, or a foreign temporary file has the flag.

    Nothing can be removed from an append-only directory.
    """
    rounds, tried = scale(1, 12), 0
    for number in range(rounds):
        name = REGISTRIES[number % len(REGISTRIES)]
        path = scene.host.root / name
        every = [(place, flag) for place in (path, path.parent, temporary(path)) for flag in "ia"]
        # A short run tries each place and each flag once, and not all pairs.
        for place, flag in [every[0], every[3], every[4]] if scale(1, 0) else every:
            held_while_flagged(scene, name, place, flag)
            tried += 1

    evidence(
        "P2 P3 P5 P6 P8",
        "`chattr +i` and `+a` on a registry, on its directory, on a foreign temporary file",
        times=tried,
        found="that registry held, its remedy names the flag, the two others published; caught up with, "
        "nothing half written left",
    )


def held_while_flagged(scene: Scene, name: str, place: Path, flag: str) -> None:
    temporary(scene.host.root / name).touch()
    with with_flag(place, flag):
        token = scene.updates.next()
        verdict = scene.cmp.wait(token)
        assert verdict.status == "held", (place, flag)
        assert "lsattr" in verdict.hint
        assert str(place) in verdict.hint
        assert scene.updates.behind() == {name}
        scene.alive()
    until(lambda: scene.cmp.wait(token).status == "published", "published once it may be written")
    until(scene.updates.right, "right")


def test_owner_mode_and_other_names_of_a_file_are_kept(
    scene: Scene, tmp_path: Path, evidence: Evidence
) -> None:
    """P2, P7: a user changes owner and mode. omnicdc keeps them, and does not rewrite the file for them.

    Another name of the file keeps the content that it had.
    """
    files, others, bits = scene.host.stats(), {}, (0o600, 0o664, 0o444)
    for name, mode in zip(REGISTRIES, bits, strict=True):
        path = scene.host.root / name
        path.chmod(mode)
        if ROOT:
            os.chown(path, 65534, 65533)
        others[name] = tmp_path / path.name
        others[name].hardlink_to(path)
    before = {name: other.read_bytes() for name, other in others.items()}
    for _ in range(2):  # the poll that finds the manifest gone has looked at the registries as well
        (scene.host.root / MANIFEST).unlink()
        until((scene.host.root / MANIFEST).exists, "a poll")
    rewritten_by_polls = scene.host.rewritten(files)
    scene.goes_on()
    found = {name: (scene.host.root / name).stat() for name in REGISTRIES}

    assert rewritten_by_polls == set()
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


def test_a_link_for_a_directory_does_not_lead_out_of_the_root(
    scene: Scene, outside: Outside, tmp_path: Path, scale: Scale, evidence: Evidence
) -> None:
    """P2, P6, P8: links replace the directories of registries.

    Each link leads to a directory that already has something under the registry's name.
    """
    rounds = scale(1, 6)
    names = REGISTRIES[-scale(1, 3) :]
    for _ in range(rounds):
        for name in names:
            place = (scene.host.root / name).parent
            place.rename(tmp_path / "away")
            place.symlink_to(outside.place / place.name)
            verdict = scene.cmp.wait(scene.updates.next())
            assert verdict.status == "held"
            assert f"{place} leads out of {scene.host.root}" in verdict.detail
            assert verdict.hint
            assert scene.cmp.wait(scene.updates.next()).status == "held"
            outside.assert_untouched()
            put_back(tmp_path / "away", place)
            scene.goes_on()
        # A link to a directory within the root is followed.
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
