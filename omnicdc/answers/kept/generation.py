"""Describes one generation, for `omnicdc show`: from what is kept, else from the history in the database."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from omnicdc import db
from omnicdc.answers.kept.version import kept_version
from omnicdc.errors import ConfigError, OmnicdcError
from omnicdc.log.timings import stages

if TYPE_CHECKING:
    from omnicdc.answers.kept.version import KeptVersion
    from omnicdc.config.settings import Config

PATIENCE_S = 5.0
"""Seconds to wait for the database."""


def describe(config: Config, text: str) -> dict[str, Any]:
    """Return what is known of a generation. The database is asked only if it is not kept.

    Raises ConfigError if it is neither kept nor in the history.
    """
    try:
        return _kept(kept_version(config, text))
    except ConfigError:
        found = _from_history(config, int(text)) if text.isdecimal() else None
        if found is None:
            raise
        return found


def _from_history(config: Config, number: int) -> dict[str, Any] | None:
    """Return what the history says of a generation; None if nothing, or if the database cannot be read."""
    asked = {"consumer": config.consumer, "generation": min(number, 2**63 - 1)}
    try:
        with (
            db.connect_within(config.target, PATIENCE_S) as conn,
            db.translated("reading the history"),
            db.confined(conn),
        ):
            rows = db.fetch_all(conn, "history_of", asked)
    except OmnicdcError:
        return None
    return _of_row(rows[0]) if rows else None


def _of_row(row: db.Row) -> dict[str, Any]:
    return {
        "generation": row["generation"],
        "published_at": row["at"],
        "snapshot": row["snapshot"],
        "changes": row["changes"],
        "consumer": row["consumer"],
        "root": None,
        "rewritten": row["registries"],
        "held": dict.fromkeys(row["held"]),
        "quarantined": {},
        "left_out": [],
        "stages_ms": stages(row["timings"]),
        "registries": [],
        "kept": None,
    }


def _kept(version: KeptVersion) -> dict[str, Any]:
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
        "left_out": list(kept.left_out),
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
