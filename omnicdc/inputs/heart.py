"""Counts the Python files of each clone that import `federation_heart`: the clone is then connected."""

from __future__ import annotations

import os.path
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from omnicdc.formats.text import is_unicode
from omnicdc.inputs.walk import walk

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from omnicdc.stop import Stop

_TEXT = b"from federation_heart"
_CHUNK = 1 << 20


def count_heart(root: Path, stop: Stop) -> Mapping[str, int]:
    """Return a clone's absolute path, in lower case, to the number of its `*.py` files that import the heart.

    A file belongs to the deepest clone that contains it; this clone may contain the root too. Files that
    cannot be read are not counted. The result is incomplete after a stop is requested.
    """
    top = os.path.abspath(root)  # noqa: PTH100 - as configured, symlinks and all
    clones = {str(parent) for parent in Path(top).parents if (parent / ".git").exists()}
    return _count(top, top, clones, stop)


def count_heart_of(clone: str, root: Path, stop: Stop) -> Mapping[str, int]:
    """As `count_heart`, for one clone and the clones inside it.

    Returns nothing for a clone in a directory that `count_heart(root)` skips.
    """
    top = os.path.abspath(root)  # noqa: PTH100 - as above
    below = f"{clone}/".removeprefix(f"{top.rstrip('/')}/")
    if below.startswith(("/", "federation_heart/")) or any(part.startswith(".") for part in below.split("/")):
        return {}
    return _count(clone, top, set(), stop)


def _count(start: str, top: str, clones: set[str], stop: Stop) -> Mapping[str, int]:
    counts: Counter[str] = Counter()
    for directory, names in _directories(start, top, stop):
        if ".git" in names:
            clones.add(directory)
        found = sum(imports_heart(f"{directory}/{name}") for name in names if name != ".git")
        clone = _deepest(directory, clones) if found else None
        if clone and is_unicode(clone):
            counts[clone.lower()] += found
    return dict(counts)


def imports_heart(path: str) -> bool:
    """Return True if a file contains the import. False if it is not a regular file or cannot be read."""
    if not os.path.isfile(path):  # noqa: PTH113 - opening a pipe would wait for a writer
        return False
    try:
        with open(path, "rb") as file:  # noqa: PTH123 - a Path for each of many files is slow
            tail = b""
            while chunk := file.read(_CHUNK):
                if _TEXT in tail + chunk:
                    return True
                tail = chunk[-len(_TEXT) :]
    except OSError:
        pass
    return False


def _directories(start: str, top: str, stop: Stop) -> Iterator[tuple[str, list[str]]]:
    heart = f"{top.rstrip('/')}/federation_heart"
    return walk(
        start,
        stop,
        enter=lambda path, name: not name.startswith(".") and path != heart,
        wanted=lambda name: name == ".git" or name.endswith(".py"),
    )


def _deepest(directory: str, clones: set[str]) -> str | None:
    """Return the deepest clone that contains a directory; None if there is none."""
    while directory not in clones:
        above = os.path.dirname(directory)  # noqa: PTH120 - as above
        if above == directory:
            return None
        directory = above
    return directory
