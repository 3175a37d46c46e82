"""Faults 3: the disk is full, read-only, failing, cut off; a directory is gone; permission is taken away.

Mounts are made below the test's own directory, and undone; a failing disk is a loop device that is made
smaller beneath its file system.
"""

from __future__ import annotations

import errno
import fcntl
import os
import resource
import shutil
import signal
import struct
import subprocess
import tempfile
import threading
import time
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from support.faulty import FAULTS, PROGRAM
from support.hands import put_at_once
from support.host import CANONICAL, COMMAND, INVENTORY, PROJECT, REGISTRIES, Daemon, Host, until
from support.reader import Reader
from support.rebuild import assert_as_rebuilt
from support.waves import Waves, put_back

from omnicdc.files.manifest import MANIFEST
from omnicdc.filesystem.exchange import exchange

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Iterator

    from support.cmp import Cmp
    from support.evidence import Evidence, Scale

pytestmark = pytest.mark.timeout(900)

SCANNERS = {CANONICAL: "cmp_projects", PROJECT: "project", INVENTORY: "git"}
"""Named so in the points."""

ALL = frozenset(REGISTRIES)
STEPS = ("open", "write", "fsync", "rename", "fsync_directory")
REFUSALS = (errno.EIO, errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.ESTALE)
NOBODY = 65534
AS_NOBODY = ("setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups")

Broken = AbstractContextManager[object]


@pytest.fixture
def undone() -> Iterator[ExitStack]:
    """What is done to the machine, undone in reverse order when the test ends."""
    if os.geteuid() != 0:
        pytest.skip("only root may mount, or become another user")
    with ExitStack() as undone:
        yield undone


def run(*command: str | Path) -> str:
    """Run what needs a privilege or a program; skip the test where that is missing."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError) as exc:
        pytest.skip(f"not possible here: {exc} {getattr(exc, 'stderr', '')}")
    return done.stdout.strip()


def mounted(undone: ExitStack, place: Path, *how: str | Path) -> Path:
    """Mount something at a place, made for it."""
    place.mkdir(parents=True, exist_ok=True)
    run("mount", *how, place)
    undone.callback(unmount, place)
    return place


def unmount(place: Path) -> None:
    subprocess.run(["umount", "--lazy", place], check=True)


def memory(undone: ExitStack, place: Path, *options: str) -> Path:
    """Mount a small file system in memory."""
    return mounted(undone, place, "-t", "tmpfs", "-o", ",".join(["size=1m", "mode=755", *options]), "tmpfs")


@contextmanager
def full(place: Path, left: int = 0) -> Iterator[None]:
    """Fill a file system, to so many bytes."""
    ballast = place / "ballast"
    with ballast.open("wb") as file:
        found = os.fstatvfs(file.fileno())
        os.posix_fallocate(file.fileno(), 0, max(found.f_bavail * found.f_frsize - left, 1))
    try:
        yield
    finally:
        ballast.unlink()


@contextmanager
def without_inodes(place: Path) -> Iterator[None]:
    """Make as many files as there can be."""
    many = place / "many"
    many.mkdir()
    with suppress(OSError):
        for number in range(10**6):
            (many / str(number)).touch()
    try:
        yield
    finally:
        shutil.rmtree(many)


@contextmanager
def read_only(place: Path) -> Iterator[None]:
    """Mount it over itself, read-only, as systemd does.

    To remount it is refused, for the lock is open to be written.
    """
    run("mount", "--bind", place, place)
    run("mount", "-o", "remount,bind,ro", place)
    try:
        yield
    finally:
        unmount(place)


@contextmanager
def limited(daemon: Daemon, size: int) -> Iterator[None]:
    """As `ulimit -f`: no file of that process may become larger."""
    _, hard = resource.prlimit(daemon.process.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(daemon.process.pid, resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.prlimit(daemon.process.pid, resource.RLIMIT_FSIZE, (hard, hard))


@contextmanager
def renamed(place: Path, stand_in: str = "") -> Iterator[None]:
    """Take it away, and put it back: a file in its place, a link, or nothing."""
    away = place.with_name("away")
    if stand_in == "file":
        away.touch()
    elif stand_in:
        away.symlink_to(stand_in)
    if stand_in:
        # At once: the daemon may make a directory anew as soon as it is missing.
        directory = os.open(place.parent, os.O_RDONLY)
        assert exchange(directory, place.name, away.name)
        os.close(directory)
    else:
        place.rename(away)
    try:
        yield
    finally:
        put_back(away, place)


@contextmanager
def mode(place: Path, bits: int) -> Iterator[None]:
    """Take permission away."""
    before = place.stat()
    place.chmod(bits)
    try:
        yield
    finally:
        place.chmod(before.st_mode)


@contextmanager
def owned_by_root(place: Path) -> Iterator[None]:
    """As who ran a command as root there once."""
    before = place.stat()
    os.chown(place, 0, 0)
    try:
        yield
    finally:
        os.chown(place, before.st_uid, before.st_gid)


@contextmanager
def injected(faults: Path, point: str, number: int) -> Iterator[None]:
    """Have the daemon meet an error each time that it passes a point."""
    faults.write_text(f"{point}: {errno.errorcode[number]}\n")
    try:
        yield
    finally:
        faults.unlink()


class Disk:
    """A file system on a block device that can fail, or lose its power.

    Features are those of mkfs.ext4, for one without a journal.
    """

    def __init__(self, undone: ExitStack, where: Path, *features: str) -> None:
        self.image = where / "image"
        self.image.touch()
        os.truncate(self.image, 16 << 20)
        run("mkfs.ext4", "-q", "-F", "-b", "1024", "-E", "lazy_itable_init=0", *features, self.image)
        self.device = run("losetup", "-f", "--show", self.image)
        undone.callback(subprocess.run, ["losetup", "-d", self.device], check=True)
        self._journal = not features
        # With one, what nobody syncs is not written for minutes, so that a copy is of one moment.
        self._options = "commit=600" if self._journal else "errors=continue"
        self.place = mounted(undone, where / "disk", "-o", self._options, self.device)

    @contextmanager
    def failing(self) -> Iterator[None]:
        """Answer nothing but errors beyond the first megabytes, which hold the tables."""
        self._limit(3 << 20)
        try:
            yield
        finally:
            self._limit(0)

    def mount_again(self) -> None:
        """Repair it, as a person would."""
        run("umount", self.place)
        subprocess.run(["e2fsck", "-fy", self.device], capture_output=True, check=False)
        run("mount", "-o", self._options, self.device, self.place)

    def _limit(self, size: int) -> None:
        """Set lo_sizelimit of struct loop_info64; 0 is none."""
        with Path(self.device).open("rb") as device:
            info = bytearray(232)
            fcntl.ioctl(device, 0x4C05, info)  # LOOP_GET_STATUS64
            struct.pack_into("Q", info, 32, size)
            fcntl.ioctl(device, 0x4C04, info)  # LOOP_SET_STATUS64

    @contextmanager
    def after_a_power_cut(self, where: Path) -> Iterator[Path]:
        """Mount what the device holds at this moment: what nobody synced is lost."""
        with ExitStack() as undone:
            where.mkdir()
            undone.callback(shutil.rmtree, where)
            shutil.copyfile(self.image, where / "image")
            if not self._journal:
                subprocess.run(["e2fsck", "-fy", where / "image"], capture_output=True, check=False)
            yield mounted(undone, where / "disk", "-o", "loop", where / "image")


@contextmanager
def readers(root: Path, scale: Scale) -> Iterator[None]:
    """Have somebody read all files, in a campaign without a pause.

    Insist that each file was whole, and that none went back.
    """
    reader = Reader(root, "waves", scale(5, 0) / 1000)
    try:
        yield
    finally:
        found = reader.end()
    assert found["wrong"] == []


@dataclass
class Trial:
    """A daemon that serves while CMP changes in waves, and what it promises when something breaks."""

    cmp: Cmp
    host: Host
    waves: Waves
    daemon: Daemon

    def endure(
        self, broken: Broken, says: str, held: frozenset[str] | None = None, *, behind: bool = True
    ) -> int:
        """Write while something is broken, then mend it; returns how many files stayed behind meanwhile.

        With `held` just these are held; without `behind` their files may show the latest all the same.
        """
        seen = len(self.daemon.events)
        with broken:
            token = self.waves.next()
            verdict = self.cmp.wait(token)
            late = self.waves.behind()
            assert verdict.status == ("held" if late or held else verdict.status), (verdict, late)
            assert held is None or late == (held if behind else late & held), (verdict, late)
            if verdict.status == "held":
                told = self.daemon.wait_for("held", after=seen)
                assert says in verdict.detail
                assert says in told["reason"]
                assert verdict.hint
                assert told["hint"]
                self._named({*late})
            self.alive()
        until(lambda: self.cmp.wait(token).status == "published", "published once it is mended")
        assert not self.waves.behind()
        until(self.waves.right, "nothing half written is left")
        self.alive()
        return len(late)

    def alive(self) -> None:
        assert self.daemon.process.poll() is None, self.daemon.noise
        assert not [event for event in self.daemon.events if event["event"] == "session_lost"]

    def _named(self, late: set[str]) -> None:
        """Insist that `status` names what is held."""
        faults = self.waves.faults()
        late &= self.waves.behind()  # with a little room, one after the other gets in
        assert all(f"{name.rpartition('/')[2]} is held: " in faults for name in late), faults


def trial(undone: ExitStack, cmp: Cmp, host: Host, *, projects: int = 40) -> Trial:
    """Start a daemon that looks often."""
    undone.callback(host.close)
    host.env["OMNICDC_POLL_S"] = "0.05"
    waves = Waves(cmp, host, projects)
    return Trial(cmp, host, waves, host.daemon())


def test_a_full_disk_holds_what_does_not_fit(
    cmp: Cmp, tmp_path: Path, undone: ExitStack, scale: Scale, dice: random.Random, evidence: Evidence
) -> None:
    """P2, P3, P5, P8: the disk is full to the last byte, or with some bytes left, or to the last inode.

    With some left, one registry fits and another does not.
    """
    place = memory(undone, tmp_path / "disk", "nr_inodes=60")
    it = trial(undone, cmp, Host(place / "host", cmp.dsn))
    times = scale(3, 100)
    with readers(it.host.root, scale):
        late = it.endure(full(place), os.strerror(errno.ENOSPC), ALL)
        late += it.endure(without_inodes(place), os.strerror(errno.ENOSPC), ALL)
        for _ in range(times - 2):
            late += it.endure(full(place, left=dice.randrange(1 << 16)), os.strerror(errno.ENOSPC))

    assert_as_rebuilt(cmp, it.host)
    evidence(
        "P2 P3 P5 P8",
        "the disk of root and state filled up, to the last byte, to the last inode, or with room for some "
        "files only",
        times=times,
        found=f"{late} files stayed as they were, whole and told as held; all caught up once there was room",
    )


@pytest.mark.campaign
def test_where_one_directory_s_disk_is_full_the_others_go_on(
    cmp: Cmp, tmp_path: Path, undone: ExitStack, scale: Scale, evidence: Evidence
) -> None:
    """P3, P6, P8: each registry's directory is a disk of its own, and so is the manifest's."""
    host = Host(tmp_path / "host", cmp.dsn)
    above = memory(undone, (host.root / MANIFEST).parent)
    places = {name: memory(undone, (host.root / name).parent) for name in REGISTRIES}
    it = trial(undone, cmp, host)
    times, some = scale(1, 8), [*places.items()][: scale(1, 3)]
    for _ in range(times):
        for name, place in some:
            it.endure(full(place), os.strerror(errno.ENOSPC), frozenset([name]))
        the_manifest_alone(it, above)

    evidence(
        "P3 P6 P8",
        "the disk of one registry's directory filled up, each in turn, then the manifest's alone",
        times=(len(some) + 1) * times,
        found="the others were published; a manifest that cannot be written holds back no registry and is "
        "reported",
    )


def the_manifest_alone(it: Trial, place: Path) -> None:
    seen, manifest = len(it.daemon.events), it.host.root / MANIFEST
    before = manifest.read_bytes()
    with full(place):
        it.cmp.arrived(it.waves.next())
        told = it.daemon.wait_for("manifest_not_written", after=seen)
        until(lambda: it.cmp.consumer("host")["last_error"], "the database is told")
        assert manifest.read_bytes() == before
    until(lambda: manifest.read_bytes() != before, "written once there is room")
    until(lambda: not it.cmp.consumer("host")["last_error"], "the database is told that it passed")

    assert os.strerror(errno.ENOSPC) in told["error"]
    assert "df" in told["hint"]
    assert it.waves.right()
    it.alive()


@pytest.mark.campaign
def test_a_root_that_is_read_only_is_waited_for(
    cmp: Cmp, host: Host, undone: ExitStack, scale: Scale, evidence: Evidence
) -> None:
    """P2, P3, P5, P6, P8: all of it, or one registry's directory."""
    it = trial(undone, cmp, host)
    rounds = scale(1, 8)
    for _ in range(rounds):
        it.endure(read_only(host.root), os.strerror(errno.EROFS), ALL)
        for name in REGISTRIES:
            it.endure(read_only((host.root / name).parent), os.strerror(errno.EROFS), frozenset([name]))

    evidence(
        "P2 P3 P5 P6 P8",
        "the root, or one registry's directory, became read-only",
        times=4 * rounds,
        found="held and told, the others published, caught up with once it was writable",
    )


@pytest.mark.campaign
def test_a_file_system_that_gave_up_leaves_the_last_good_files(
    cmp: Cmp, tmp_path: Path, undone: ExitStack, scale: Scale, dice: random.Random, evidence: Evidence
) -> None:
    """P2, P3, P5, P8: at random moments of a publication.

    What is half written cannot even be removed then.
    """
    disk = Disk(undone, tmp_path)
    it = trial(undone, cmp, Host(disk.place / "host", cmp.dsn), projects=1000)
    times = scale(1, 8)
    for _ in range(times):
        it.waves.next()
        time.sleep(dice.random() * 0.1)  # the moment is the fault
        run("mount", "-o", "remount,abort", disk.place)
        until(lambda: it.waves.acknowledged() == it.waves.number, "told")
        verdict, late = it.cmp.wait(), it.waves.behind()
        assert verdict.status == ("held" if late else verdict.status)
        it.alive()
        it.daemon.stop()
        disk.mount_again()
        it.daemon = it.host.daemon()
        until(it.waves.right, "right after the next start")

    evidence(
        "P2 P3 P5 P8",
        "the kernel gave the file system up (ext4 abort: read-only at once) at random moments of a "
        "publication",
        times=times,
        found="the daemon lived on and told; files whole; after the repair the next start brought all up to "
        "date",
    )


@pytest.mark.campaign
def test_a_file_that_may_not_grow_is_held(
    cmp: Cmp, host: Host, undone: ExitStack, scale: Scale, dice: random.Random, evidence: Evidence
) -> None:
    """P2, P3, P5, P8: the kernel takes some bytes, and then no more."""
    it = trial(undone, cmp, host)
    times = scale(2, 30)
    for _ in range(times):
        it.endure(limited(it.daemon, dice.randrange(5000)), os.strerror(errno.EFBIG), ALL)

    evidence(
        "P2 P3 P5 P8",
        "files limited to a random size (`ulimit -f`) beneath the running daemon",
        times=times,
        found="held, told, caught up with; no part of a file stayed",
    )


@pytest.mark.campaign
def test_a_disk_that_fails_is_written_anew_never_trusted(
    cmp: Cmp, tmp_path: Path, undone: ExitStack, scale: Scale, evidence: Evidence
) -> None:
    """P2, P3, P5, P8: a failed fsync drops the pages, and the next one finds nothing wrong.

    What was acknowledged is there after a power cut.
    """
    disk = Disk(undone, tmp_path, "-O", "^has_journal")
    it = trial(
        undone,
        cmp,
        Host(
            disk.place / "host",
            cmp.dsn,
        ),
    )
    times = scale(1, 8)
    for number in range(times):
        it.endure(disk.failing(), os.strerror(errno.EIO), ALL)
        on_disk_is_what_readers_see(it, disk, tmp_path / f"cut {number}")
        it.daemon.stop()
        adopted_from_a_failing_disk(it, disk)
        on_disk_is_what_readers_see(it, disk, tmp_path / f"cut again {number}")

    evidence(
        "P2 P3 P5 P8",
        "the disk answered with errors: while writing, and while a start took over files that were right "
        "but never synced; "
        "then the power was cut",
        times=2 * times,
        found="held, told, and written anew; what was acknowledged was on the disk",
    )


def adopted_from_a_failing_disk(it: Trial, disk: Disk) -> None:
    """Put right files back by hand while the daemon is down and the disk fails.

    The start can read and not sync them.
    """
    with disk.failing():
        (it.host.root / MANIFEST).unlink()
        for name in REGISTRIES:
            path = it.host.root / name
            shutil.copyfile(path, path.with_name("put back"))
            path.with_name("put back").rename(path)
        it.daemon = it.host.daemon()
        verdict = it.cmp.wait()
        assert verdict.status == "held"
        assert os.strerror(errno.EIO) in verdict.detail
    until(lambda: it.cmp.wait().status == "published", "published once the disk works")
    it.alive()


def on_disk_is_what_readers_see(it: Trial, disk: Disk, where: Path) -> None:
    with disk.after_a_power_cut(where) as place:
        found = {name: it.waves.shown(name, place / "host/root") for name in REGISTRIES}
    assert found == dict.fromkeys(REGISTRIES, it.waves.number)


def test_after_a_power_cut_every_file_is_whole_and_holds_what_was_acknowledged(
    cmp: Cmp, tmp_path: Path, undone: ExitStack, scale: Scale, dice: random.Random, evidence: Evidence
) -> None:
    """P2, P3, P8: at random moments under a stream of writes, also of the very first publication."""
    disk = Disk(undone, tmp_path)
    host = Host(disk.place / "host", cmp.dsn)
    undone.callback(host.close)
    waves, done = Waves(cmp, host), threading.Event()

    def write() -> None:
        while not done.is_set():
            waves.next()

    thread = threading.Thread(target=write)
    thread.start()
    times, seen = scale(2, 30), 0
    try:
        for number in range(times):
            seen += cut(disk, waves, tmp_path / f"cut-{number}", dice, first=number % 3 == 0)
    finally:
        done.set()
        thread.join()

    others = sum(number % 3 > 0 for number in range(times))
    assert seen >= 2 * others, "they had published all three"
    evidence(
        "P2 P3 P8",
        "the power cut at a random moment (the block device copied as it was, and mounted) while projects "
        "were written; "
        "a third of them during the first publication",
        times=times,
        found=f"{seen} files were there, each whole, none behind what had been acknowledged; the next start "
        f"brought all up to date",
    )


def cut(disk: Disk, waves: Waves, where: Path, dice: random.Random, *, first: bool) -> int:
    """Cut the power, also in the middle of the first publication; returns how many registries were there."""
    host = waves.host
    if first:
        shutil.rmtree(host.root / "governance", ignore_errors=True)
        host.env["OMNICDC_CONSUMER"] = where.name  # of whom nothing is acknowledged yet
        daemon = host.starting()
        until((host.root / "governance").exists, "it begins")
    else:
        daemon = host.daemon()
    time.sleep(dice.random() * 0.2)  # the moment is the fault
    daemon.process.send_signal(signal.SIGSTOP)
    until(lambda: stopped(daemon), "stopped")
    acknowledged = waves.acknowledged()
    with disk.after_a_power_cut(where) as place:
        daemon.kill()
        root, state = place / "host/root", place / "host/state"
        found = [waves.shown(name, root) for name in REGISTRIES]
        assert min(found) >= acknowledged, (found, acknowledged)
        root.mkdir(parents=True, exist_ok=True)
        elsewhere = {"OMNICDC_ROOT": str(root), "OMNICDC_STATE_DIR": str(state), "OMNICDC_CONSUMER": "next"}
        done = host.run("run", "--once", **elsewhere)
        assert done.returncode == 0, done.stderr
        assert min(waves.shown(name, root) for name in REGISTRIES) >= max(acknowledged, *found)
        assert not [*root.rglob(".*.omnicdc-tmp")]
    return sum(wave >= 0 for wave in found)


def stopped(daemon: Daemon) -> bool:
    return Path(f"/proc/{daemon.process.pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"


@pytest.mark.campaign
def test_a_step_that_fails_holds_its_registry_alone(
    cmp: Cmp,
    host: Host,
    tmp_path: Path,
    undone: ExitStack,
    scale: Scale,
    dice: random.Random,
    evidence: Evidence,
) -> None:
    """P2, P3, P5, P6, P8: open, write, fsync, rename and the directory's fsync of each registry.

    The others go on.
    """
    host.program, faults = PROGRAM, tmp_path / "faults"
    host.env[FAULTS] = str(faults)
    trials = trial(undone, cmp, host)
    every = [(*it, step) for it in SCANNERS.items() for step in STEPS]
    chosen = dice.sample(every, scale(2, len(every))) * scale(1, 8)
    again = [*SCANNERS.items()][-scale(1, 3) :]
    with readers(host.root, scale):
        for registry, scanner, step in chosen:
            number = dice.choice(REFUSALS)
            fault = injected(faults, f"{step} {scanner}", number)
            trials.endure(fault, os.strerror(number), frozenset([registry]), behind=step != STEPS[-1])
        for registry, scanner in again:
            renamed_again(trials, registry, injected(faults, f"fsync_directory {scanner}", errno.EIO))

    assert not [event for event in trials.daemon.events if event["event"] == "drift_found"], (
        "our own file is no drift"
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


def renamed_again(it: Trial, registry: str, broken: Broken) -> None:
    """Though readers see it already.

    The next fsync of the directory says nothing about what the failed one lost.
    """
    with broken:
        assert it.cmp.wait(it.waves.next()).status == "held"
        first = it.host.stats()[registry]
    until(lambda: it.cmp.wait().status == "published", "published once it is mended")

    assert it.host.stats()[registry] != first


@pytest.mark.campaign
def test_a_directory_that_is_gone_or_no_directory_is_told_and_made_again(
    cmp: Cmp, host: Host, undone: ExitStack, scale: Scale, evidence: Evidence
) -> None:
    """P2, P3, P5, P6, P8: the root, and what is in it.

    Taken away, removed, replaced by a file or by a link.
    """
    it = trial(undone, cmp, host)
    registry = host.root / CANONICAL
    outside = host.root.parent / "outside"
    outside.mkdir()
    times, short = scale(1, 5), scale(1, 0)
    stand_ins = [str(outside), "file", "/nowhere/at/all", "uuid"][: scale(1, 4)]
    trees = [host.root / "governance", registry.parent, (host.root / MANIFEST).parent][: scale(1, 3)]
    for _ in range(times):
        it.endure(renamed(host.root), os.strerror(errno.ENOENT), ALL)
        it.endure(renamed(host.root / "governance", "file"), "directory", ALL)
        if not short:
            it.endure(renamed(host.root, "file"), "directory", ALL)
        for stand_in in stand_ins:
            it.endure(renamed(registry.parent, stand_in), "", frozenset([CANONICAL]))
        for tree in trees:
            tree.rename(host.root.parent / f"removed {len([*host.root.parent.iterdir()])}")
            until(it.waves.right, "made again without a change")
    it.alive()

    assert [*outside.iterdir()] == []
    evidence(
        "P2 P3 P5 P6 P8",
        "root or directories taken away, removed, replaced by a file, by a link to nowhere, to itself or "
        "out of the root",
        times=(3 - short + len(stand_ins) + len(trees)) * times,
        found="held where nothing can be written, made again where it can; nothing written outside",
    )


@pytest.mark.campaign
def test_permission_that_is_taken_away_is_told_and_waited_for(
    cmp: Cmp, undone: ExitStack, scale: Scale, evidence: Evidence
) -> None:
    """P2, P3, P5, P6, P8: from a daemon that is nobody in particular.

    Directories closed, or given to root.
    """
    run(*AS_NOBODY, COMMAND, "--version")
    where = Path(tempfile.mkdtemp(prefix="omnicdc-test-"))
    undone.callback(shutil.rmtree, where)
    host = Host(where / "host", cmp.dsn)
    host.program = (*AS_NOBODY, COMMAND)
    where.chmod(0o755)
    for directory in (host.root.parent, host.root):
        os.chown(directory, NOBODY, NOBODY)
    it = trial(undone, cmp, host)
    registry, governance = host.root / CANONICAL, host.root / "governance"
    refused, rounds, short = os.strerror(errno.EACCES), scale(1, 5), scale(1, 0)
    for _ in range(rounds):
        it.endure(owned_by_root(registry.parent), refused, frozenset([CANONICAL]))
        it.endure(mode(host.root, 0o000), refused, ALL)
        if not short:
            it.endure(mode(registry.parent, 0o555), refused, frozenset([CANONICAL]))
            it.endure(mode(governance, 0o600), refused, ALL)
        edited_while(it, mode(host.state, 0o000), refused)
        with mode(host.state, 0o000):
            (registry.parents[1] / "projects/LOCAL_OVERRIDES_V1.yaml").write_text("overrides: []\n")
            it.daemon.wait_for("input_fault")
            it.cmp.arrived(it.waves.next())
    it.alive()

    assert registry.stat().st_uid == NOBODY
    evidence(
        "P2 P3 P5 P6 P8",
        "write or search permission taken from the daemon's user: a directory, the root, the state directory",
        times=(6 - 2 * short) * rounds,
        found="held with the command that fixes it, the others published, caught up with",
    )


def edited_while(it: Trial, broken: Broken, says: str) -> None:
    """Have another hand write a registry while what it wrote cannot be kept aside.

    Nothing is put over it, until it can.
    """
    seen, path = len(it.daemon.events), it.host.root / PROJECT
    mine = f"mine, {time.monotonic_ns()}"
    with broken:
        path.write_text(mine)
        told = it.daemon.wait_for("held", after=seen, registry=path.name)
        token = it.waves.next()
        verdict = it.cmp.wait(token)
        others = {name: it.waves.shown(name) for name in (CANONICAL, INVENTORY)}
        assert (verdict.status, path.read_text()) == ("held", mine)
        assert set(others.values()) == {it.waves.number}
        assert says in told["reason"]
        assert told["hint"]
    until(lambda: it.cmp.wait(token).status == "published", "published once it is mended")
    until(it.waves.right, "right once it is mended")
    it.alive()

    assert mine in kept_aside(it.host)


def kept_aside(host: Host) -> set[str]:
    return {copy.read_text() for copy in (host.state / "drift").iterdir()}


def test_without_a_state_directory_what_another_hand_wrote_is_not_overwritten(
    cmp: Cmp, tmp_path: Path, undone: ExitStack, scale: Scale, evidence: Evidence
) -> None:
    """P5, P6, P8: the state directory's disk is full or read-only, or the directory is gone."""
    place = memory(undone, tmp_path / "disk")
    host = Host(tmp_path / "host", cmp.dsn)
    host.state = place / "below/state"
    host.env["OMNICDC_STATE_DIR"] = str(host.state)
    it = trial(undone, cmp, host)
    rounds, short = scale(1, 6), scale(1, 0)
    for _ in range(rounds):
        edited_while(it, full(place), os.strerror(errno.ENOSPC))
        if not short:
            edited_while(it, read_only(place), os.strerror(errno.EROFS))
            edited_while(it, renamed(host.state, "file"), "irectory")
        edited_while(it, renamed(host.state.parent, "/proc"), "")
        shutil.rmtree(host.state)
        put_at_once(host.root / PROJECT, "nothing is kept, and nothing keeps it from being kept")
        until(it.waves.right, "the directory is made again")
        assert len(kept_aside(host)) == 1
        it.endure(full(place), "", frozenset())

    evidence(
        "P5 P6 P8",
        "another process wrote into a registry while the state directory was full, read-only, gone, or no "
        "directory",
        times=(6 - 2 * short) * rounds,
        found="held as long as it could not be kept aside, the others published; then kept aside and "
        "restored; "
        "a state directory that is gone is made again, one that is full holds no other registry",
    )


@pytest.mark.campaign
def test_a_start_without_room_waits_for_it(
    cmp: Cmp, tmp_path: Path, undone: ExitStack, scale: Scale, evidence: Evidence
) -> None:
    """P3, P5, P8: the first start, for which nothing is there yet, and a later one."""
    host = Host(tmp_path / "host", cmp.dsn)
    undone.callback(host.close)
    waves = Waves(cmp, host)
    places = memory(undone, host.root, "nr_inodes=60"), memory(undone, host.state)
    rounds = scale(1, 4)
    for _ in range(rounds):
        for place in places:
            for it in place.iterdir():
                shutil.rmtree(it) if it.is_dir() else it.unlink()
        started_while(waves, without_inodes(host.root), "standing_by")
        shutil.rmtree(host.root / "governance")
        (host.state / "adopted_inventory.json").unlink()
        started_while(waves, full(host.state), "session_lost")
        started_while(waves, full(host.root), "held")

    evidence(
        "P3 P5 P8",
        "the daemon started where root or state directory had no room left, for the first time or again",
        times=3 * rounds,
        found="it waited, told what to do, and published once there was room",
    )


def started_while(waves: Waves, broken: Broken, event: str) -> None:
    """Start a daemon; the event tells what it waits for."""
    waves.next()
    with broken:
        daemon = waves.host.starting(OMNICDC_POLL_S="0.05")
        told = daemon.wait_for(event)
        assert os.strerror(errno.ENOSPC) in str(told)
        assert "df " in told["hint"]
        assert not waves.cmp.wait(timeout_s=0.5).arrived
    until(waves.right, "published once there is room")

    assert daemon.stop() == 0


@pytest.mark.campaign
def test_a_reload_while_something_is_broken_ends_nothing(
    cmp: Cmp, host: Host, undone: ExitStack, scale: Scale, dice: random.Random, evidence: Evidence
) -> None:
    """P2, P5, P8: SIGHUP, as after a change of the configuration.

    What ends a start, with its reason, does not end who has served.
    """
    it = trial(undone, cmp, host)
    deeds: tuple[Callable[[], Broken], ...] = (
        lambda: renamed(host.state, "file"),
        lambda: read_only(host.state),
        lambda: renamed(host.root),
        lambda: read_only(host.root),
    )
    chosen = dice.sample(deeds, scale(1, 4)) * scale(1, 2)
    for deed in chosen:
        seen = len(it.daemon.events)
        with deed():
            it.daemon.process.send_signal(signal.SIGHUP)
            told = it.daemon.wait_for("session_lost", after=seen)
            verdict = it.cmp.wait(it.waves.next(), timeout_s=0.1)
            refused = host.run("run")
            assert told["error"]
            assert told["hint"]
            assert not verdict.arrived
            assert it.daemon.process.poll() is None
            assert (refused.returncode, len(refused.stderr.splitlines())) == (2, 1)
        it.daemon.wait_for("recovered", after=seen)
        until(it.waves.right, "published once it is mended")

    assert it.daemon.stop() == 0
    evidence(
        "P2 P5 P8",
        "a reload (SIGHUP), and a start, while root or state directory are gone, read-only, or no directory",
        times=2 * len(chosen),
        found="a daemon that had served waited, reported it, and served again once it was fixed; a start "
        "ended with one line",
    )
