"""What was published, beside the files: for people, for tools, and for the guard after a restart.

A help and never a source: without one, or with one that does not fit, the files are read instead.
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
"""Of one file that was replaced, and of the one in its place."""

_NOTE = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class Manifest:
    """One generation: who published it, from which snapshot, and each file as it was put there."""

    consumer: str
    generation: int
    snapshot: str
    published_at: datetime
    registries: Mapping[str, Published]
    """By the file's path below the root."""


def describe(
    blocks: Sequence[tuple[int, str]], put: os.stat_result, count: int, stamp: str = ""
) -> Published:
    """Describe a file that was published: `blocks` is length and SHA-256 of each part."""
    return Published(
        count=count,
        size=put.st_size,
        mtime_ns=put.st_mtime_ns,
        inode=put.st_ino,
        stamp=stamp,
        blocks=tuple(blocks),
    )


def write_manifest(root: Path, manifest: Manifest) -> tuple[str, ...]:
    """Publish the manifest, after the files it tells of; returns `Staged.not_kept`. Raises RegistryError."""
    with stage(root, MANIFEST, [_encoded(manifest)]) as staged:
        staged.swap()
        staged.sync()
        return staged.not_kept


def read_manifest(root: Path) -> Manifest | None:
    """Return the manifest beside the files; None if it is missing, unreadable or not of this version."""
    try:
        return _decoded(orjson.loads(regular.read(root / MANIFEST)))
    except (OSError, ValueError, TypeError, KeyError):
        return None


def announce(root: Path, files: Mapping[str, Signatures]) -> None:
    """Note which files are ours, just before they are put there: the manifest tells of them only afterwards.

    A daemon that is killed in between leaves them to the next one, which would take them for external
    changes. One line, written in place and not synced: lost in a power cut, the files are backed up like
    external changes.
    """
    with suppress(OSError, RegistryError), directory_below(root, root / REGISTRY) as directory:
        _make_room(directory)
        file = os.open(ANNOUNCED.name, _NOTE, 0o644, dir_fd=directory)
        try:
            # What was looked at may have been replaced since; this is the file that is written to.
            if regular.alone(os.fstat(file)):
                os.write(file, orjson.dumps(files, option=orjson.OPT_APPEND_NEWLINE))
        finally:
            os.close(file)


def _make_room(directory: int) -> None:
    """Remove what another process put there to be written to.

    A link, a pipe, a second name of some other file.
    """
    with suppress(FileNotFoundError):
        if not regular.alone(os.stat(ANNOUNCED.name, dir_fd=directory, follow_symlinks=False)):
            os.unlink(ANNOUNCED.name, dir_fd=directory)


def read_announced(root: Path) -> dict[str, Signatures]:
    """Return what was announced last, by the file's path below the root; nothing if that cannot be read."""
    try:
        told = orjson.loads(regular.read(root / ANNOUNCED).partition(b"\n")[0])
        return {
            path: [found and _signature(*found) for found in signatures] for path, signatures in told.items()
        }
    except (OSError, ValueError, TypeError, AttributeError):
        return {}


def _signature(size: int, mtime_ns: int, inode: int) -> Signature:
    return size, mtime_ns, inode


def _encoded(manifest: Manifest) -> bytes:
    told = {
        "version": VERSION,
        "consumer": manifest.consumer,
        "generation": manifest.generation,
        "snapshot": manifest.snapshot,
        "published_at": manifest.published_at.isoformat(),
        "registries": {path: _told(published) for path, published in manifest.registries.items()},
    }
    return orjson.dumps(told, option=orjson.OPT_APPEND_NEWLINE)


def _told(published: Published) -> dict[str, object]:
    return {
        "count": published.count,
        "size": published.size,
        "generated_at": published.stamp,
        "mtime_ns": published.mtime_ns,
        "inode": published.inode,
        "blocks": published.blocks,
    }


def _decoded(told: dict[str, Any]) -> Manifest:
    if told["version"] != VERSION:
        raise ValueError(f"version {VERSION} expected")
    return Manifest(
        consumer=_a(str, told["consumer"]),
        generation=_counted(told["generation"]),
        snapshot=_a(str, told["snapshot"]),
        published_at=datetime.fromisoformat(told["published_at"]),
        registries={path: _published(it) for path, it in _a(dict, told["registries"]).items()},
    )


def _published(told: dict[str, Any]) -> Published:
    return Published(
        count=_a(int, told["count"]),
        size=_a(int, told["size"]),
        mtime_ns=_a(int, told["mtime_ns"]),
        inode=_a(int, told["inode"]),
        stamp=_a(str, told["generated_at"]),
        blocks=tuple((_a(int, length), _a(str, digest)) for length, digest in _a(list, told["blocks"])),
    )


def _counted(value: object) -> int:
    """Return a generation; omnicdc never wrote one that leaves the database no room to count on."""
    generation = _a(int, value)
    if not 0 <= generation < 1 << 62:
        raise ValueError("a generation expected")
    return generation


def _a(kind: type[T], value: object) -> T:
    if not isinstance(value, kind) or isinstance(value, bool):
        raise TypeError(f"{kind.__name__} expected")
    return value
