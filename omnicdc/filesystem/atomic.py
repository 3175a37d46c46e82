"""Put a file in the place of another so that neither a reader nor a power cut ever finds half of one.

`files.lock` keeps a second process out; what was put there is recorded by `files.manifest`, and
external changes are noticed by `files.drift`.
"""

from __future__ import annotations

import errno
import os
import stat
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from omnicdc.errors import RegistryError
from omnicdc.filesystem import attributes
from omnicdc.filesystem.exchange import exchange
from omnicdc.filesystem.remedy import TEMPORARY, registry_errors

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import Self

REGISTRY = Path("governance/registry")
"""The directory below the root that holds all registries."""

NEW_FILE_MODE = 0o644
"""Less the umask; a file that was there keeps its own."""

MOST_PARTS = 1024
"""What Linux takes in one writev (IOV_MAX)."""

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


def no_observer(_step: str) -> None:
    """Observe nothing."""


def replace(
    root: Path,
    relative: Path | str,
    parts: Sequence[bytes | memoryview],
    observe: Callable[[str], None] = no_observer,
) -> os.stat_result:
    """Make `parts` the content of a file below `root`, durably, and return its size, time and inode.

    Missing directories are made; mode, ACL, `user.*` attributes and, where permitted, owner and group are
    kept: `attributes`. A symlink in the file's place is replaced, one above it that leads out of the root is
    refused. Raises RegistryError, and then readers still find the old file or already the new one; a repeat
    is harmless.

    Tests make a step fail, or end the process before it, through `observe`: it is told `open`, `write`,
    `fsync`, `rename` and `fsync_directory` just before each.
    """
    with stage(root, relative, parts, observe) as staged:
        staged.swap(observe)
        staged.sync(observe)
        return staged.status


@dataclass(frozen=True, slots=True)
class Staged:
    """A file that is written and synced beside the one it will replace; a context manager, which tidies up.

    Whoever replaces several files stages them side by side, for the disk syncs several at once in
    the time of one, and then swaps them one after the other, for that takes no time.
    """

    target: Path
    status: os.stat_result
    not_kept: tuple[str, ...]
    """What the new file could not be given of the old one's owner, group, ACL and extended attributes."""
    _directory: int
    _temporary: str
    _written: ExitStack
    """Holds the new file open until readers find it."""
    _left: ExitStack

    def swap(self, observe: Callable[[str], None] = no_observer) -> None:
        """Have readers find it; a power cut may still take it back. Raises RegistryError.

        What it replaced is at `replaced` then, if the file system can do that. For programs that watch the
        directory (inotify), the last events of the target's name say that it arrived and that its writer
        closed it.
        """
        directory, new, name = self._directory, self._temporary, self.target.name
        with registry_errors(f"write {self.target}", self.target):
            observe("rename")
            if not exchange(directory, name, new):
                os.rename(new, name, src_dir_fd=directory, dst_dir_fd=directory)
            self._written.close()

    @property
    def replaced(self) -> Path:
        """Where that which was replaced is until this ends.

        Nothing is there if nothing was, or it is lost.
        """
        return self.target.with_name(self._temporary)

    def sync(self, observe: Callable[[str], None] = no_observer) -> None:
        """Make that last. Raises RegistryError."""
        with registry_errors(f"sync the directory of {self.target}", self.target):
            observe("fsync_directory")
            os.fsync(self._directory)

    def __enter__(self) -> Self:
        """Nothing is left to do."""
        return self

    def __exit__(self, *_exc: object) -> None:
        """Remove the file that was replaced, or the one that was not swapped.

        Later is soon enough: to free its blocks takes a quarter as long as to write them.
        """
        self._left.close()


def stage(
    root: Path,
    relative: Path | str,
    parts: Sequence[bytes | memoryview],
    observe: Callable[[str], None] = no_observer,
) -> Staged:
    """Write and sync what `replace` is to put in place. Raises RegistryError."""
    target = root / relative
    temporary = f".{target.name}{TEMPORARY}"
    with registry_errors(f"write {target}", target), ExitStack() as left:
        directory = left.enter_context(directory_below(root, target.parent))
        old = _to_be_replaced(directory, target)
        _remove(directory, temporary)
        left.callback(_tidy, directory, temporary)
        written = left.enter_context(ExitStack())
        observe("open")
        # No other user may read more of a private file than before, not even of its unfinished successor.
        file = os.open(temporary, _NEW_FILE, 0o600 if old else NEW_FILE_MODE, dir_fd=directory)
        written.callback(os.close, file)
        observe("write")
        _write_parts(file, parts)
        not_kept = attributes.give(file, old, target) if old else ()
        observe("fsync")
        # After a failed fsync the kernel may have dropped the pages: start over, never fsync again.
        os.fsync(file)
        return Staged(target, os.fstat(file), not_kept, directory, temporary, written, left.pop_all())


def discard(root: Path, relative: Path | str) -> None:
    """Remove what a killed process left half written. If that fails, the next writer of the file does it."""
    target = root / relative
    with suppress(OSError, RegistryError), directory_below(root, target.parent) as directory:
        _remove(directory, f".{target.name}{TEMPORARY}")


@contextmanager
def directory_below(root: Path, wanted: Path) -> Iterator[int]:
    """Open a directory below `root`, making what is missing of it.

    Symlinks are followed while they stay below.
    """
    directory = _opened_below(root, wanted)
    try:
        yield directory
    finally:
        os.close(directory)


def _opened_below(root: Path, wanted: Path) -> int:
    names = wanted.relative_to(root).parts
    if ".." not in names:
        try:
            return _opened(root, names)
        except OSError as exc:  # a symlink is in the way
            if exc.errno not in (errno.ELOOP, errno.ENOTDIR):
                raise
    return _opened(*_resolved(root, wanted))


def _resolved(root: Path, wanted: Path) -> tuple[Path, Sequence[str]]:
    """Resolve the symlinks once.

    What is opened then follows none, so that none put there meanwhile counts.
    """
    top, bottom = Path(os.path.realpath(root)), Path(os.path.realpath(wanted))
    if not bottom.is_relative_to(top):
        raise RegistryError(
            f"{wanted} leads out of {root}, to {bottom}",
            hint="put a directory in the place of the symlink, or name another root",
        )
    return top, bottom.relative_to(top).parts


def _opened(top: Path, names: Sequence[str]) -> int:
    directory = os.open(top, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    for name in names:
        above = directory
        try:
            directory = _entered(above, name)
        finally:
            os.close(above)
    return directory


def _entered(above: int, name: str) -> int:
    try:
        return os.open(name, _DIRECTORY, dir_fd=above)
    except FileNotFoundError:
        with suppress(FileExistsError):
            os.mkdir(name, dir_fd=above)
        os.fsync(above)
        return os.open(name, _DIRECTORY, dir_fd=above)


def _to_be_replaced(directory: int, target: Path) -> attributes.Attributes | None:
    """Return what the regular file in the place has beside its content, if there is one."""
    try:
        found = os.stat(target.name, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        return None
    if stat.S_ISDIR(found.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    return attributes.read(found, directory, target) if stat.S_ISREG(found.st_mode) else None


def _remove(directory: int, name: str) -> None:
    with suppress(FileNotFoundError):
        os.unlink(name, dir_fd=directory)


def _tidy(directory: int, name: str) -> None:
    """Remove what is there; where the disk refuses even that, the next writer does it."""
    with suppress(OSError):
        os.unlink(name, dir_fd=directory)


def _write_parts(file: int, parts: Sequence[bytes | memoryview]) -> None:
    left = [memoryview(part).cast("B") for part in parts if len(part)]
    while left:
        left = _beyond(left, os.writev(file, left[:MOST_PARTS]))


def _beyond(parts: list[memoryview], written: int) -> list[memoryview]:
    """Return what is left of `parts` after so many bytes."""
    whole = 0
    while whole < len(parts) and written >= len(parts[whole]):
        written -= len(parts[whole])
        whole += 1
    left = parts[whole:]
    return [left[0][written:], *left[1:]] if written else left
