"""Recognises registry files on disk, and backs up an external change before it is replaced.

`registry_file` and the manifest know what was published. `publication` writes it again.
"""

from __future__ import annotations

import errno
import os
import shutil
import stat
from contextlib import suppress
from datetime import UTC, datetime
from hashlib import sha256
from typing import TYPE_CHECKING

from omnicdc.filesystem import attributes
from omnicdc.filesystem.atomic import directory_below, no_observer
from omnicdc.filesystem.remedy import TEMPORARY, registry_errors
from omnicdc.filesystem.sync import sync

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from typing import BinaryIO

    from omnicdc.formats.layout import Layout
    from omnicdc.model import Published


Blocks = tuple[tuple[int, str], ...]
"""Length and SHA-256 of each block of a file, in order."""

_BACKUP = "%Y%m%dT%H%M%S.%fZ"
"""The end of a backup's name: when it was made."""

_HEAD = 1 << 16
"""The time of a publication is within the first bytes of a file, up to this number."""

_NO_REGULAR_FILE = {errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENXIO, errno.EISDIR}
"""Errors that mean: there is no regular file at this path."""


def intact(root: Path, relative: Path | str, published: Published) -> bool:
    """Return True if size, time and inode of the file are those of the published one.

    This is quick. It misses only an edit in place that restores the time. Raises RegistryError if the file's
    status cannot be read.
    """
    target = root / relative
    with registry_errors(f"look at {target}", target):
        found = _status(target)
    if found is None or not stat.S_ISREG(found.st_mode):
        return False
    return (found.st_size, found.st_mtime_ns, found.st_ino) == (
        published.size, published.mtime_ns, published.inode
    )  # fmt: skip


def rehash(root: Path, relative: Path | str, published: Published) -> bool:
    """Read the whole file, and return True if its content is the published one, whoever wrote it.

    Raises RegistryError if it cannot be read.
    """
    return recognised(root, relative, published.blocks) is not None


def recognised(root: Path, relative: Path | str, blocks: Blocks) -> os.stat_result | None:
    """Return the file's status if its content is exactly these blocks; else None.

    Raises RegistryError if it cannot be read.
    """
    target = root / relative
    with registry_errors(f"read {target}", target):
        try:
            with open(target, "rb", opener=_without_waiting) as file:
                return os.fstat(file.fileno()) if _has_blocks(file, blocks) else None
        except OSError as exc:
            if exc.errno not in _NO_REGULAR_FILE:
                raise
            return None


def _without_waiting(path: str, flags: int) -> int:
    """Open a file, but no symlink, and without waiting for the writer of a pipe."""
    return os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK)


def _has_blocks(file: BinaryIO, blocks: Blocks) -> bool:
    status = os.fstat(file.fileno())
    size = sum(length for length, _ in blocks)
    if not stat.S_ISREG(status.st_mode) or status.st_size != size:
        return False
    equal = (sha256(file.read(length)).hexdigest() == digest for length, digest in blocks)
    return all(equal) and not file.read(1)


def signature(path: Path) -> tuple[int, int, int] | None:
    """Return size, time and inode of a file; None if it does not exist or cannot be read."""
    try:
        found = path.lstat()
    except OSError:
        return None
    return found.st_size, found.st_mtime_ns, found.st_ino


def make_durable(path: Path, observe: Callable[[str], None] = no_observer) -> None:
    """Sync a file and its directory: the process that wrote it may have stopped before it synced them."""
    with registry_errors(f"sync {path}", path):
        for step, place in (("fsync", path), ("fsync_directory", path.parent)):
            observe(step)
            sync(place)


def stamp_in(path: Path, layout: Layout) -> str:
    """Return the time of the publication that the head of a file shows; empty if it shows none."""
    try:
        with open(path, "rb", opener=_without_waiting) as file:
            return stamp_of(file.read(_HEAD) or b"", layout)
    except OSError:
        return ""


def stamp_of(data: bytes, layout: Layout) -> str:
    """Return the time of the publication that the head of a file's bytes shows; empty if it shows none."""
    return layout.stamp(layout.split(data[:_HEAD]).head)


def back_up(
    root: Path,
    relative: Path | str,
    state_dir: Path,
    at: datetime,
    *,
    keep: int = 5,
    now_at: Path | None = None,
) -> Path | None:
    """Back up the file at a registry's path. Return the path of the backup, or None if there is no file.

    `now_at` is the path of the file if a swap has already moved it. A file or a symlink is copied to `drift/`
    in the state directory, so that the registry's path always has a file. Only the newest `keep` copies of
    its name are kept. Anything else, such as a directory, is renamed in its own directory and never removed.
    Raises RegistryError if this fails, or if a symlink leads out of the root: then do not write the registry.
    """
    target = root / relative
    with registry_errors(f"keep a copy of {target}", target):
        there = now_at or target
        found = _status(there)
        if found is None:
            return None
        stamp = at.strftime(_BACKUP)
        with directory_below(root, target.parent) as directory:
            if not (stat.S_ISREG(found.st_mode) or stat.S_ISLNK(found.st_mode)):
                return _rename_aside(directory, there, f".{target.name}.{stamp}.omnicdc-aside")
        temporary = _unfinished_copy(target.name, state_dir)
        kept = temporary.with_name(f"{target.name}.{stamp}")
        _copy(there, temporary, kept, is_link=stat.S_ISLNK(found.st_mode))
        _prune(kept, target.name, keep)
        return kept


def backups_of(name: str, state_dir: Path) -> list[tuple[Path, datetime]]:
    """Return the backups of a file of this name, and when each was made. Empty if they cannot be listed."""
    found = []
    with suppress(OSError):
        for path in sorted((state_dir / "drift").iterdir()):
            with suppress(ValueError):
                stamp = path.name.removeprefix(f"{name}.")
                found.append((path, datetime.strptime(stamp, _BACKUP).replace(tzinfo=UTC)))
    return found


def discard_half_copy(name: str, state_dir: Path) -> None:
    """Remove the unfinished backup of a file of this name that a killed process left."""
    with suppress(OSError):
        _unfinished_copy(name, state_dir).unlink()


def _unfinished_copy(name: str, state_dir: Path) -> Path:
    return state_dir / "drift" / f".{name}{TEMPORARY}"


def _rename_aside(directory: int, target: Path, aside: str) -> Path:
    os.rename(target.name, aside, src_dir_fd=directory, dst_dir_fd=directory)
    os.fsync(directory)
    return target.with_name(aside)


def _status(target: Path) -> os.stat_result | None:
    try:
        return target.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return None


def _copy(target: Path, temporary: Path, kept: Path, *, is_link: bool) -> None:
    """Copy a file or a symlink. Raises OSError if it is neither any more."""
    kept.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    temporary.unlink(missing_ok=True)
    try:
        if is_link:
            temporary.symlink_to(os.readlink(target))  # noqa: PTH115 - Path.readlink alters what it reads
        else:
            _copy_file(target, temporary)
        temporary.rename(kept)
        sync(kept.parent)
    except OSError:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise


def _copy_file(source: Path, copy: Path) -> None:
    """Copy content and attributes. Both files stay open, so that their names are resolved only once.

    A symlink or a pipe that has replaced the file is refused. `shutil.copy2` would resolve the names several
    times, and might follow a symlink that appeared in between.
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


def _prune(kept: Path, name: str, keep: int) -> None:
    """Remove the oldest copies, but never the new one, even if the clock was set back."""
    copies = (it for it in kept.parent.iterdir() if it.name.startswith(f"{name}.") and it.name.endswith("Z"))
    older = sorted(it for it in copies if it != kept)
    for copy in older[: max(len(older) + 1 - keep, 0)]:
        with suppress(OSError):
            copy.unlink()
