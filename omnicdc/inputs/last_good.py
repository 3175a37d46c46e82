"""The last valid version of a person's file: a file that breaks changes nothing, not even across a restart.

A file that had entries and holds no list any more is taken as one whose write was cut off; `[]` is the way to
say none.
"""

from __future__ import annotations

import os.path
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Generic, TypeVar

from omnicdc.errors import OmnicdcError, RegistryError
from omnicdc.inputs import cache
from omnicdc.inputs.reading import Reading
from omnicdc.inputs.yaml_source import content

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

LAST_GOOD = "the last valid version stays in force"
NONE_GOOD = "no valid version of it is known, so none of its entries apply"

T = TypeVar("T")
Signature = tuple[int | None, ...] | None


@dataclass(frozen=True, slots=True)
class KeptFile(Generic[T]):
    """A person's file, the copy of its last good text, and how either is understood."""

    path: Path
    copy: Path
    parse: Callable[[bytes, str], Reading[T]]
    top: str
    """The key of its list."""

    def signature(self) -> Signature:
        """Return what differs once the file was written anew, or made readable.

        Its error where there is none.
        """
        try:
            stat = self.path.stat()
        except OSError as exc:
            return exc.errno, os.path.islink(self.path)  # noqa: PTH114 - never raises
        return stat.st_mtime_ns, stat.st_ctime_ns, stat.st_size, stat.st_ino

    def read(self, before: T | None = None) -> Reading[T]:
        """Read the file; one that is broken gives `before` or what its copy holds, and a fault.

        Writes nothing.
        """
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
            data = content(self.path)
            reading = self.parse(data or b"", str(self.path))
        except RegistryError as exc:
            known = before is not None or os.path.exists(self.copy)  # noqa: PTH110 - never raises
            fault = RegistryError(f"{exc.message}; {LAST_GOOD if known else NONE_GOOD}", hint=exc.hint)
            return Reading(self._copied() if before is None else before, (str(fault),)), None
        if not reading.blank or not (last := self._copied() if before is None else before):
            return reading, data or b""
        if data is None:
            gone = f"{self.path}: the file was removed; the entries that it had no longer apply"
            return replace(reading, notices=(gone,)), b""
        emptied = f"{self.path}:1: no list any more, as after a write that was cut off; {LAST_GOOD}"
        return Reading(last, (f"{emptied} - write `{self.top}: []` if there are to be none",)), None

    def _copied(self) -> T:
        """Return what the copy holds; of a copy that is broken or cannot be read, nothing."""
        try:
            return self.parse(content(self.copy) or b"", str(self.copy)).value
        except RegistryError:
            return self.parse(b"", str(self.copy)).value
