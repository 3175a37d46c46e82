"""Finds the last change of one registry among the kept generations."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from omnicdc.answers.kept.comparison import compare
from omnicdc.answers.kept.version import KeptVersion
from omnicdc.files.kept.reading import KeptGenerations

if TYPE_CHECKING:
    from datetime import datetime

    from omnicdc.answers.kept.comparison import RegistryComparison
    from omnicdc.config.settings import Config


@dataclass(frozen=True, slots=True)
class LastChange:
    """What the newest generation that rewrote a registry changed in it."""

    before: int
    after: int
    """The numbers of the two generations."""
    published_at: datetime
    comparison: RegistryComparison


def last_change(config: Config, path: str) -> LastChange | None:
    """Return the last change of the registry at a path below the root; None if none is kept.

    Raises ConfigError if no generation is kept or may be read, and RegistryError for a damaged one.
    """
    store = KeptGenerations(config.state_dir, off=not config.keep_generations)
    later: KeptVersion | None = None
    for name in reversed(store.names):
        version = KeptVersion(store, name, store.read(name))
        if later and version.files.get(path) != later.files.get(path):
            found = compare(config, version, later)
            changed = next((it for it in found if it.path == path), None)
            if changed:
                manifest = later.kept.manifest
                return LastChange(version.kept.number, later.kept.number, manifest.published_at, changed)
        later = version
    return None
