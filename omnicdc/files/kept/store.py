"""Writes kept generations: first the missing blocks, then the record, so that a record finds its blocks.

Nothing is synced. After a power failure the last record or some blocks may be lost or damaged. `Store`
removes what is damaged when it is opened, and the next generation writes the blocks that it needs. `reading`
checks each block.
"""

from __future__ import annotations

import errno
import fcntl
import os
from hashlib import sha256
from typing import TYPE_CHECKING

import structlog

from omnicdc.errors import Interrupted, RegistryError
from omnicdc.files.kept.bounds import Bounds, Room, Usage, excess, on_disk
from omnicdc.files.kept.places import Places, RecordName
from omnicdc.files.kept.record import decode, encode
from omnicdc.filesystem import regular
from omnicdc.filesystem.atomic import no_observer
from omnicdc.filesystem.remedy import TEMPORARY, registry_errors

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from omnicdc.files.kept.record import KeptGeneration

log = structlog.get_logger()

MOST_REMOVED = 5000
"""The most blocks that are removed at once. The next generation removes the others."""

_NEW = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC


class Changed(RegistryError):  # noqa: N818 - named for the state
    """Another process changed a file before its generation was kept. A later cycle finds what is there."""


class Store:
    """The kept generations of one state directory. One thread of one process uses it, because it has a lock.

    After an error it must be closed. The next one begins with what is on the disk.
    """

    def __init__(
        self,
        state_dir: Path,
        bounds: Bounds,
        observe: Callable[[str], None] = no_observer,
        going_on: Callable[[], bool] = lambda: True,
    ) -> None:
        """Open the store, and remove what is damaged. Raises RegistryError and Interrupted."""
        self._places, self._bounds = Places.below(state_dir), bounds
        self._observe, self._going_on = observe, going_on
        self._uses: dict[str, tuple[int, int]] = {}
        """Digest to the number of records that name the block, and its length."""
        self._names: list[RecordName] = []
        """The records, the oldest first."""
        self._newest: KeptGeneration | None = None
        self._size = 0
        """What blocks and records take, in bytes."""
        top = self._places.top
        with registry_errors(f"open the kept generations in {top}", top):
            self._step("open")
            for directory in (top, self._places.blocks, self._places.records):
                _create(directory)
            self._lock = _locked(self._places)
            try:
                self._load()
                self._remove_damaged()
            except BaseException:
                self.close()
                raise

    def close(self) -> None:
        """Release the lock."""
        os.close(self._lock)

    def keep(self, kept: KeptGeneration, sources: Mapping[str, int], reserve: int) -> None:
        """Add a generation, and drop the oldest ones that are beyond the bounds.

        `sources` is the open file of each registry, by its path below the root. `reserve` is how many bytes
        must stay free on the disk. A generation that is there is not added again. Raises RegistryError, and
        Interrupted if the work should not go on.
        """
        top = self._places.top
        with registry_errors(f"keep generation {kept.number} in {top}", top):
            if self._newest and self._newest.same_files(kept):
                return
            record = encode(kept)
            present = {it.name for it in os.scandir(self._places.blocks)}
            missing = {digest: length for length, digest in kept.blocks() if digest not in present}
            self._use(kept, 1)
            self._size += on_disk(len(record))
            added = on_disk(len(record)) + sum(map(on_disk, missing.values()))
            self._make_room(kept.number, Room(added, len(missing) + 1), reserve)
            self._remove_unused(present)
            self._write_blocks(kept, missing, sources)
            name = RecordName(self._names[-1].sequence + 1 if self._names else 1, kept.number)
            self._write(self._places.record(name), record, "record")
            self._names.append(name)
            self._newest = kept
            self._step("done")

    def give_way(self, reserve: int) -> None:
        """Drop the oldest generations until so many bytes are free on the disk. Raises RegistryError."""
        top = self._places.top
        with registry_errors(f"drop kept generations in {top}", top):
            while self._names and not _free(top).fits(reserve):
                self._drop_oldest()
                self._remove_unused({it.name for it in os.scandir(self._places.blocks)})

    def _load(self) -> None:
        for name in self._places.record_names():
            path = self._places.record(name)
            try:
                kept = decode(data := regular.read(path))
            except ValueError as exc:
                log.warning("kept_generation_lost", generation=name.generation, error=str(exc))
                path.unlink()
                continue
            self._use(kept, 1)
            self._size += on_disk(len(data))
            self._names.append(name)
            self._newest = kept

    def _remove_damaged(self) -> None:
        """Remove blocks of a wrong length, and blocks of the newest generation that have other bytes.

        The next generation needs most blocks of the newest one, so these are read.
        """
        newest = {digest for _, digest in self._newest.blocks()} if self._newest else set()
        for found in os.scandir(self._places.blocks):
            self._check_going_on()
            _, length = self._uses.get(found.name, (0, -1))
            sound = found.stat(follow_symlinks=False).st_size == length and (
                found.name not in newest
                or sha256(regular.read(self._places.block(found.name))).hexdigest() == found.name
            )
            if not sound:
                self._places.block(found.name).unlink()

    def _use(self, kept: KeptGeneration, change: int) -> None:
        """Count the blocks of a record as used once more (`change` is 1) or once less (-1)."""
        for length, digest in kept.blocks():
            uses, _ = self._uses.pop(digest, (0, length))
            if uses + change:
                self._uses[digest] = (uses + change, length)
            self._size += on_disk(length) * (bool(uses + change) - bool(uses))

    def _make_room(self, number: int, added: Room, reserve: int) -> None:
        """Drop the oldest generations until the new one fits. Its size is counted already.

        Raises RegistryError if it does not fit alone.
        """
        found, size, blocks = _free(self._places.top), self._size, len(self._uses)
        while beyond := excess(
            self._bounds,
            Usage(
                len(self._names) + 1,
                self._size,
                # What is dropped is removed only afterwards.
                Room(
                    found.size - added.size + size - self._size,
                    found.files - added.files + blocks - len(self._uses),
                ),
                reserve,
            ),
        ):
            if not self._names:
                raise _too_large(beyond, number, self._size, self._places.top, found)
            self._drop_oldest()

    def _drop_oldest(self) -> None:
        self._step("drop")
        path = self._places.record(self._names[0])
        data = regular.read(path)
        path.unlink()
        self._use(decode(data), -1)
        self._size -= on_disk(len(data))
        del self._names[0]
        if not self._names:
            self._newest = None

    def _remove_unused(self, present: set[str]) -> None:
        for digest in [it for it in present if it not in self._uses][:MOST_REMOVED]:
            self._step("remove")
            self._places.block(digest).unlink(missing_ok=True)

    def _write_blocks(
        self, kept: KeptGeneration, missing: dict[str, int], sources: Mapping[str, int]
    ) -> None:
        for path, published in kept.manifest.registries.items():
            offset = 0
            for length, digest in published.blocks:
                if missing.pop(digest, None) is not None:
                    self._check_going_on()
                    block = os.pread(sources[path], length, offset) if path in sources else b""
                    if sha256(block).hexdigest() != digest:
                        raise Changed(f"{path} was changed before generation {kept.number} was kept")
                    self._write(self._places.block(digest), block, "block")
                offset += length

    def _write(self, path: Path, data: bytes, step: str) -> None:
        """Write a file under a temporary name, and rename it, so that a kill never leaves half of it."""
        temporary = path.with_name(f".new{TEMPORARY}")
        self._step(step)
        file = os.open(temporary, _NEW, 0o600)
        try:
            rest = memoryview(data)
            while rest:
                rest = rest[os.write(file, rest) :]
        finally:
            os.close(file)
        self._step(f"rename {step}")
        temporary.rename(path)

    def _step(self, name: str) -> None:
        self._check_going_on()
        self._observe(f"keep {name}")

    def _check_going_on(self) -> None:
        if not self._going_on():
            raise Interrupted("a stop was requested while a generation was kept")


def remove_all(state_dir: Path) -> None:
    """Remove all kept generations. A repeat is harmless. Raises RegistryError."""
    places = Places.below(state_dir)
    if not places.top.is_dir():
        return
    with registry_errors(f"remove the kept generations in {places.top}", places.top):
        lock = _locked(places)
        try:
            for directory in (places.records, places.blocks):
                for found in directory.iterdir() if directory.is_dir() else ():
                    found.unlink()
        finally:
            os.close(lock)


def _create(directory: Path) -> None:
    """Create a directory that only this user can read, unless it is there."""
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    except FileExistsError as exc:
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(directory)) from exc


def _locked(places: Places) -> int:
    """Open and lock the store. Raises RegistryError if another process has the lock."""
    lock = os.open(places.lock, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as exc:
        os.close(lock)
        if not isinstance(exc, BlockingIOError):
            raise
        raise RegistryError(
            f"another daemon keeps its generations in {places.top}",
            hint="give each daemon its own `state_dir`, or set `keep_generations: 0` for one of them",
        ) from exc
    return lock


def _free(directory: Path) -> Room:
    found = os.statvfs(directory)
    # Some file systems, such as btrfs, have no fixed number of inodes, and say 0.
    return Room(found.f_bavail * found.f_frsize, found.f_favail if found.f_files else 2**62)


def _too_large(beyond: str, number: int, size: int, top: Path, free: Room) -> RegistryError:
    if beyond == "disk":
        left = f"{_mb(free.size)} and {free.files} inodes" if free.files < 2**62 else _mb(free.size)
        return RegistryError(
            f"generation {number} is not kept: the disk of {top} has {left} left, and the next "
            "publication needs room",
            hint=f"free space: `df -h {top}`, `df -i {top}`; or set `keep_generations: 0`",
        )
    return RegistryError(
        f"generation {number} is not kept: it takes {_mb(size)}, which is more than `keep_bytes`",
        hint="raise `keep_bytes`, or set `keep_generations: 0`",
    )


def _mb(size: int) -> str:
    return f"{size / 1e6:,.1f} MB"
