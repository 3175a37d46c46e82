"""What a hand may do to a file that is the daemon's, by itself or beside other hands.

Several act at once, and the daemon exchanges names meanwhile, so that what a hand made may be another hand's
link a moment later. None follows one: whatever happens to a precious file is the daemon's doing then. `hands`
has a few simple ones.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import socket
import stat
import subprocess
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import pytest

from omnicdc.files.lock import LOCK
from omnicdc.files.manifest import MANIFEST
from support.host import REGISTRIES, Host

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Iterator

    from support.outside import Outside

ROOT = os.geteuid() == 0
ZERO = os.makedev(1, 5)
"""/dev/zero: to read all of it takes all memory."""

Damage: TypeAlias = "Callable[[Path, Outside], bytes | None]"
"""Done to a path; returns what a hand wrote there, if that is text of its own in a plain file."""


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
    # The daemon may exchange it for what another hand put there: moved aside already, or a link to what is
    # precious.
    with suppress(OSError):
        above = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        try:
            os.close(os.open("something", os.O_WRONLY | os.O_CREAT | os.O_EXCL, dir_fd=above))
        finally:
            os.close(above)


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


BY_HAND: list[Damage] = [emptied, cut, appended, edited, replaced]
LINKS: list[Damage] = [
    linked_inside, linked_outside, linked_to_a_directory, linked_to_nothing, linked_to_itself,
    linked_to_a_device,
]  # fmt: skip
NO_FILES: list[Damage] = [
    empty_directory, full_directory, pipe, bound, *([device] if ROOT else []),
]  # fmt: skip
DAMAGES = [*BY_HAND, *LINKS, *NO_FILES, deleted, made_huge, same_again, touched, hard_linked_outside]
MANY = [harm for harm in DAMAGES if harm is not hard_linked_outside]
"""What hands can do at once without one writing through what another put there."""


def lie(key: str, value: object, path: Path) -> None:
    """Write something else into a manifest: at its top, or of every registry."""
    told = json.loads(path.read_bytes())
    for part in [told] if key in told else told["registries"].values():
        part[key] = value
    written(path, json.dumps(told).encode())


LIES: list[tuple[str, object]] = [
    ("generation", 2**63 - 1), ("generation", 2**64 - 1), ("generation", -1), ("generation", "1"),
    ("version", 2), ("registries", {}), ("registries", []), ("consumer", None), ("published_at", "yesterday"),
    ("count", 10**6), ("count", -1), ("size", 0), ("inode", 0), ("blocks", []), ("blocks", [[10**15, ""]]),
    ("generated_at", "x"),
]  # fmt: skip


def temporary(path: Path) -> Path:
    return path.with_name(f".{path.name}.omnicdc-tmp")


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
    """Damage everything but the registries.

    A directory that nobody but a person may remove is removed again.
    """
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
