"""Which clones are connected to the heart: how many of their Python files import `federation_heart`."""

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
    """Return, by a clone's absolute path in lower case, how many `*.py` files in it import the heart.

    A file belongs to the deepest clone around it, which may be around the root as well. Files that
    cannot be read do not count. Incomplete once a stop is asked for.
    """
    top = os.path.abspath(root)  # noqa: PTH100 - as configured, symlinks and all
    clones = {str(parent) for parent in Path(top).parents if (parent / ".git").exists()}
    return _counted(top, top, clones, stop)


def count_heart_of(clone: str, root: Path, stop: Stop) -> Mapping[str, int]:
    """As `count_heart`, of one clone and those inside it.

    Nothing where the root's count would not come by.
    """
    top = os.path.abspath(root)  # noqa: PTH100 - as above
    below = f"{clone}/".removeprefix(f"{top.rstrip('/')}/")
    if below.startswith(("/", "federation_heart/")) or any(part.startswith(".") for part in below.split("/")):
        return {}
    return _counted(clone, top, set(), stop)


def _counted(start: str, top: str, clones: set[str], stop: Stop) -> Mapping[str, int]:
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
    """Say whether a file holds the text; no for what is no file or cannot be read."""
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
    """Return the nearest of the clones at or above a directory."""
    while directory not in clones:
        above = os.path.dirname(directory)  # noqa: PTH120 - as above
        if above == directory:
            return None
        directory = above
    return directory
