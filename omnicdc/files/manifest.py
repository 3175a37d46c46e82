"""The manifest: a file beside the registries that describes what was published.

Users and tools read it, and so does the guard after a restart. It only saves time: if it is missing or does
not match the files, the files are read instead.
"""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeVar

import orjson

from omnicdc.errors import RegistryError
from omnicdc.filesystem import regular
from omnicdc.filesystem.atomic import REGISTRY, directory_below, stage
from omnicdc.model import Published

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

T = TypeVar("T")

MANIFEST = REGISTRY / "omnicdc_manifest.json"
ANNOUNCED = REGISTRY / ".omnicdc_announced.json"
VERSION = 1

Signature = tuple[int, int, int]
"""Size, time and inode of a file."""

Signatures = list[Signature | None]
"""Signatures of a replaced file and of the file that replaced it."""

_NOTE = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class Manifest:
    """One generation: its consumer, its snapshot, and each file as it was published."""

    consumer: str
    generation: int
    snapshot: str
    published_at: datetime
    registries: Mapping[str, Published]
    """The file's path below the root, to its description."""


def describe(
    blocks: Sequence[tuple[int, str]], status: os.stat_result, count: int, stamp: str = ""
) -> Published:
    """Describe a published file. `blocks` is length and SHA-256 of each part, `status` its status on disk."""
    return Published(
        count=count,
        size=status.st_size,
        mtime_ns=status.st_mtime_ns,
        inode=status.st_ino,
        stamp=stamp,
        blocks=tuple(blocks),
    )


def write_manifest(root: Path, manifest: Manifest) -> tuple[str, ...]:
    """Write the manifest, after its files. Return `Staged.not_kept`. Raises RegistryError."""
    with stage(root, MANIFEST, [orjson.dumps(as_json(manifest), option=orjson.OPT_APPEND_NEWLINE)]) as staged:
        staged.swap()
        staged.sync()
        return staged.not_kept


def read_manifest(root: Path) -> Manifest | None:
    """Return the manifest; None if it is missing, unreadable or of another version."""
    try:
        return decoded(orjson.loads(regular.read(root / MANIFEST)))
    except (OSError, ValueError, TypeError, KeyError):
        return None


def announce(root: Path, files: Mapping[str, Signatures]) -> None:
    """Record which files are ours, just before the swap, because the manifest is written only later.

    If the daemon is killed in between, the next one knows from this note that these are no external changes.
    The note is one line, written in place and not synced. If a power failure loses it, the files are backed
    up as external changes. A repeat replaces the note. Errors are ignored.
    """
    with suppress(OSError, RegistryError), directory_below(root, root / REGISTRY) as directory:
        _remove_unless_regular(directory)
        file = os.open(ANNOUNCED.name, _NOTE, 0o644, dir_fd=directory)
        try:
            # Check the open file, because the one that was checked before may have been replaced.
            if regular.has_one_name(os.fstat(file)):
                os.write(file, orjson.dumps(files, option=orjson.OPT_APPEND_NEWLINE))
        finally:
            os.close(file)


def _remove_unless_regular(directory: int) -> None:
    """Remove a file that must not be written in place: a symlink, a pipe, or a hard link of another file."""
    with suppress(FileNotFoundError):
        if not regular.has_one_name(os.stat(ANNOUNCED.name, dir_fd=directory, follow_symlinks=False)):
            os.unlink(ANNOUNCED.name, dir_fd=directory)


def read_announced(root: Path) -> dict[str, Signatures]:
    """Return the last announced files, by path below the root. Empty if the note cannot be read."""
    try:
        raw = orjson.loads(regular.read(root / ANNOUNCED).partition(b"\n")[0])
        return {
            path: [found and _signature(*found) for found in signatures] for path, signatures in raw.items()
        }
    except (OSError, ValueError, TypeError, AttributeError):
        return {}


def is_published(root: Path, relative: str, found: Signature) -> bool:
    """Return True if the daemon has announced or published a file with this signature at this path."""
    if found in read_announced(root).get(relative, ()):
        return True
    manifest = read_manifest(root)
    known = manifest.registries.get(relative) if manifest else None
    return known is not None and found == (known.size, known.mtime_ns, known.inode)


def _signature(size: int, mtime_ns: int, inode: int) -> Signature:
    return size, mtime_ns, inode


def as_json(manifest: Manifest) -> dict[str, object]:
    """Return the manifest's content, for JSON."""
    return {
        "version": VERSION,
        "consumer": manifest.consumer,
        "generation": manifest.generation,
        "snapshot": manifest.snapshot,
        "published_at": manifest.published_at.isoformat(),
        "registries": {path: _described(published) for path, published in manifest.registries.items()},
    }


def _described(published: Published) -> dict[str, object]:
    return {
        "count": published.count,
        "size": published.size,
        "generated_at": published.stamp,
        "mtime_ns": published.mtime_ns,
        "inode": published.inode,
        "blocks": published.blocks,
    }


def decoded(raw: dict[str, Any]) -> Manifest:
    """Return the manifest with this content. Raises ValueError, TypeError or KeyError for anything else."""
    if raw["version"] != VERSION:
        raise ValueError(f"version {VERSION} expected")
    return Manifest(
        consumer=_checked(str, raw["consumer"]),
        generation=_generation(raw["generation"]),
        snapshot=_checked(str, raw["snapshot"]),
        published_at=datetime.fromisoformat(raw["published_at"]),
        registries={path: _published(it) for path, it in _checked(dict, raw["registries"]).items()},
    )


def _published(raw: dict[str, Any]) -> Published:
    return Published(
        count=_checked(int, raw["count"]),
        size=_checked(int, raw["size"]),
        mtime_ns=_checked(int, raw["mtime_ns"]),
        inode=_checked(int, raw["inode"]),
        stamp=_checked(str, raw["generated_at"]),
        blocks=tuple(
            (_checked(int, length), _checked(str, digest)) for length, digest in _checked(list, raw["blocks"])
        ),
    )


def _generation(value: object) -> int:
    """Return a generation. Raise ValueError if it is so large that omnicdc cannot have written it."""
    generation = _checked(int, value)
    if not 0 <= generation < 1 << 62:
        raise ValueError("a generation expected")
    return generation


def _checked(kind: type[T], value: object) -> T:
    if not isinstance(value, kind) or isinstance(value, bool):
        raise TypeError(f"{kind.__name__} expected")
    return value
