"""Damage that other processes may do to files of the daemon.

Several threads do damage at the same time, while the daemon exchanges names. So a file may become a link at
any moment. The functions never follow a link: if a protected file changes, the daemon changed it.
`support.external_changes` has a few simple changes.
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
"""The device /dev/zero. A program that reads it to the end uses all memory."""

Damage: TypeAlias = "Callable[[Path, Outside], bytes | None]"
"""A function that damages a path. It returns the new text, if it wrote text into a regular file."""


def remove(path: Path) -> None:
    """Remove whatever has this name."""
    if path.is_dir() and not path.is_symlink():
        path = path.rename(path.with_name(f"removed {time.monotonic_ns()}"))
        shutil.rmtree(path)
    path.unlink(missing_ok=True)


@contextmanager
def instead(path: Path) -> Iterator[Path]:
    """Give a temporary name; afterwards rename what was made there to `path`."""
    beside = path.with_name(f"external {time.monotonic_ns()}")
    yield beside
    if path.is_dir() and not path.is_symlink():
        remove(path)
    beside.rename(path)
    beside.unlink(missing_ok=True)  # two names of one file are not renamed


def written(path: Path, data: bytes) -> bytes:
    """Replace a file by a rename, as editors do."""
    with instead(path) as beside:
        beside.write_bytes(data)
    return data


def unique_text() -> bytes:
    """Return a text that no other process writes."""
    return b"external, %d\n" % time.monotonic_ns()


def deleted(path: Path, _: Outside) -> None:
    path.unlink(missing_ok=True)


def open_regular(path: str, flags: int) -> int:
    """Open a regular file, but no link: another thread may just have made one to a protected file."""
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
    return altered(path, lambda data: data + unique_text())


def edited(path: Path, _: Outside) -> bytes:
    return altered(path, lambda data: unique_text() + data)


def made_huge(path: Path, _: Outside) -> None:
    with open(path, "r+b", opener=open_regular) as file:
        file.truncate(4 << 20)


def altered(path: Path, how: Callable[[bytes], bytes]) -> bytes:
    """Change the content of the present file."""
    with open(path, "r+b", opener=open_regular) as file:
        changed = how(file.read())
        file.seek(0)
        file.write(changed)
        file.truncate()
    return changed


def replaced(path: Path, _: Outside) -> bytes:
    return written(path, unique_text())


def same_again(path: Path, _: Outside) -> None:
    """Replace the file with a copy: the same bytes, another inode."""
    with open(path, "rb", opener=open_regular) as file:
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
    """Make a hard link to the protected file. A write into it would be a write outside of the root."""
    with instead(path) as beside:
        beside.hardlink_to(outside.file)


def empty_directory(path: Path, _: Outside) -> None:
    directory(path)


def full_directory(path: Path, _: Outside) -> None:
    directory(path)
    # The daemon may have exchanged the directory for something else, even a link to a protected file.
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
    """Replace the file with a socket. The address is short, as the system requires it."""
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
    """Replace a file with a directory. In two steps, so the daemon may put a file there in between."""
    made = False
    while not made:
        remove(path)
        with suppress(FileExistsError):
            path.mkdir()
            made = True


TEXT_CHANGES: list[Damage] = [emptied, cut, appended, edited, replaced]
LINKS: list[Damage] = [
    linked_inside, linked_outside, linked_to_a_directory, linked_to_nothing, linked_to_itself,
    linked_to_a_device,
]  # fmt: skip
NOT_REGULAR: list[Damage] = [
    empty_directory, full_directory, pipe, bound, *([device] if ROOT else []),
]  # fmt: skip
DAMAGES = [*TEXT_CHANGES, *LINKS, *NOT_REGULAR, deleted, made_huge, same_again, touched, hard_linked_outside]
MANY = [it for it in DAMAGES if it is not hard_linked_outside]
"""The damages that may run at the same time. None writes through a hard link of another."""


def falsify(key: str, value: object, path: Path) -> None:
    """Write a false value into a manifest, at its top level or for every registry."""
    manifest = json.loads(path.read_bytes())
    for part in [manifest] if key in manifest else manifest["registries"].values():
        part[key] = value
    written(path, json.dumps(manifest).encode())


FALSE_VALUES: list[tuple[str, object]] = [
    ("generation", 2**63 - 1), ("generation", 2**64 - 1), ("generation", -1), ("generation", "1"),
    ("version", 2), ("registries", {}), ("registries", []), ("consumer", None), ("published_at", "yesterday"),
    ("count", 10**6), ("count", -1), ("size", 0), ("inode", 0), ("blocks", []), ("blocks", [[10**15, ""]]),
    ("generated_at", "x"),
]  # fmt: skip


def temporary(path: Path) -> Path:
    return path.with_name(f".{path.name}.omnicdc-tmp")


def notes(host: Host) -> list[Path]:
    """Return the manifest, and the files beside it that the daemon keeps for its next start."""
    found = (host.root / MANIFEST).parent.glob(".omnicdc_*")
    return [host.root / MANIFEST, *sorted(found)]


def change_flag(path: Path, flag: str) -> None:
    """Set or remove a file flag, such as immutable or append only; skip the test if that is not possible."""
    done = subprocess.run(["chattr", flag, path], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"chattr {flag} is not possible here: {done.stderr.strip()}")


@contextmanager
def with_flag(path: Path, flag: str) -> Iterator[None]:
    change_flag(path, f"+{flag}")
    try:
        yield
    finally:
        change_flag(path, f"-{flag}")


def repeat(damage: Callable[[random.Random], None], roll: random.Random, times: int) -> int:
    """Do damage repeatedly; return how often it succeeded. It fails if the daemon changed the file first."""
    succeeded = 0
    for _ in range(times):
        time.sleep(roll.random() * 0.03)  # the moment is the fault
        with suppress(OSError):
            damage(roll)
            succeeded += 1
    return succeeded


def damage_registry(path: Path, outside: Outside, roll: random.Random) -> None:
    roll.choice(MANY)(path, outside)


def damage_other_file(host: Host, outside: Outside, roll: random.Random) -> None:
    """Damage a file beside the registries.

    What the daemon does not remove is removed again after a moment.
    """
    registry = host.root / roll.choice(REGISTRIES)
    actions: list[Callable[[], object]] = [
        lambda: roll.choice(MANY)(roll.choice(notes(host)), outside),
        lambda: roll.choice(MANY)(host.root / LOCK, outside),
        lambda: roll.choice([*LINKS, pipe, bound, replaced])(temporary(registry), outside),
        lambda: remove(registry.parent),
        lambda: remove(host.root / MANIFEST.parent),
        lambda: remove(host.state / "drift"),
        lambda: for_a_while(registry.parent, outside, roll),
        lambda: for_a_while(temporary(registry), outside, roll),
    ]
    roll.choice(actions)()


def for_a_while(place: Path, outside: Outside, roll: random.Random) -> None:
    """Put something in a place where the daemon does not remove it; remove it after a moment."""
    roll.choice([linked_outside, linked_to_itself, linked_to_nothing, replaced, full_directory])(
        place, outside
    )
    time.sleep(roll.random() * 0.1)  # the moment is the fault
    remove(place)
