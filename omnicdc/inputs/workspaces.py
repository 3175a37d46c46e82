"""The clones in the workspaces: for each root, merged, and saved for the next start.

`clones.py` and `heart.py` walk all directories. `shallow.py` searches the upper levels.
"""

from __future__ import annotations

import os.path
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import orjson

from omnicdc.inputs import cache
from omnicdc.inputs.clones import shallowest

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

_FILE = "workspaces.json"

Directory = tuple[int, int]
"""Device and inode: they identify a directory, even if another one is mounted at its path."""


@dataclass(frozen=True, slots=True)
class Workspaces:
    """The clones and the heart, as in `model.Inputs`, and the roots in which they were found."""

    roots: tuple[str, ...]
    clones: Mapping[str, str]
    heart: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class RootClones:
    """The clones below one root: the result of the last walk, corrected by the last shallow search."""

    walked: Mapping[str, str] | None = None
    """URL key to path; None if the root was never walked."""
    searched: Mapping[str, str] = field(default_factory=dict)
    """Result of the last shallow search: path to URL key, which is empty if there is no clone any more."""
    directory: Directory | None = None
    """The identity of the root when clones were last found in it; None if none were found since the start."""

    def clones(self) -> dict[str, str]:
        """Return URL key to path."""
        walked = self.walked or {}
        kept = ((path, key) for key, path in walked.items() if self.searched.get(path, key) == key)
        return shallowest([*kept, *self.searched.items()])

    def paths(self) -> set[str]:
        """Return the paths of all known clones."""
        return {*(self.walked or {}).values(), *(path for path, key in self.searched.items() if key)}


def merged(roots: Iterable[RootClones]) -> dict[str, str]:
    """Return the clones of all roots. If a key has several, the earlier root wins."""
    clones: dict[str, str] = {}
    for root in roots:
        clones = root.clones() | clones
    return clones


def by_root(found: Workspaces | None, roots: Sequence[Path]) -> tuple[RootClones, ...]:
    """Divide the saved clones by root. A clone belongs to the first root that contains it."""
    if found is None:
        return tuple(RootClones() for _ in roots)
    parts: dict[str, dict[str, str]] = {name: {} for name in found.roots}
    for key, path in found.clones.items():
        holder = next((name for name in found.roots if f"{path}/".startswith(f"{name.rstrip('/')}/")), None)
        if holder is not None:
            parts[holder][key] = path
    return tuple(RootClones(parts.pop(name, {})) for name in found.roots)


def combined(
    roots: Sequence[Path], parts: Sequence[RootClones], heart: Mapping[str, int]
) -> Workspaces | None:
    """Merge the roots into the object to save; None if a root was never walked."""
    if any(part.walked is None for part in parts):
        return None
    return Workspaces(_names(roots), merged(parts), heart)


def directory(root: Path) -> Directory | None:
    """Return device and inode of a root; None if it is not a directory that can be read."""
    if not (os.access(root, os.R_OK | os.X_OK) and root.is_dir()):
        return None
    found = root.stat()
    return found.st_dev, found.st_ino


def faults(root: Path, before: Directory | None) -> tuple[str, ...]:
    """Return a fault if a root cannot be read, or if an empty directory has replaced it.

    The latter happens if a disk is not mounted.
    """
    found = directory(root)
    if found is None:
        return (f"{root}: no directory that can be read; no clones are known there",)
    if before and found != before and not any(os.scandir(root)):
        return (
            (
                f"{root}: empty, and another directory than before; no clones are known there: "
                "is a file system not mounted?"
            ),
        )
    return ()


def load(state_dir: Path, roots: Sequence[Path]) -> Workspaces | None:
    """Return what was saved for exactly these roots; None if nothing was, or if the file is damaged."""
    try:
        saved = orjson.loads(cache.read(state_dir / _FILE) or b"")
        found = Workspaces(tuple(saved["roots"]), saved["clones"], saved["heart"])
    except (orjson.JSONDecodeError, LookupError, TypeError):
        return None
    return found if found.roots == _names(roots) and _is_sound(found) else None


def save(state_dir: Path, found: Workspaces) -> None:
    """Save the clones and the heart for the next start. Raises the errors of `cache.write`."""
    cache.write(state_dir / _FILE, orjson.dumps(found, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS))


def _names(roots: Sequence[Path]) -> tuple[str, ...]:
    return tuple(map(os.path.abspath, roots))


def _is_sound(found: Workspaces) -> bool:
    return (
        isinstance(found.clones, Mapping)
        and isinstance(found.heart, Mapping)
        and all(isinstance(path, str) for path in found.clones.values())
        and all(isinstance(count, int) for count in found.heart.values())
    )
