"""Reads the entries of a registry file, in any layout, if the file parses.

A file whose digests are those of the manifest is complete. Its blocks are searched while they are hashed. Any
other file is read as a whole, and its structure is checked. `formats.layout` finds the entries in a file.
"""

from __future__ import annotations

import os
import re
import stat
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING

from omnicdc.errors import RegistryError
from omnicdc.filesystem.regular import without_waiting
from omnicdc.filesystem.remedy import registry_errors
from omnicdc.formats.projects import Items
from omnicdc.formats.yaml_values import own_entries, own_fields, yaml_value

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence
    from io import FileIO
    from pathlib import Path

    from omnicdc.formats.item import Item
    from omnicdc.formats.layout import Layout
    from omnicdc.model import Published

REMEDY = "`omnicdc rebuild`: the daemon keeps a copy of the file and writes it anew"

NOT_PARSED = (ValueError, LookupError, TypeError, AttributeError)
"""What a layout may raise for content that it does not know. Ours raise ValueError; a plug-in's may not."""

_DOCUMENT_ENDS = re.compile(rb"^(?:---|\.\.\.)", re.MULTILINE)
_KEY = re.compile(rb"^(?:- |  )([a-z_]+):", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class ParseLimits:
    """How many bytes of YAML that omnicdc did not write are parsed."""

    whole: int = 4_000_000
    """A file in another layout is parsed up to this size, which takes ten seconds."""
    entries: int = 250_000
    """If more bytes than this are in entries of another layout, the whole file is parsed at once."""


@dataclass(frozen=True, slots=True)
class Contents:
    """A file that parses. `parsed` is None if the layout is ours: then the bytes can be searched."""

    layout: Layout
    data: bytes
    parsed: object = None

    def items(self, project: str, entry_keys: Collection[str], needles: Sequence[bytes]) -> list[Item]:
        """Return the entries that name a project, and those with these entry keys. Raises RegistryError.

        Each such entry must contain one of the `needles`: they are searched in the bytes.
        """
        try:
            items = self.layout.items(self.parsed) if self.parsed is not None else self._mentioning(needles)
            return [item for item in items if project in item.projects or item.entry_key in entry_keys]
        except NOT_PARSED as exc:
            raise RegistryError(f"the file holds something else than entries: {exc}", hint=REMEDY) from exc

    def _mentioning(self, needles: Sequence[bytes]) -> Iterable[Item]:
        return map(self.layout.item, self.layout.mentioning(self.data, needles))


def read_contents(
    layout: Layout, path: Path, published: Published | None, needles: Sequence[bytes]
) -> Contents | None:
    """Return a file's contents, at least the entries that contain a needle; None if there is no file.

    Raises RegistryError if the file cannot be read or does not parse.
    """
    with registry_errors(f"read {path}", path):
        try:
            file = open(path, "rb", buffering=0, opener=without_waiting)  # noqa: SIM115 - closed below
        except (FileNotFoundError, NotADirectoryError):
            return None
        with file:
            blocks = _published_blocks(file, published, needles) if published else None
            data = _read_all(file) if blocks is None else b""
    return understand(layout, data) if blocks is None else Contents(layout, blocks)


def content(path: Path) -> bytes | None:
    """Return a file's bytes; None if there is no file. Raises RegistryError if it cannot be read."""
    with registry_errors(f"read {path}", path):
        try:
            with open(path, "rb", buffering=0, opener=without_waiting) as file:
                return _read_all(file)
        except (FileNotFoundError, NotADirectoryError):
            return None


_LIMITS = ParseLimits()


def understand(layout: Layout, data: bytes, limits: ParseLimits = _LIMITS) -> Contents:
    """Check that a file's bytes parse, and return them as Contents. Raises RegistryError if they do not."""
    try:
        if isinstance(layout, Items):
            _check_end(data)
            if _has_our_layout(data, limits):
                return Contents(layout, data)
        parsed = layout.parse(data)
        layout.header(parsed), layout.items(parsed)
    except NOT_PARSED as exc:
        raise RegistryError(f"the file does not parse: {exc}", hint=REMEDY) from exc
    return Contents(layout, data, parsed)


def _read_all(file: FileIO) -> bytes:
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        raise RegistryError(f"{file.name} is not a file", hint=f"`ls -l {file.name}`")
    file.seek(0)
    return file.read()


def _published_blocks(file: FileIO, published: Published, needles: Sequence[bytes]) -> bytes | None:
    """Return the blocks that contain a needle if the file is exactly the published one; else None.

    All blocks are read into the same buffer, because it then stays in the processor's cache.
    """
    status, lengths = os.fstat(file.fileno()), [length for length, _ in published.blocks]
    if not stat.S_ISREG(status.st_mode) or status.st_size != sum(lengths) or min(lengths, default=-1) < 0:
        return None
    buffer, kept = bytearray(max(lengths)), [b"\n"]
    for length, digest in published.blocks:
        with memoryview(buffer)[:length] as block:
            if file.readinto(block) != length or sha256(block).hexdigest() != digest:
                return None
        if any(buffer.find(needle, 0, length) >= 0 for needle in needles):
            kept.append(bytes(buffer[:length]))
    return b"".join(kept)


def _check_end(data: bytes) -> None:
    """Raise ValueError if the data cannot be the end of a file of ours.

    This is needed because YAML that was cut off often still parses.
    """
    first, last = data.find(b"\n- ") + 1, data.rfind(b"\n- ") + 1
    keys, last_keys = _KEY.findall(data, first, _entry_end(data, first)), _KEY.findall(data, last)
    if not data.endswith(b"\n") or (len(last_keys) < len(keys) and last_keys == keys[: len(last_keys)]):
        raise ValueError("it ends in the middle of an entry or a line")


def _has_our_layout(data: bytes, limits: ParseLimits) -> bool:
    """Return True if each entry of a YAML file parses alone.

    Raises ValueError if not, and if the file is too large to be parsed at once.
    """
    try:
        _check_entries(data, limits.entries)
    except _Foreign as exc:
        if len(data) > limits.whole:
            reason = f"{exc}, and {len(data)} bytes laid out in another way take too long"
            raise ValueError(reason) from exc
        return False
    return True


class _Foreign(Exception):  # noqa: N818 - never leaves this module
    """The file cannot be parsed entry by entry. It may still be valid."""


def _check_entries(data: bytes, most: int) -> None:
    """Check the head, then each entry alone. If all parse, so does the file. Raises _Foreign."""
    at = data.find(b"\n- ") + 1
    if not at or not _is_head(data[:at]):
        raise _Foreign("its head is not ours")
    keys = _KEY.findall(data, at, _entry_end(data, at))
    odd = 0
    while (at := own_entries(data, at, dict.fromkeys(keys))) < len(data):
        end = _entry_end(data, at)
        if own_fields(data[at + 2 : end].removesuffix(b"\n")) is None:
            odd += end - at
            if odd > most or not _is_entry(data[at:end]):
                line = data.count(b"\n", 0, at) + 1
                raise _Foreign(f"the entry at line {line} does not parse by itself")
        at = end


def _entry_end(data: bytes, at: int) -> int:
    end = data.find(b"\n- ", at)
    return len(data) if end < 0 else end + 1


def _is_head(head: bytes) -> bool:
    try:
        parsed = yaml_value(head)
    except ValueError:
        return False
    return isinstance(parsed, dict) and [*parsed][-1:] == ["projects"] and parsed["projects"] is None


def _is_entry(entry: bytes) -> bool:
    if _DOCUMENT_ENDS.search(entry):
        return False
    try:
        parsed = yaml_value(entry)
    except ValueError:
        return False
    return isinstance(parsed, list) and len(parsed) == 1 and isinstance(parsed[0], dict)
