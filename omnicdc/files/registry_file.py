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
    """Backups of external changes are in this directory."""
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
    """True if the present external change of the file was reported."""
    backed_up: Signature | None = None
    """Signature of the changed file that we reported and backed up; None if there was none."""
    drift_count: int = 0
    """Number of external changes found since the start."""
    _recognised_file: Published | None = None
    """The file as `wanted` recognised it. `adopt` uses it, so that the file is read only once."""
    not_kept: tuple[str, ...] = ()
    """Attributes that could not be copied to the new file, as last reported: each is reported once."""

    @property
    def path(self) -> str:
        """Path of the file below the root."""
        return self.projection.scanner.path

    @property
    def name(self) -> str:
        """The registry's name in logs and answers: its file name."""
        return self.projection.name

    @property
    def full_path(self) -> Path:
        """Path of the file, including the root."""
        return self.root / self.path

    def load(self, published: Published | None, announced: Signatures, entries_on_disk: int) -> None:
        """Set these fields at a start, from the files that an earlier process left."""
        self.published, self.announced, self.entries_on_disk = published, announced, entries_on_disk

    def classify(self) -> Found:
        """Classify the file on disk. Raises RegistryError if it cannot be read."""
        if self._is_as_written():
            return Found.OURS
        if self._is_announced():
            return Found.ANNOUNCED
        if drift.signature(self.full_path) is None:
            return Found.MISSING
        return Found.EDITED if self.published else Found.FOREIGN

    def wanted(self, found: Found) -> Wanted:
        """Compare the registry with the file on disk. Raises RegistryError if the file cannot be read."""
        entries = len(self.projection.document)
        before = self.published.count if self.published else self.entries_on_disk
        digests_match = (
            self.published is not None and self._digests(self.published.stamp) == self.published.blocks
        )
        if self.renamed_not_synced:
            there = False
        elif found is Found.OURS and self.published:
            there = digests_match
        else:
            self._recognised_file = self._recognise()
            there = self._recognised_file is not None
        return Wanted(entries, before, is_there=there, is_published=digests_match)

    def keep(self) -> None:
        """Record that the file is right, with our own count of entries: the manifest's may be wrong."""
        if self.published:
            self.published = dataclasses.replace(self.published, count=len(self.projection.document))
        self.mark_published()

    def adopt(self, observe: Callable[[str], None]) -> None:
        """Make the file that `wanted` recognised durable, and record it as published.

        The process that wrote the file may have stopped before fsync. The file does not change, so it keeps
        its `generated_at`. Raises RegistryError if it cannot be synced.
        """
        self.renamed_not_synced, self._recognised_file = self._recognised_file, None
        drift.make_durable(self.full_path, observe)
        self.mark_durable()

    def tolerate(self) -> None:
        """Back up an external change and leave it in the file. Raises RegistryError if the backup fails."""
        self.back_up()
        self.projection.hold.forget()
        self.projection.dirty = False

    def back_up(self) -> None:
        """Back up and report a file that differs from the published one, once for each version of the file.

        Raises RegistryError if it cannot be backed up.
        """
        found_signature = drift.signature(self.full_path)
        if self.drift_reported and self.backed_up == found_signature:
            return
        kept = drift.back_up(self.root, self.path, self.state_dir, datetime.now(UTC))
        # Store the signature taken before the copy: a file that arrived later is a different one.
        self.drift_reported, self.backed_up = True, drift.signature(self.full_path) and found_signature
        self._report(kept)

    def back_up_external_change(self) -> None:
        """Check the file again, and back it up if omnicdc did not write it. Raises RegistryError."""
        if self.classify() not in (Found.OURS, Found.ANNOUNCED):
            self.back_up()

    def announce(self, old: Signature | None, new: os.stat_result) -> None:
        """Record that both the present file (`old`) and the one that will replace it (`new`) are ours."""
        self.announced = [old, (new.st_size, new.st_mtime_ns, new.st_ino)]

    def back_up_replaced(self, replaced: Path) -> None:
        """Back up the replaced file if another process wrote it after our last check.

        Raises RegistryError if it cannot be backed up.
        """
        found_signature = drift.signature(replaced)
        if found_signature is not None and found_signature not in self.announced:
            at = datetime.now(UTC)
            self._report(drift.back_up(self.root, self.path, self.state_dir, at, now_at=replaced))

    def mark_renamed(self, published: Published, not_kept: tuple[str, ...]) -> None:
        """Record that the new file is in place but not yet synced; a power failure may undo it."""
        self.renamed_not_synced = published
        self.needs_rehash = False
        self.not_kept = report_not_kept(self.name, not_kept, self.not_kept)

    def mark_durable(self) -> None:
        """Record that the new file is synced, and so is published."""
        self.published, self.renamed_not_synced = self.renamed_not_synced, None
        self.mark_published()

    def sweep(self) -> None:
        """Make the next cycle scan the registry in full, and read the whole file."""
        self.needs_rehash = True
        self.projection.sweep()

    def mark_published(self) -> None:
        """Record that the file is up to date."""
        self.drift_reported = False
        self.projection.mark_published()

    def inspect(self) -> None:
        """Check whether another process changed the file. If it must be restored, mark the registry dirty.

        With `on_drift: alert` an external change is backed up and stays until the registry changes. Even then
        a missing file is restored. Raises RegistryError if the file cannot be read or backed up.
        """
        if self.published is None or self._is_as_written():
            return
        same_content = drift.recognised(self.root, self.path, self.published.blocks)
        if same_content or self.restore or not drift.signature(self.full_path):
            # The next cycle backs up and rewrites the file. If its content is right, it only syncs the file.
            self.projection.dirty = True
        else:
            self.back_up()

    def _is_as_written(self) -> bool:
        """Return True if the file is the one that we wrote last.

        This compares its status. If `needs_rehash`, it also reads the file.
        """
        last = self.renamed_not_synced or self.published
        if last is None or not drift.intact(self.root, self.path, last):
            return False
        if self.needs_rehash:
            self.needs_rehash = not drift.rehash(self.root, self.path, last)
        return not self.needs_rehash

    def _is_announced(self) -> bool:
        if self.published and drift.intact(self.root, self.path, self.published):
            return False  # its status is as published, but its content is not: it was edited
        found = drift.signature(self.full_path)
        return found is not None and found in self.announced

    def _recognise(self) -> Published | None:
        """Describe the file if its content is right, ignoring its `generated_at`; else return None."""
        stamp = drift.stamp_in(self.full_path, self.projection.scanner.layout)
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
    """Log the attributes that a file lost when it was replaced, except those in `reported`.

    Returns all that are reported now.
    """
    new = [name for name in not_kept if name not in reported]
    if not new:
        return reported
    log.warning("attributes_not_kept", registry=file, attributes=new)
    return (*reported, *new)
