"""What walking the workspaces found, together and remembered. `clones.py` and `heart.py` walk."""

from __future__ import annotations

import os.path
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import orjson

from omnicdc.inputs import cache
from omnicdc.inputs.clones import find_clones
from omnicdc.inputs.heart import count_heart

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from omnicdc.stop import Stop

_FILE = "workspaces.json"


@dataclass(frozen=True, slots=True)
class Workspaces:
    """The clones and the heart, as `model.Inputs` has them, and the roots under which they were found."""

    roots: tuple[str, ...]
    clones: Mapping[str, str]
    heart: Mapping[str, int]


def explore(roots: Sequence[Path], stop: Stop) -> Workspaces | None:
    """Walk all roots, the infrastructure root first; None if a stop cut it short."""
    found = Workspaces(_names(roots), find_clones(roots, stop), count_heart(roots[0], stop))
    return None if stop.requested else found


def unreadable(roots: Sequence[Path]) -> tuple[str, ...]:
    """Return a fault for each root in which nothing can be found."""
    return tuple(
        f"{root}: no directory that can be read; no clones are known there"
        for root in roots
        if not os.access(root, os.R_OK | os.X_OK) or not root.is_dir()
    )


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
