"""The manifest's own file: when it is to be written, and what went wrong the last time."""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import structlog

from omnicdc.errors import RegistryError
from omnicdc.files import drift
from omnicdc.files.manifest import MANIFEST, Manifest, Signature, write_manifest
from omnicdc.files.registry_file import report_not_kept

if TYPE_CHECKING:
    from pathlib import Path

log = structlog.get_logger()


@dataclass(slots=True)
class ManifestFile:
    """It only helps the next start: a manifest that cannot be written fails nothing."""

    root: Path
    state_dir: Path
    due: bool = False
    """Whether it does not tell of the files as they are."""
    retrying: bool = False
    """Whether one that could not be written is tried again in the next cycle."""
    seen: Signature | None = None
    """Which file does; None if none does."""
    not_kept: tuple[str, ...] = ()
    """As `RegistryFile.not_kept`."""
    error: str | None = None
    error_at: datetime | None = None

    def there(self) -> Signature | None:
        """Return which file is in its place now."""
        return drift.signature(self.root / MANIFEST)

    def inspect(self) -> None:
        """Have it written again if another process changed it."""
        self.due |= self.seen is None or self.there() != self.seen

    def write(self, manifest: Manifest) -> None:
        """Publish it; a failure is logged once, and it is tried again later."""
        try:
            if os.path.isdir(self.root / MANIFEST):  # noqa: PTH112 - never raises
                drift.back_up(self.root, MANIFEST, self.state_dir, datetime.now(UTC))
            lost = write_manifest(self.root, manifest)
            self.not_kept = report_not_kept(MANIFEST.name, lost, self.not_kept)
        except RegistryError as exc:
            if self.error != str(exc):
                log.warning("manifest_not_written", error=exc.message, hint=exc.hint)
            self.due, self.error, self.error_at = True, str(exc), datetime.now(UTC)
        else:
            self.due, self.error, self.error_at = False, None, None
            self.seen = self.there()
