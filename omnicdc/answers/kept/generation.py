"""Describes one kept generation, for `omnicdc show`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from omnicdc.answers.kept.version import KeptVersion


def describe(version: KeptVersion) -> dict[str, Any]:
    """Return what is known of a kept generation."""
    kept, manifest, names = version.kept, version.kept.manifest, version.store.names
    return {
        "generation": kept.number,
        "published_at": manifest.published_at,
        "snapshot": manifest.snapshot,
        "changes": kept.changes,
        "consumer": manifest.consumer,
        "root": kept.root,
        "rewritten": list(kept.rewritten),
        "held": dict(kept.held),
        "quarantined": dict(kept.quarantined),
        "stages_ms": dict(kept.timings),
        "registries": [
            {
                "name": (name := path.rsplit("/", 1)[-1]),
                "path": path,
                "rewritten": name in kept.rewritten,
                "count": published.count,
                "size": published.size,
                "generated_at": published.stamp or None,
            }
            for path, published in manifest.registries.items()
        ],
        "kept": {
            "generations": len(names),
            "oldest": names[0].generation,
            "newest": names[-1].generation,
        },
    }
