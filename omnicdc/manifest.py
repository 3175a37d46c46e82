"""What was published, beside the files: for people, for tools, and for the guard after a restart.

A help and never a source: a manifest that is missing or does not fit is as good as none.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeVar

import orjson

from omnicdc.model import Published
from omnicdc.publish import REGISTRY, replace

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping, Sequence
    from pathlib import Path

T = TypeVar("T")

MANIFEST = REGISTRY / "omnicdc_manifest.json"
VERSION = 1


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
    """Say what `publish.replace` put there: `blocks` is length and SHA-256 of each part."""
    return Published(
        count=count,
        size=put.st_size,
        mtime_ns=put.st_mtime_ns,
        inode=put.st_ino,
        stamp=stamp,
        blocks=tuple(blocks),
    )


def write_manifest(root: Path, manifest: Manifest) -> None:
    """Publish the manifest, after the files it tells of. Raises RegistryError."""
    replace(root, MANIFEST, [_encoded(manifest)])


def read_manifest(root: Path) -> Manifest | None:
    """Return the manifest beside the files; None if it is missing, unreadable or not of this version."""
    try:
        return _decoded(orjson.loads((root / MANIFEST).read_bytes()))
    except (OSError, ValueError, TypeError, KeyError):
        return None


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
        generation=_a(int, told["generation"]),
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


def _a(kind: type[T], value: object) -> T:
    if not isinstance(value, kind) or isinstance(value, bool):
        raise TypeError(f"{kind.__name__} expected")
    return value
