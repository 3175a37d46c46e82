"""Reads what stands in a registry's place, and backs up an external change before it is replaced.

`registry_file` and the manifest know what was published; `publication` puts it there again.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
import stat
from contextlib import suppress
from hashlib import sha256
from typing import TYPE_CHECKING

from omnicdc.filesystem import attributes
from omnicdc.filesystem.atomic import directory_below, no_observer
from omnicdc.filesystem.remedy import TEMPORARY, registry_errors

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime
    from pathlib import Path
    from typing import BinaryIO

    from omnicdc.model import Published


Blocks = tuple[tuple[int, str], ...]
"""Length and SHA-256 of each block of a file, in order."""

_STAMP = re.compile(rb"""^[ "]*generated_at"?: ["']?([0-9T:.+-]+)""", re.MULTILINE)

_HEAD = 400
"""Bytes within which it stands."""

_NOT_OURS = {errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENXIO, errno.EISDIR}
"""Something else stands there, or nothing."""


def intact(root: Path, relative: Path | str, published: Published) -> bool:
    """Tell by size, time and inode whether the file still is the one that was put there.

    Quick, and only fooled by who restores the time. Raises RegistryError if the disk does not say.
    """
    target = root / relative
    with registry_errors(f"look at {target}", target):
        found = _found(target)
    if found is None or not stat.S_ISREG(found.st_mode):
        return False
    return (found.st_size, found.st_mtime_ns, found.st_ino) == (
        published.size, published.mtime_ns, published.inode
    )  # fmt: skip


def rehash(root: Path, relative: Path | str, published: Published) -> bool:
    """Tell by reading all of it whether the file holds what was put there, whoever wrote it last.

    Raises RegistryError if it cannot be read.
    """
    return recognised(root, relative, published.blocks) is not None


def recognised(root: Path, relative: Path | str, blocks: Blocks) -> os.stat_result | None:
    """Return the file's status if it holds exactly these blocks.

    Raises RegistryError if it cannot be read.
    """
    target = root / relative
    with registry_errors(f"read {target}", target):
        try:
            with open(target, "rb", opener=_without_waiting) as file:
                return os.fstat(file.fileno()) if _same(file, blocks) else None
        except OSError as exc:
            if exc.errno not in _NOT_OURS:
                raise
            return None


def _without_waiting(path: str, flags: int) -> int:
    """Open no symlink, and no pipe that would make us wait for its writer."""
    return os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK)


def _same(file: BinaryIO, blocks: Blocks) -> bool:
    status = os.fstat(file.fileno())
    size = sum(length for length, _ in blocks)
    if not stat.S_ISREG(status.st_mode) or status.st_size != size:
        return False
    equal = (sha256(file.read(length)).hexdigest() == digest for length, digest in blocks)
    return all(equal) and not file.read(1)


def signature(path: Path) -> tuple[int, int, int] | None:
    """Return size, time and inode of what stands there; None if nothing does, or the disk does not say."""
    try:
        found = path.lstat()
    except OSError:
        return None
    return found.st_size, found.st_mtime_ns, found.st_ino


def make_durable(path: Path, observe: Callable[[str], None] = no_observer) -> None:
    """Sync a file that was found right: who put it there may have ended before that."""
    with registry_errors(f"sync {path}", path):
        for step, place in (("fsync", path), ("fsync_directory", path.parent)):
            observe(step)
            _sync(place)


def stamp_in(path: Path) -> str:
    """Return the `generated_at` of a file that looks like ours; empty if there is none."""
    try:
        with open(path, "rb", opener=_without_waiting) as file:
            return stamp_of(file.read(_HEAD) or b"")
    except OSError:
        return ""


def stamp_of(data: bytes) -> str:
    """Return the `generated_at` of what begins like one of our files; empty if there is none."""
    found = _STAMP.search(data[:_HEAD])
    return found[1].decode() if found else ""


def back_up(
    root: Path,
    relative: Path | str,
    state_dir: Path,
    at: datetime,
    *,
    keep: int = 5,
    now_at: Path | None = None,
) -> Path | None:
    """Keep what stands in a registry's place (or stood, and is `now_at` beside it).

    Returns where, or None if nothing does.

    A file or a symlink is copied to `drift/` in the state directory, so that the place is never empty;
    all but the newest `keep` copies of its name are removed. Anything else, such as a directory, is
    renamed beside itself and never removed. Raises RegistryError: then nothing must be put there, as
    where a symlink leads out of the root.
    """
    target = root / relative
    with registry_errors(f"keep a copy of {target}", target):
        there = now_at or target
        found = _found(there)
        if found is None:
            return None
        stamp = at.strftime("%Y%m%dT%H%M%S.%fZ")
        with directory_below(root, target.parent) as directory:
            if not (stat.S_ISREG(found.st_mode) or stat.S_ISLNK(found.st_mode)):
                return _set_aside(directory, there, f".{target.name}.{stamp}.omnicdc-aside")
        temporary = _half(target.name, state_dir)
        kept = temporary.with_name(f"{target.name}.{stamp}")
        _copied(there, temporary, kept, is_link=stat.S_ISLNK(found.st_mode))
        _prune(kept, target.name, keep)
        return kept


def discard_half_copy(name: str, state_dir: Path) -> None:
    """Remove what a killed process left of a copy of a file of this name."""
    with suppress(OSError):
        _half(name, state_dir).unlink()


def _half(name: str, state_dir: Path) -> Path:
    return state_dir / "drift" / f".{name}{TEMPORARY}"


def _set_aside(directory: int, target: Path, aside: str) -> Path:
    os.rename(target.name, aside, src_dir_fd=directory, dst_dir_fd=directory)
    os.fsync(directory)
    return target.with_name(aside)


def _found(target: Path) -> os.stat_result | None:
    try:
        return target.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return None


def _copied(target: Path, temporary: Path, kept: Path, *, is_link: bool) -> None:
    """Copy what was found to be a file or a link. Raises OSError if it is no longer that."""
    kept.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    temporary.unlink(missing_ok=True)
    try:
        if is_link:
            temporary.symlink_to(os.readlink(target))  # noqa: PTH115 - Path.readlink alters what it reads
        else:
            _copy_file(target, temporary)
        temporary.rename(kept)
        _sync(kept.parent)
    except OSError:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise


def _copy_file(source: Path, copy: Path) -> None:
    """Copy content and attributes from one open file to another.

    A link or a pipe put there meanwhile is refused.

    shutil.copy2 looks at both names again and again, and in between may follow a link to change the file it
    leads to.
    """
    with open(source, "rb", opener=_without_waiting) as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise OSError(errno.ENXIO, "it is no plain file any more", str(source))
        with open(copy, "xb", opener=_private) as copied:
            shutil.copyfileobj(file, copied, 1 << 20)
            copied.flush()
            attributes.copy(file.fileno(), copied.fileno())
            os.fsync(copied.fileno())


def _private(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW, 0o600)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _prune(kept: Path, name: str, keep: int) -> None:
    """Remove the oldest copies that can be removed; never the one just made, even if the clock went back."""
    copies = (it for it in kept.parent.iterdir() if it.name.startswith(f"{name}.") and it.name.endswith("Z"))
    older = sorted(it for it in copies if it != kept)
    for copy in older[: max(len(older) + 1 - keep, 0)]:
        with suppress(OSError):
            copy.unlink()
