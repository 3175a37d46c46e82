"""Searches the clones of repositories on this host. `gitfiles.py` reads their remotes, without git."""

from __future__ import annotations

import os.path
import re
from typing import TYPE_CHECKING

from omnicdc.formats.text import is_unicode
from omnicdc.formats.urls import url_key
from omnicdc.inputs.gitfiles import origin
from omnicdc.inputs.walk import walk

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from omnicdc.stop import Stop

_SURFACES = re.compile(r"/governance/registry/surfaces(/|$)")
_CREDENTIALS = re.compile(r"(https?://)[^/@]*@", re.IGNORECASE)


def find_clones(roots: Sequence[Path], stop: Stop) -> Mapping[str, str]:
    """Return URL key to the absolute path of its clone.

    If a key has several clones, the first root wins, then the shallowest path, then the first path in sorted
    order. Clones inside clones are found too. Roots and directories that cannot be read are skipped. The
    result is incomplete after a stop is requested.
    """
    clones: dict[str, str] = {}
    for root, others in zip(roots, earlier(roots), strict=True):
        clones = clones_below(root, others, stop) | clones
    return clones


def clones_below(root: Path, others: frozenset[str], stop: Stop) -> dict[str, str]:
    """As `find_clones`, for one root. Directories in `others`, and everything below them, are skipped."""
    top = os.path.abspath(root)  # noqa: PTH100 - as configured, symlinks and all

    def enter(path: str, name: str) -> bool:
        return may_enter(path, name, others)

    if not may_enter(top, "", others):
        return {}
    paths = [path for path, found in walk(top, stop, enter=enter, wanted=".git".__eq__) if found]
    return shallowest((path, clone_key(path)) for path in paths)


def earlier(roots: Sequence[Path]) -> tuple[frozenset[str], ...]:
    """Return, for each root, the roots before it. Clones below those belong to them."""
    tops = [os.path.abspath(root) for root in roots]  # noqa: PTH100 - as above
    return tuple(frozenset(tops[:number]) for number in range(len(tops)))


def clone_key(path: str) -> str:
    """Return the URL key of a clone's remote; empty if it has none, or if it or the path is not UTF-8."""
    key = url_key(_CREDENTIALS.sub(r"\1", origin(path) or "", count=1))
    return key if is_unicode(key) and is_unicode(path) else ""  # on disk a name may hold any bytes


def shallowest(clones: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Turn pairs of path and URL key into a mapping from URL key to path.

    If a key has several paths, the shallowest wins, then the first in order.
    """
    found: dict[str, str] = {}
    for path, key in clones:
        if key and (key not in found or _rank(path) < _rank(found[key])):
            found[key] = path
    return found


def _rank(path: str) -> tuple[int, list[str]]:
    parts = path.split("/")
    return len(parts), parts


def may_enter(path: str, name: str, others: frozenset[str]) -> bool:
    """Return True if clones are searched in this directory."""
    return name != ".git" and path not in others and not is_off_limits(path)


def is_off_limits(path: str) -> bool:
    """Return True if an absolute path is in a directory whose clones are ignored."""
    parts = path.split("/")
    return bool(_SURFACES.search(path)) or ("omni" in parts and "artifacts" in parts)
