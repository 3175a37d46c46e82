"""Faults 10: other hands in the files: registries, manifest, lock, state, what people write, half-written files.

Precious files stand outside the root, with links to them from within: nothing of ours may ever touch them.
"""

from __future__ import annotations

import errno
import json
import os
import random
import shutil
import socket
import stat
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import pytest
from support.host import INVENTORY, PROJECT, REGISTRIES, Daemon, Host, until
from support.rebuild import assert_as_rebuilt
from support.waves import Waves, content, leftovers, put_back

from omnicdc.lock import LOCK
from omnicdc.manifest import MANIFEST, read_manifest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from support.cmp import Cmp
    from support.evidence import Evidence, Scale

pytestmark = pytest.mark.timeout(900)

ROOT = os.geteuid() == 0
ZERO = os.makedev(1, 5)
"""/dev/zero: to read all of it takes all memory."""

Harm: TypeAlias = "Callable[[Path, Outside], bytes | None]"
"""Done to a path; returns what a hand wrote there, if that is text of its own in a plain file."""


@dataclass
class Outside:
    """A directory beside the root, with what must not be touched."""

    place: Path
    _before: dict[Path, object] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("precious", "uuid", "projects", "git_repos"):
            (self.place / name).mkdir(parents=True)
        (self.place / "precious/file").write_text("precious")
        for name in REGISTRIES:
            target = self.place / Path(name).parent.name / Path(name).name
            target.mkdir()
            (target / "precious").write_text("in a directory of a registry's name")
        self._before = self._found()

    @property
    def file(self) -> Path:
        return self.place / "precious/file"

    def touched(self) -> bool:
        return self._found() != self._before

    def _found(self) -> dict[Path, object]:
        """All that a write would change; a link made by a hand only counts up."""
        return {
            it: (found.st_mode, found.st_ino, found.st_mtime_ns, it.read_bytes() if it.is_file() else b"")
            for it in [self.place, *self.place.rglob("*")]
            for found in [it.lstat()]
        }


def remove(path: Path) -> None:
    """Make room for something else, whatever stands there."""
    if path.is_dir() and not path.is_symlink():
        path = path.rename(path.with_name(f"removed {time.monotonic_ns()}"))
        shutil.rmtree(path)
    path.unlink(missing_ok=True)


@contextmanager
def instead(path: Path) -> Iterator[Path]:
    """Give a name to make something under, and put it at once in the place of what stands there."""
    beside = path.with_name(f"by hand {time.monotonic_ns()}")
    yield beside
    if path.is_dir() and not path.is_symlink():
        remove(path)
    beside.rename(path)
    beside.unlink(missing_ok=True)  # two names of one file are not renamed


def written(path: Path, data: bytes) -> bytes:
    """Replace a file as editors do, at once."""
    with instead(path) as beside:
        beside.write_bytes(data)
    return data


def by_hand() -> bytes:
    """Return what nobody else writes."""
    return b"by hand, %d\n" % time.monotonic_ns()


def deleted(path: Path, _: Outside) -> None:
    path.unlink(missing_ok=True)


def own(path: str, flags: int) -> int:
    """Open a file, and no link: another hand may just have put one there, to what must not be touched."""
    descriptor = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.ENXIO, os.strerror(errno.ENXIO), path)
    return descriptor


def emptied(path: Path, _: Outside) -> bytes:
    return altered(path, lambda _data: b"")


def cut(path: Path, _: Outside) -> bytes:
    return altered(path, lambda data: data[: len(data) // 2])


def appended(path: Path, _: Outside) -> bytes:
    return altered(path, lambda data: data + by_hand())


def edited(path: Path, _: Outside) -> bytes:
    return altered(path, lambda data: by_hand() + data)


def made_huge(path: Path, _: Outside) -> None:
    with open(path, "r+b", opener=own) as file:
        file.truncate(4 << 20)


def altered(path: Path, how: Callable[[bytes], bytes]) -> bytes:
    """Write into the file that stands there."""
    with open(path, "r+b", opener=own) as file:
        said = how(file.read())
        file.seek(0)
        file.write(said)
        file.truncate()
    return said


def replaced(path: Path, _: Outside) -> bytes:
    return written(path, by_hand())


def same_again(path: Path, _: Outside) -> None:
    """The same bytes in another file."""
    with open(path, "rb", opener=own) as file:
        data = file.read()
    written(path, data)


def touched(path: Path, _: Outside) -> None:
    os.utime(path, (0, 0), follow_symlinks=False)


def linked_inside(path: Path, _: Outside) -> None:
    link(path, path.parents[1] / "uuid" / "canonical_projects_uuids.json")


def linked_outside(path: Path, outside: Outside) -> None:
    link(path, outside.file)


def linked_to_a_directory(path: Path, outside: Outside) -> None:
    link(path, outside.place)


def linked_to_nothing(path: Path, _: Outside) -> None:
    link(path, Path("/nowhere/at/all"))


def linked_to_itself(path: Path, _: Outside) -> None:
    link(path, path)


def linked_to_a_device(path: Path, _: Outside) -> None:
    link(path, Path("/dev/zero"))


def hard_linked_outside(path: Path, outside: Outside) -> None:
    """Another name of the precious file: to write into it would be to write outside."""
    with instead(path) as beside:
        beside.hardlink_to(outside.file)


def empty_directory(path: Path, _: Outside) -> None:
    directory(path)


def full_directory(path: Path, _: Outside) -> None:
    directory(path)
    with suppress(FileNotFoundError):  # moved aside already
        (path / "something").write_text("in it")


def pipe(path: Path, _: Outside) -> None:
    with instead(path) as beside:
        os.mkfifo(beside)


def bound(path: Path, _: Outside) -> None:
    """A socket; its address may not be long."""
    with instead(path) as beside, socket.socket(socket.AF_UNIX) as server:
        above = os.open(path.parent, os.O_PATH)
        server.bind(f"/proc/self/fd/{above}/{beside.name}")
        os.close(above)


def device(path: Path, _: Outside) -> None:
    with instead(path) as beside:
        os.mknod(beside, stat.S_IFCHR | 0o666, ZERO)


def link(path: Path, target: Path) -> None:
    with instead(path) as beside:
        beside.symlink_to(target)


def directory(path: Path) -> None:
    """Nothing puts a directory in the place of a file at once, so the daemon may be quicker."""
    made = False
    while not made:
        remove(path)
        with suppress(FileExistsError):
            path.mkdir()
            made = True


BY_HAND: list[Harm] = [emptied, cut, appended, edited, replaced]
LINKS: list[Harm] = [
    linked_inside, linked_outside, linked_to_a_directory, linked_to_nothing, linked_to_itself, linked_to_a_device,
]  # fmt: skip
NO_FILES: list[Harm] = [
    empty_directory, full_directory, pipe, bound, *([device] if ROOT else []),
]  # fmt: skip
HARMS = [*BY_HAND, *LINKS, *NO_FILES, deleted, made_huge, same_again, touched, hard_linked_outside]
MANY = [harm for harm in HARMS if harm is not hard_linked_outside]
"""What hands can do at once without one writing through what another put there."""


@pytest.fixture
def outside(tmp_path: Path) -> Iterator[Outside]:
    """What must not be touched, and what was done with it: looked at again at the end."""
    outside = Outside(tmp_path / "outside")
    yield outside
    assert not outside.touched()


@dataclass
class Scene:
    """A daemon that looks often, and waves of changes."""

    cmp: Cmp
    host: Host
    waves: Waves
    daemon: Daemon

    def kept(self) -> set[bytes]:
        """Return the texts that were kept aside; the oldest may go while this looks."""
        kept: set[bytes] = set()
        for copy in (self.host.state / "drift").glob("*Z"):
            with suppress(OSError), open(copy, "rb", opener=own) as file:
                kept.add(file.read())
        return kept

    def alive(self) -> None:
        assert self.daemon.process.poll() is None, self.daemon.noise
        assert not [event for event in self.daemon.events if event["event"] == "session_lost"]

    def goes_on(self) -> None:
        """One more wave arrives, and all is right."""
        self.cmp.arrived(self.waves.next())
        until(self.waves.right, "right")
        self.alive()


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
    chosen = dice.sample(every, scale(16, len(every)))
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
        f"a registry harmed in {len(HARMS)} ways beneath the daemon: emptied, cut, edited, deleted, a link, a directory, "
        "a pipe, a socket, a device, 4 MB of zeros, ...",
        times=len(chosen),
        found=f"each put right by itself; all {wrote} texts that a hand wrote kept aside before; nothing outside the root touched",
    )


def temporary(path: Path) -> Path:
    return path.with_name(f".{path.name}.omnicdc-tmp")


def test_a_foreign_file_where_the_next_one_is_written_is_no_way_out_of_the_root(
    scene: Scene, outside: Outside, scale: Scale, dice: random.Random, evidence: Evidence
) -> None:
    """P2, P6, P8: a file, links of all kinds, a pipe, a device: removed, not followed. A directory is nobody's to remove: held."""
    paths = [scene.host.root / name for name in (*REGISTRIES, MANIFEST)]
    harms = [replaced, *LINKS, hard_linked_outside, pipe, bound, *([device] if ROOT else [])]
    every = [(harm, path) for harm in harms for path in paths]
    chosen = dice.sample(every, scale(5, len(every)))
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
        "something else where the next file is written: a file, a link to a precious file, a pipe, a device, a directory",
        times=len(chosen) + len(directories),
        found="removed, never written through; a directory holds its registry alone, and the mend names it",
    )


def harmed(harm: Harm, outside: Outside, path: Path) -> None:
    harm(path, outside)


def test_lock_and_notes_are_not_written_through_what_a_hand_put_there(
    scene: Scene, outside: Outside, scale: Scale, dice: random.Random, evidence: Evidence
) -> None:
    """P2, P8: they are written in place, so a link to a precious file, or a second name of it, is not theirs to write."""
    lock = scene.host.root / LOCK
    second_names = [(hard_linked_outside, path) for path in (lock, *notes(scene.host))]
    others = [
        (harm, path) for harm in (linked_outside, pipe, bound, replaced, deleted) for _, path in second_names
    ]
    chosen = [*second_names, *dice.sample(others, scale(1, len(others)))]
    for harm, path in chosen:
        harm(path, outside)
        scene.goes_on()
        assert not outside.touched()
        scene.daemon.stop()
        if lock.is_symlink() or lock.is_socket():
            refused = scene.host.run("run")
            assert (refused.returncode, len(refused.stderr.splitlines())) == (2, 1)
            assert str(lock) in refused.stderr
            remove(lock)
        scene.daemon = scene.host.daemon()
        scene.goes_on()
        assert not outside.touched()
        remove(path)

    evidence(
        "P2 P8",
        "lock, manifest and notes replaced by a link to a precious file, a second name of it, a pipe, a socket, or gone, "
        "beneath the daemon and before a start",
        times=2 * len(chosen),
        found="the daemon went on, the precious file as it was; a start refuses a link or a socket for the lock, and says so",
    )


def lie(key: str, value: object, path: Path) -> None:
    """Write something else into a manifest: at its top, or of every registry."""
    told = json.loads(path.read_bytes())
    for part in [told] if key in told else told["registries"].values():
        part[key] = value
    written(path, json.dumps(told).encode())


LIES: list[tuple[str, object]] = [
    ("generation", 2**63 - 1), ("generation", 2**64 - 1), ("generation", -1), ("generation", "1"), ("version", 2),
    ("registries", {}), ("registries", []), ("consumer", None), ("published_at", "yesterday"),
    ("count", 10**6), ("count", -1), ("size", 0), ("inode", 0), ("blocks", []), ("blocks", [[10**15, ""]]),
    ("generated_at", "x"),
]  # fmt: skip


def test_a_manifest_that_is_harmed_hinders_nothing(
    scene: Scene, outside: Outside, scale: Scale, dice: random.Random, evidence: Evidence
) -> None:
    """P2, P6, P8: it helps the next start, and is no source: beneath the daemon, and found by a start."""
    manifest = scene.host.root / MANIFEST
    every = [*(partial(harmed, harm, outside) for harm in HARMS), *(partial(lie, *it) for it in LIES)]
    chosen = dice.sample(every, scale(3, len(every)))
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
        f"the manifest harmed in {len(every)} ways, beneath the daemon and before a start: as the registries, and "
        "lies in each of its fields",
        times=2 * len(chosen),
        found="the registries stayed right and went on; the manifest came back, also where a directory had its place",
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
ADOPTED = """[{"name": "adopted", "url": "https://github.com/acme/adopted", "colour": "blue", "owner": {"id": "1", "login": "acme"}}]"""


def test_a_start_waits_for_no_pipe_and_reads_no_device(
    cmp: Cmp, host: Host, outside: Outside, scale: Scale, dice: random.Random, evidence: Evidence
) -> None:
    """P8: in the place of registries, manifest, people's files, and of what the state directory holds: several at once."""
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
        "pipes, sockets, devices, links to devices and directories in the place of registries, manifest, people's files and "
        "what the state directory holds, before a start",
        times=places,
        found=f"{times} starts, none waited or read without end; the registries right, no adopted field and no note lost",
    )


def notes(host: Host) -> list[Path]:
    """Return the manifest, and what else is noted beside it for the next start."""
    found = (host.root / MANIFEST).parent.glob(".omnicdc_*")
    return [host.root / MANIFEST, *sorted(found)]


def flagged(path: Path, flag: str) -> None:
    """Set or take a flag of ext4 and its like: immutable, append only."""
    done = subprocess.run(["chattr", flag, path], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"chattr {flag} is not possible here: {done.stderr.strip()}")


@contextmanager
def having(path: Path, flag: str) -> Iterator[None]:
    flagged(path, f"+{flag}")
    try:
        yield
    finally:
        flagged(path, f"-{flag}")


def test_what_is_immutable_or_only_grows_is_held_until_it_is_not(
    scene: Scene, scale: Scale, evidence: Evidence
) -> None:
    """P2, P3, P5, P6, P8: a file, its directory, a foreign temporary file; from an append-only directory nothing can be removed."""
    rounds = scale(1, 12)
    for number in range(rounds):
        name = REGISTRIES[number % len(REGISTRIES)]
        path = scene.host.root / name
        for place in (path, path.parent, temporary(path)):
            for flag in "ia":
                held_while(scene, name, place, flag)

    evidence(
        "P2 P3 P5 P6 P8",
        "`chattr +i` and `+a` on a registry, on its directory, on a foreign temporary file",
        times=6 * rounds,
        found="that registry held, its mend names the flag, the two others published; caught up with, nothing half written left",
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
        found="not taken for drift; owner and mode kept when it was rewritten; the other name keeps the old content",
    )


def test_links_for_directories_lead_nothing_of_ours_out_of_the_root(
    scene: Scene, outside: Outside, tmp_path: Path, scale: Scale, evidence: Evidence
) -> None:
    """P2, P6, P8: the directories of registries replaced by links, to where something stands under the registry's very name."""
    rounds = scale(1, 6)
    for _ in range(rounds):
        for name in REGISTRIES:
            place = (scene.host.root / name).parent
            place.rename(tmp_path / "away")
            place.symlink_to(outside.place / place.name)
            verdict = scene.cmp.wait(scene.waves.next())
            assert verdict.status == "held"
            assert f"{place} leads out of {scene.host.root}" in verdict.detail
            assert verdict.hint
            assert scene.cmp.wait(scene.waves.next()).status == "held"
            assert not outside.touched()
            put_back(tmp_path / "away", place)
            scene.goes_on()
        # Within the root a link is followed.
        elsewhere = place.rename(scene.host.root / "elsewhere")
        place.symlink_to(elsewhere)
        scene.goes_on()
        put_back(elsewhere, place)

    evidence(
        "P2 P6 P8",
        "the directory of a registry replaced by a link out of the root, to a full directory of the registry's name",
        times=3 * rounds,
        found="held, the others published; nothing there touched; caught up with when the link was gone",
    )


def differs(path: Path, said: bytes) -> bool:
    return content(path) != said


def is_kept(scene: Scene, said: bytes) -> bool:
    return said in scene.kept()


@contextmanager
def stream(waves: Waves, pause_s: float = 0.01) -> Iterator[None]:
    """Have CMP change all the time."""
    done = threading.Event()

    def write() -> None:
        while not done.wait(pause_s):
            waves.next()

    thread = threading.Thread(target=write)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def test_what_a_hand_writes_while_the_daemon_writes_is_kept_aside(
    scene: Scene, outside: Outside, scale: Scale, dice: random.Random, evidence: Evidence
) -> None:
    """P8: under a stream of changes, at random moments of a publication: also between the look and the rename."""
    times = scale(20, 400)
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
    """P2, P8: one hand at each registry, and one at manifest, lock, half-written files, directories and what was kept aside."""
    times = scale(60, 3000)
    rolls = [random.Random(dice.random()) for _ in range(4)]
    hands = [partial(meddle, scene.host.root / name, outside) for name in REGISTRIES]
    hands.append(partial(meddle_beside, scene.host, outside))
    with stream(scene.waves), ThreadPoolExecutor(len(hands)) as pool:
        done = [pool.submit(busy, hand, roll, times // 4) for hand, roll in zip(hands, rolls, strict=True)]
        harmed = sum(it.result() for it in done)
    remove(scene.host.root / LOCK)
    remove(scene.host.root / MANIFEST)
    scene.goes_on()
    until(lambda: read_manifest(scene.host.root), "the manifest")

    assert harmed > times / 2
    assert_as_rebuilt(scene.waves.cmp, scene.host)
    evidence(
        "P2 P8",
        "four hands at once, at random, in registries, manifest, lock, temporary files, directories, and in what was kept "
        "aside, while projects were written",
        times=harmed,
        found=f"the daemon lived; the files equal a full rebuild, after {scene.waves.number} waves; nothing outside the root touched",
    )


def busy(hand: Callable[[random.Random], None], roll: random.Random, times: int) -> int:
    """Have one hand do harm; returns how often the daemon was not quicker."""
    harmed = 0
    for _ in range(times):
        time.sleep(roll.random() * 0.03)  # the moment is the fault
        with suppress(OSError):
            hand(roll)
            harmed += 1
    return harmed


def meddle(path: Path, outside: Outside, roll: random.Random) -> None:
    roll.choice(MANY)(path, outside)


def meddle_beside(host: Host, outside: Outside, roll: random.Random) -> None:
    """Harm everything but the registries; a directory that nobody but a person may remove is removed again."""
    registry = host.root / roll.choice(REGISTRIES)
    deeds: list[Callable[[], object]] = [
        lambda: roll.choice(MANY)(roll.choice(notes(host)), outside),
        lambda: roll.choice(MANY)(host.root / LOCK, outside),
        lambda: roll.choice([*LINKS, pipe, bound, replaced])(temporary(registry), outside),
        lambda: remove(registry.parent),
        lambda: remove(host.root / MANIFEST.parent),
        lambda: remove(host.state / "drift"),
        lambda: for_a_while(registry.parent, outside, roll),
        lambda: for_a_while(temporary(registry), outside, roll),
    ]
    roll.choice(deeds)()


def for_a_while(place: Path, outside: Outside, roll: random.Random) -> None:
    """Put something where only a person can remove it, and remove it."""
    roll.choice([linked_outside, linked_to_itself, linked_to_nothing, replaced, full_directory])(
        place, outside
    )
    time.sleep(roll.random() * 0.1)  # the moment is the fault
    remove(place)


@pytest.mark.campaign
def test_in_the_state_directory_no_link_is_followed_and_no_evidence_hinders(
    scene: Scene, outside: Outside, scale: Scale, evidence: Evidence
) -> None:
    """P8: half-written files of the state directory; copies that somebody made immutable; a directory among them."""
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
        "links and pipes where the state directory's next files are written; an immutable copy, and a directory, among the copies",
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
        assert scene.cmp.wait().status == "held"
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
