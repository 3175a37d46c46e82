"""The daemon's memory of one registry file. Only this module changes these fields.

`decide` chooses what to do with a file, `publication` carries it out, `drift` reads and backs up files.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import structlog

from omnicdc.files import drift
from omnicdc.files.decide import Found, Wanted
from omnicdc.files.manifest import describe

if TYPE_CHECKING:
    import os
    from collections.abc import Callable
    from pathlib import Path

    from omnicdc.files.manifest import Signature, Signatures
    from omnicdc.model import Published
    from omnicdc.registries.projection import Projection


log = structlog.get_logger()


@dataclass(slots=True)
class RegistryFile:
    """The file of one projection, below the infrastructure root."""

    projection: Projection
    root: Path
    state_dir: Path
    """Copies of external changes are kept there."""
    restore: bool = True
    """True: undo an external change at once. False: leave it until a change of CMP rewrites the file."""
    published: Published | None = None
    """The file as we last published it; None if that is not known, as at a first start."""
    renamed_not_synced: Published | None = None
    """We renamed this file into place, but fsync failed. It is written again: a second fsync can succeed
    although data was lost."""
    entries_on_disk: int = 0
    """Number of entries of the file found at the start; used while `published` is None."""
    needs_rehash: bool = True
    """True if the whole file must be read to know its content: at a start, and in a sweep."""
    announced: Signatures = field(default_factory=list)
    """Signatures of files that we wrote and that may not be in the manifest yet."""
    drift_reported: bool = False
    """Whether the external change that is in the file now was reported."""
    backed_up: Signature | None = None
    """Signature of the changed file that we reported and backed up; None if there was none."""
    drift_count: int = 0
    """How often an external change was found."""
    _right: Published | None = None
    """The file as `wanted` recognised it, for `adopt`: it is read and hashed once."""
    not_kept: tuple[str, ...] = ()
    """Attributes that could not be copied to the new file, as last reported: each is reported once."""

    @property
    def path(self) -> str:
        """Below the root."""
        return self.projection.scanner.path

    @property
    def name(self) -> str:
        """The registry's name in logs and answers."""
        return self.projection.name

    @property
    def place(self) -> Path:
        """Where it is."""
        return self.root / self.path

    def look(self) -> Found:
        """Return what stands in the place. Raises RegistryError if the disk does not say."""
        if self._is_as_written():
            return Found.OURS
        if self._is_announced():
            return Found.ANNOUNCED
        if drift.signature(self.place) is None:
            return Found.MISSING
        return Found.EDITED if self.published else Found.FOREIGN

    def wanted(self, found: Found) -> Wanted:
        """Compare what the registry should hold with what there is.

        Raises RegistryError if that cannot be read.
        """
        entries = len(self.projection.document)
        before = self.published.count if self.published else self.entries_on_disk
        published = (
            self.published is not None and self._digests(self.published.stamp) == self.published.blocks
        )
        if self.renamed_not_synced:
            there = False
        elif found is Found.OURS and self.published:
            there = published
        else:
            self._right = self._recognised()
            there = self._right is not None
        return Wanted(entries, before, is_there=there, is_published=published)

    def keep(self) -> None:
        """Take the file as right; the number of entries in a manifest may be anybody's, ours is counted."""
        if self.published:
            self.published = dataclasses.replace(self.published, count=len(self.projection.document))
        self.mark_published()

    def adopt(self, observe: Callable[[str], None]) -> None:
        """Take the file that `wanted` recognised as right, and make it durable.

        The process that put it there may have ended before that. It stays as it is, its `generated_at`
        included. Raises RegistryError.
        """
        self.renamed_not_synced, self._right = self._right, None
        drift.make_durable(self.place, observe)
        self.mark_durable()

    def tolerate(self) -> None:
        """Leave an external change, with a copy of it. Raises RegistryError if it cannot be copied."""
        self.back_up()
        self.projection.hold.forget()
        self.projection.dirty = False

    def back_up(self) -> None:
        """Copy a file that is not as it was last published, if there is one; once, however often it is met.

        Raises RegistryError.
        """
        seen = drift.signature(self.place)
        if self.drift_reported and self.backed_up == seen:
            return
        kept = drift.back_up(self.root, self.path, self.state_dir, datetime.now(UTC))
        # As it was before it was copied: what came since is another.
        self.drift_reported, self.backed_up = True, drift.signature(self.place) and seen
        self._report(kept)

    def back_up_external_change(self) -> None:
        """Look once more, and copy what is not ours. Raises RegistryError."""
        if self.look() not in (Found.OURS, Found.ANNOUNCED):
            self.back_up()

    def announce(self, there: Signature | None, new: os.stat_result) -> None:
        """Expect the file that is there, and the one that is about to replace it: both are ours."""
        self.announced = [there, (new.st_size, new.st_mtime_ns, new.st_ino)]

    def back_up_replaced(self, replaced: Path) -> None:
        """Copy what a swap brought out, if another process put it there after the last look.

        Raises RegistryError.
        """
        seen = drift.signature(replaced)
        if seen is not None and seen not in self.announced:
            at = datetime.now(UTC)
            self._report(drift.back_up(self.root, self.path, self.state_dir, at, now_at=replaced))

    def mark_renamed(self, published: Published, not_kept: tuple[str, ...]) -> None:
        """Take a file as what readers see; a power cut may still take it back."""
        self.renamed_not_synced = published
        self.needs_rehash = False
        self.not_kept = report_not_kept(self.name, not_kept, self.not_kept)

    def mark_durable(self) -> None:
        """Take what was put there as published: it is synced."""
        self.published, self.renamed_not_synced = self.renamed_not_synced, None
        self.mark_published()

    def mark_published(self) -> None:
        """Take the file as holding what it should."""
        self.drift_reported = False
        self.projection.mark_published()

    def inspect(self) -> None:
        """Look whether another process changed it.

        What is to be restored is dirty afterwards, other changes are backed up.

        With `on_drift: alert` a change stays until the registry changes; a file that is gone is put back all
        the same. Raises RegistryError.
        """
        if self.published is None or self._is_as_written():
            return
        put_back = drift.recognised(self.root, self.path, self.published.blocks)
        if put_back or self.restore or not drift.signature(self.place):
            # The next cycle syncs what was put back, and backs up what it rewrites.
            self.projection.dirty = True
        else:
            self.back_up()

    def _is_as_written(self) -> bool:
        """Whether it is as it was last put there.

        By its status, and where that is not enough, by reading it.
        """
        last = self.renamed_not_synced or self.published
        if last is None or not drift.intact(self.root, self.path, last):
            return False
        if self.needs_rehash:
            self.needs_rehash = not drift.rehash(self.root, self.path, last)
        return not self.needs_rehash

    def _is_announced(self) -> bool:
        if self.published and drift.intact(self.root, self.path, self.published):
            return False  # the manifest tells of it: only reading the file showed that it was edited
        found = drift.signature(self.place)
        return found is not None and found in self.announced

    def _recognised(self) -> Published | None:
        """Describe the file if it holds exactly what it should, with whatever time in it."""
        stamp = drift.stamp_in(self.place)
        blocks = self._digests(stamp)
        found = drift.recognised(self.root, self.path, blocks)
        return found and describe(blocks, found, len(self.projection.document), stamp)

    def _digests(self, stamp: str) -> drift.Blocks:
        return self.projection.document.digests(self.projection.frame(stamp))

    def _report(self, kept: Path | None) -> None:
        if self.published is not None:
            self.drift_count += 1
            log.warning(
                "drift_found",
                registry=self.name,
                kept=str(kept) if kept else None,
                on_drift="restore" if self.restore else "alert",
            )
        elif kept:
            log.info("foreign_file_backed_up", registry=self.name, kept=str(kept))


def report_not_kept(file: str, not_kept: tuple[str, ...], reported: tuple[str, ...]) -> tuple[str, ...]:
    """Log the attributes that a file lost when it was replaced, unless they were reported.

    Returns what is reported.
    """
    new = [name for name in not_kept if name not in reported]
    if not new:
        return reported
    log.warning("attributes_not_kept", registry=file, attributes=new)
    return (*reported, *new)
