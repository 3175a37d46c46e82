"""Which repositories are cloned on this host, and where. `gitfiles.py` reads their remote, without git."""

from __future__ import annotations

import os.path
import re
from typing import TYPE_CHECKING

from omnicdc.inputs.gitfiles import origin
from omnicdc.inputs.reading import is_unicode
from omnicdc.inputs.urls import url_key
from omnicdc.inputs.walk import walk

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from omnicdc.stop import Stop

_SURFACES = re.compile(r"/governance/registry/surfaces(/|$)")
_CREDENTIALS = re.compile(r"(https?://)[^/@]*@", re.IGNORECASE)


def find_clones(roots: Sequence[Path], stop: Stop) -> Mapping[str, str]:
    """Return the absolute path of each clone by its URL key; of several clones that of the first root.

    Under one root the shallowest wins, then the first in sorted order; clones inside clones count. Where a
    root or a directory cannot be read there is nothing. Incomplete once a stop is asked for.
    """
    clones: dict[str, str] = {}
    for paths in _clone_paths(roots, stop):
        clones = shallowest(paths) | clones
    return clones


def shallowest(paths: Iterable[str]) -> dict[str, str]:
    """Return the clones among these paths by URL key; of several the shallowest, then the first."""
    found: dict[str, str] = {}
    for path in paths:
        key = url_key(_CREDENTIALS.sub(r"\1", origin(path) or "", count=1))
        if not (key and is_unicode(key) and is_unicode(path)):  # on disk a name may hold any bytes
            continue
        if key not in found or path.count("/") < found[key].count("/"):
            found[key] = path
    return found


def is_off_limits(path: str) -> bool:
    """Say whether what lies at an absolute path is no clone of ours, nor anything below."""
    parts = path.split("/")
    return bool(_SURFACES.search(path)) or ("omni" in parts and "artifacts" in parts)


def _clone_paths(roots: Sequence[Path], stop: Stop) -> Iterator[list[str]]:
    """Yield the clones of each root."""
    walked: set[str] = set()

    def enter(path: str, name: str) -> bool:
        return name != ".git" and path not in walked and not is_off_limits(path)

    for top in map(os.path.abspath, roots):
        if top in walked or is_off_limits(top):
            continue
        yield [path for path, found in walk(top, stop, enter=enter, wanted=".git".__eq__) if found]
        walked.add(top)
