"""The record of one kept generation: what its files were, and what the cycle did. No I/O."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import orjson

from omnicdc.files.manifest import as_json, decoded

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from omnicdc.files.manifest import Manifest


@dataclass(frozen=True, slots=True)
class KeptGeneration:
    """One generation. The digests of its blocks are in the manifest."""

    manifest: Manifest
    root: str
    changes: int
    rewritten: tuple[str, ...]
    """The registries whose files this generation rewrote."""
    held: Mapping[str, str]
    """The registries that were held, and why."""
    quarantined: Mapping[str, int]
    """Registry to the number of projects in quarantine."""
    timings: Mapping[str, float]
    """Milliseconds spent in each stage."""
    modes: Mapping[str, int]
    """The file's path below the root, to its mode."""
    left_out: tuple[str, ...] = ()
    """The registries that are not kept: the file on disk was not the published one, or was not readable."""

    @property
    def number(self) -> int:
        """The number of the generation."""
        return self.manifest.generation

    def blocks(self) -> Iterator[tuple[int, str]]:
        """Yield length and SHA-256 of each block of each file. An empty block needs no room."""
        for published in self.manifest.registries.values():
            yield from (block for block in published.blocks if block[0])

    def same_files(self, other: KeptGeneration) -> bool:
        """Return True if both have the same number, and files with the same bytes."""
        ours, theirs = self.manifest.registries, other.manifest.registries
        return (self.number, ours.keys()) == (other.number, theirs.keys()) and all(
            published.blocks == theirs[path].blocks for path, published in ours.items()
        )


def encode(kept: KeptGeneration) -> bytes:
    """Return the record as JSON."""
    return orjson.dumps(
        as_json(kept.manifest)
        | {
            "root": kept.root,
            "changes": kept.changes,
            "rewritten": kept.rewritten,
            "held": dict(kept.held),
            "quarantined": dict(kept.quarantined),
            "timings": {stage: round(ms, 3) for stage, ms in kept.timings.items()},
            "modes": dict(kept.modes),
            "left_out": kept.left_out,
        },
        option=orjson.OPT_APPEND_NEWLINE,
    )


def decode(data: bytes) -> KeptGeneration:
    """Return the record that `data` holds. Raises ValueError for anything else."""
    try:
        raw = orjson.loads(data)
        return KeptGeneration(
            manifest=decoded(raw),
            root=str(raw["root"]),
            changes=int(raw["changes"]),
            rewritten=tuple(map(str, raw["rewritten"])),
            held={str(name): str(why) for name, why in raw["held"].items()},
            quarantined={str(name): int(number) for name, number in raw["quarantined"].items()},
            timings={str(stage): float(ms) for stage, ms in raw["timings"].items()},
            modes={str(path): int(mode) for path, mode in raw["modes"].items()},
            left_out=tuple(map(str, raw["left_out"])),
        )
    except (ValueError, TypeError, KeyError, AttributeError) as exc:
        raise ValueError(f"not a record of a generation: {exc}") from exc
