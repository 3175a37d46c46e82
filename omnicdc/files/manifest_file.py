"""The state of the manifest's own file: whether it must be written, and the last error."""

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
    """The manifest only makes the next start faster. So if it cannot be written, no registry is held."""

    root: Path
    state_dir: Path
    due: bool = False
    """True if the manifest does not describe the present files, or was changed: it must be written."""
    retrying: bool = False
    """True if the next cycle tries again to write it after an error."""
    known_signature: Signature | None = None
    """Signature of the file that we last wrote or read; None if there is none."""
    not_kept: tuple[str, ...] = ()
    """As `RegistryFile.not_kept`."""
    error: str | None = None
    error_at: datetime | None = None

    def signature(self) -> Signature | None:
        """Return the signature of the file on disk."""
        return drift.signature(self.root / MANIFEST)

    def inspect(self) -> None:
        """Mark it as due if another process changed it."""
        self.due |= self.known_signature is None or self.signature() != self.known_signature

    def write(self, manifest: Manifest) -> None:
        """Write the manifest. A failure is logged once, and the manifest stays due."""
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
            self.known_signature = self.signature()
