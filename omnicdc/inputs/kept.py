"""The last valid version of a person's file: a file that breaks changes nothing, not even across a restart."""

from __future__ import annotations

import os.path
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Generic, TypeVar

from omnicdc.errors import OmnicdcError, RegistryError
from omnicdc.inputs import cache
from omnicdc.inputs.reading import Reading
from omnicdc.inputs.written import content

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

T = TypeVar("T")
Signature = tuple[int, int, int, int] | int | None


@dataclass(frozen=True, slots=True)
class KeptFile(Generic[T]):
    """A person's file, the copy of its last good text, and how either is understood."""

    path: Path
    copy: Path
    parse: Callable[[bytes, str], Reading[T]]

    def signature(self) -> Signature:
        """Return what differs once the file was written anew, or made readable; its error where there is none."""
        try:
            stat = self.path.stat()
        except OSError as exc:
            return exc.errno
        return stat.st_mtime_ns, stat.st_ctime_ns, stat.st_size, stat.st_ino

    def read(self, before: T | None = None) -> Reading[T]:
        """Read the file; one that is broken gives `before` or what its copy holds, and a fault. Writes nothing."""
        return self._read(before)[0]

    def read_and_keep(self, before: T | None = None) -> Reading[T]:
        """As `read`, and a good text is copied, so that the next start has it; a fault where it cannot be."""
        reading, good = self._read(before)
        try:
            if good or (good is not None and os.path.exists(self.copy)):  # noqa: PTH110 - never raises
                cache.write(self.copy, good)
        except OmnicdcError as exc:
            return replace(reading, faults=(*reading.faults, str(exc)))
        return reading

    def _read(self, before: T | None) -> tuple[Reading[T], bytes | None]:
        """Return also the text if it was good: empty where there is no file, None where it is broken."""
        try:
            data = content(self.path) or b""
            return self.parse(data, str(self.path)), data
        except RegistryError as exc:
            return Reading(self._copied() if before is None else before, (str(exc),)), None

    def _copied(self) -> T:
        """Return what the copy holds; of a copy that is broken or cannot be read, nothing."""
        try:
            return self.parse(content(self.copy) or b"", str(self.copy)).value
        except RegistryError:
            return self.parse(b"", str(self.copy)).value
