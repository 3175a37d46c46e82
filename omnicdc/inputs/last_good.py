"""Keeps the last valid version of people's files. It is used while a file is invalid, even at a restart.

If a file had entries and now has no list, its write was probably cut off, so this counts as invalid. An empty
list is written as `[]`.
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
    """One of people's files, the copy of its last valid text, and the parser of both."""

    path: Path
    copy: Path
    parse: Callable[[bytes, str], Reading[T]]
    top: str
    """The key of the list in the file."""

    def signature(self) -> Signature:
        """Return a value that changes if the file is written or becomes readable.

        If the file cannot be read, the value contains the error.
        """
        try:
            stat = self.path.stat()
        except OSError as exc:
            return exc.errno, os.path.islink(self.path)  # noqa: PTH114 - never raises
        return stat.st_mtime_ns, stat.st_ctime_ns, stat.st_size, stat.st_ino

    def read(self, before: T | None = None) -> Reading[T]:
        """Read the file. If it is invalid, return `before`, or else the content of the copy, and a fault.

        This writes nothing.
        """
        return self._read(before)[0]

    def read_and_keep(self, before: T | None = None) -> Reading[T]:
        """As `read`, and copy a valid text for the next start. If that fails, there is one more fault."""
        reading, good = self._read(before)
        try:
            if good or (good is not None and os.path.exists(self.copy)):  # noqa: PTH110 - never raises
                cache.write(self.copy, good)
        except OmnicdcError as exc:
            return replace(reading, faults=(*reading.faults, str(exc)))
        return reading

    def _read(self, before: T | None) -> tuple[Reading[T], bytes | None]:
        """As `read`, and also return the text: empty if there is no file, None if it is invalid."""
        try:
            data = content(self.path)
            reading = self.parse(data or b"", str(self.path))
        except RegistryError as exc:
            known = before is not None or os.path.exists(self.copy)  # noqa: PTH110 - never raises
            fault = RegistryError(f"{exc.message}; {LAST_GOOD if known else NONE_GOOD}", hint=exc.hint)
            return Reading(self._read_copy() if before is None else before, (str(fault),)), None
        if not reading.blank or not (last := self._read_copy() if before is None else before):
            return reading, data or b""
        if data is None:
            gone = f"{self.path}: the file was removed; the entries that it had no longer apply"
            return replace(reading, notices=(gone,)), b""
        emptied = f"{self.path}:1: no list any more, as after a write that was cut off; {LAST_GOOD}"
        return Reading(last, (f"{emptied} - write `{self.top}: []` if there are to be none",)), None

    def _read_copy(self) -> T:
        """Return the content of the copy; nothing if the copy is invalid or cannot be read."""
        try:
            return self.parse(content(self.copy) or b"", str(self.copy)).value
        except RegistryError:
            return self.parse(b"", str(self.copy)).value
