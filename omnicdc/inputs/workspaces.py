"""What the workspaces hold, root by root, together and remembered.

`clones.py` and `heart.py` walk, `shallow.py` looks.
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
"""What tells a directory from another one at its path: device and inode."""


@dataclass(frozen=True, slots=True)
class Workspaces:
    """The clones and the heart, as `model.Inputs` has them, and the roots under which they were found."""

    roots: tuple[str, ...]
    clones: Mapping[str, str]
    heart: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class RootClones:
    """The clones under one root: what the last walk found, corrected by the last look."""

    walked: Mapping[str, str] | None = None
    """URL key to path; None if the root was never walked."""
    seen: Mapping[str, str] = field(default_factory=dict)
    """Path to URL key, of the upper levels and of clones known before; empty for what is not a clone now."""
    directory: Directory | None = None
    """Which directory the root was when clones were last found in it, since the start."""

    def clones(self) -> dict[str, str]:
        """Return the paths by URL key."""
        walked = self.walked or {}
        kept = ((path, key) for key, path in walked.items() if self.seen.get(path, key) == key)
        return shallowest([*kept, *self.seen.items()])

    def paths(self) -> set[str]:
        """Return every path at which a clone is known."""
        return {*(self.walked or {}).values(), *(path for path, key in self.seen.items() if key)}


def merged(roots: Iterable[RootClones]) -> dict[str, str]:
    """Return the clones of all roots; those of an earlier one win."""
    clones: dict[str, str] = {}
    for root in roots:
        clones = root.clones() | clones
    return clones


def by_root(found: Workspaces | None, roots: Sequence[Path]) -> tuple[RootClones, ...]:
    """Return what is remembered, parted by the root under which it lies: the first one that holds it."""
    if found is None:
        return tuple(RootClones() for _ in roots)
    parts: dict[str, dict[str, str]] = {name: {} for name in found.roots}
    for key, path in found.clones.items():
        holder = next((name for name in found.roots if f"{path}/".startswith(f"{name.rstrip('/')}/")), None)
        if holder is not None:
            parts[holder][key] = path
    return tuple(RootClones(parts.pop(name, {})) for name in found.roots)


def together(
    roots: Sequence[Path], parts: Sequence[RootClones], heart: Mapping[str, int]
) -> Workspaces | None:
    """Return what is to be remembered; None while a root was never walked."""
    if any(part.walked is None for part in parts):
        return None
    return Workspaces(_names(roots), merged(parts), heart)


def directory(root: Path) -> Directory | None:
    """Return which directory a root is now; None if it is none that can be read."""
    if not (os.access(root, os.R_OK | os.X_OK) and root.is_dir()):
        return None
    found = root.stat()
    return found.st_dev, found.st_ino


def faults(root: Path, before: Directory | None) -> tuple[str, ...]:
    """Return a fault if nothing can be found in a root, or what was found there is gone with the directory.

    An unmounted disk.
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
    """Return what was saved for just these roots; None where that is nothing, or damaged."""
    try:
        saved = orjson.loads(cache.read(state_dir / _FILE) or b"")
        found = Workspaces(tuple(saved["roots"]), saved["clones"], saved["heart"])
    except (orjson.JSONDecodeError, LookupError, TypeError):
        return None
    return found if found.roots == _names(roots) and _is_sound(found) else None


def save(state_dir: Path, found: Workspaces) -> None:
    """Remember for the next start; raises `ConfigError` where the state directory cannot be written to."""
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
