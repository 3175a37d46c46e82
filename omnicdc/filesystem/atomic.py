"""Replaces a file atomically: neither a reader nor a power failure ever leads to half a file.

`files.lock` excludes other omnicdc processes. `files.manifest` records what was written. `files.drift`
detects external changes.
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
"""Mode of a new file, less the umask. A replaced file's mode is kept."""

MOST_PARTS = 1024
"""Most parts that Linux accepts in one writev (IOV_MAX)."""

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
    """Write `parts` durably as the content of a file below `root`. Return the status of the new file.

    Missing directories are created. Mode, ACL, `user.*` attributes and, if permitted, owner and group are
    kept: see `attributes`. A symlink at the file's path is replaced. A symlink above it that leads out of the
    root is refused. Raises RegistryError; readers then find either the old file or the new one. A repeat is
    harmless.

    `observe` is called before each step with its name: `open`, `write`, `fsync`, `rename`,
    `fsync_directory`. Tests use it to make a step fail, or to kill the process.
    """
    with stage(root, relative, parts, observe) as staged:
        staged.swap(observe)
        staged.sync(observe)
        return staged.status


@dataclass(frozen=True, slots=True)
class Staged:
    """A new file, written and synced beside the file that it will replace. A context manager that removes it.

    To replace several files, stage them in parallel, because the disk syncs several in the time of one. Then
    swap them one after the other, because a swap takes no time.
    """

    target: Path
    status: os.stat_result
    not_kept: tuple[str, ...]
    """The old file's attributes that could not be set on the new one, such as `owner` or an ACL."""
    _directory: int
    _temporary: str
    _written: ExitStack
    """Keeps the new file open until the swap."""
    _cleanup: ExitStack
    """Removes the temporary file and closes the directory."""

    def swap(self, observe: Callable[[str], None] = no_observer) -> None:
        """Replace the old file, so that readers find the new one. A power failure may still undo this.

        The old file is then at `replaced`, if the file system can exchange names. A second call swaps back.
        For programs that watch the directory (inotify), the last events of the target's name say that a file
        was moved there and that its writer closed it. Raises RegistryError.
        """
        directory, new, name = self._directory, self._temporary, self.target.name
        with registry_errors(f"write {self.target}", self.target):
            observe("rename")
            if not exchange(directory, name, new):
                os.rename(new, name, src_dir_fd=directory, dst_dir_fd=directory)
            self._written.close()

    @property
    def replaced(self) -> Path:
        """Path of the replaced file, until this context ends.

        No file is there if none was replaced, or if the file system could not exchange the names.
        """
        return self.target.with_name(self._temporary)

    def sync(self, observe: Callable[[str], None] = no_observer) -> None:
        """Sync the directory, so that a power failure cannot undo the swap. Raises RegistryError."""
        with registry_errors(f"sync the directory of {self.target}", self.target):
            observe("fsync_directory")
            os.fsync(self._directory)

    def __enter__(self) -> Self:
        """Return the staged file."""
        return self

    def __exit__(self, *_exc: object) -> None:
        """Remove the replaced file, or the new one if it was not swapped.

        The swap does not do this, because freeing the blocks takes a quarter of the time to write them.
        """
        self._cleanup.close()


def stage(
    root: Path,
    relative: Path | str,
    parts: Sequence[bytes | memoryview],
    observe: Callable[[str], None] = no_observer,
    *,
    mode: int | None = None,
) -> Staged:
    """Write and sync a new file beside its target, without replacing it. Raises RegistryError.

    Its mode is `mode`, or else the mode of the file that it replaces.
    """
    target = root / relative
    temporary = f".{target.name}{TEMPORARY}"
    with registry_errors(f"write {target}", target), ExitStack() as cleanup:
        directory = cleanup.enter_context(directory_below(root, target.parent))
        old = _attributes_of(directory, target)
        _remove(directory, temporary)
        cleanup.callback(_remove_if_possible, directory, temporary)
        written = cleanup.enter_context(ExitStack())
        observe("open")
        # The new file may replace a private one, so no other user may read it even while it is unfinished.
        file = os.open(
            temporary, _NEW_FILE, 0o600 if old or mode is not None else NEW_FILE_MODE, dir_fd=directory
        )
        written.callback(os.close, file)
        observe("write")
        _write_parts(file, parts)
        not_kept = attributes.give(file, old, target) if old else ()
        if mode is not None:
            os.fchmod(file, mode)
        observe("fsync")
        # After a failed fsync the kernel may have dropped the data. So never sync again, but write again.
        os.fsync(file)
        return Staged(target, os.fstat(file), not_kept, directory, temporary, written, cleanup.pop_all())


def discard(root: Path, relative: Path | str) -> None:
    """Remove the temporary file that a killed process left. If that fails, the next write removes it."""
    target = root / relative
    with suppress(OSError, RegistryError), directory_below(root, target.parent) as directory:
        _remove(directory, f".{target.name}{TEMPORARY}")


@contextmanager
def directory_below(root: Path, wanted: Path) -> Iterator[int]:
    """Open a directory below `root`. Missing directories are created.

    Symlinks are followed if they lead to a directory below `root`. Raises RegistryError or OSError.
    """
    directory = _open_below(root, wanted)
    try:
        yield directory
    finally:
        os.close(directory)


def _open_below(root: Path, wanted: Path) -> int:
    names = wanted.relative_to(root).parts
    if ".." not in names:
        try:
            return _open_names(root, names)
        except OSError as exc:  # a symlink is in the way
            if exc.errno not in (errno.ELOOP, errno.ENOTDIR):
                raise
    return _open_names(*_resolved(root, wanted))


def _resolved(root: Path, wanted: Path) -> tuple[Path, Sequence[str]]:
    """Resolve the symlinks once. Return the real root, and the names of the directories below it.

    These are then opened without following symlinks, so that a symlink created in between has no effect.
    """
    top, bottom = Path(os.path.realpath(root)), Path(os.path.realpath(wanted))
    if not bottom.is_relative_to(top):
        raise RegistryError(
            f"{wanted} leads out of {root}, to {bottom}",
            hint="put a directory in the place of the symlink, or name another root",
        )
    return top, bottom.relative_to(top).parts


def _open_names(top: Path, names: Sequence[str]) -> int:
    directory = os.open(top, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    for name in names:
        above = directory
        try:
            directory = _open_or_create(above, name)
        finally:
            os.close(above)
    return directory


def _open_or_create(above: int, name: str) -> int:
    try:
        return os.open(name, _DIRECTORY, dir_fd=above)
    except FileNotFoundError:
        with suppress(FileExistsError):
            os.mkdir(name, dir_fd=above)
        os.fsync(above)
        return os.open(name, _DIRECTORY, dir_fd=above)


def _attributes_of(directory: int, target: Path) -> attributes.Attributes | None:
    """Return the attributes of the file to be replaced; None if there is no regular file."""
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


def _remove_if_possible(directory: int, name: str) -> None:
    """Remove a temporary file. If that fails, the next write of the file does it."""
    with suppress(OSError):
        os.unlink(name, dir_fd=directory)


def _write_parts(file: int, parts: Sequence[bytes | memoryview]) -> None:
    rest = [memoryview(part).cast("B") for part in parts if len(part)]
    while rest:
        rest = _skip(rest, os.writev(file, rest[:MOST_PARTS]))


def _skip(parts: list[memoryview], written: int) -> list[memoryview]:
    """Return the rest of `parts` after the first `written` bytes."""
    whole = 0
    while whole < len(parts) and written >= len(parts[whole]):
        written -= len(parts[whole])
        whole += 1
    rest = parts[whole:]
    return [rest[0][written:], *rest[1:]] if written else rest
