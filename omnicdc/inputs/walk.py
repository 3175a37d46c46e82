"""Walks a directory tree: sorted, parents first. Symlinks and unreadable directories are skipped."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from omnicdc.stop import Stop

Directory = tuple[str, list[str]]


def walk(
    top: str, stop: Stop, *, enter: Callable[[str, str], bool], wanted: Callable[[str], bool]
) -> Iterator[Directory]:
    """Yield each directory's path and the wanted names in it, `top` first.

    `enter(path, name)` returns True for a directory to walk into. After a stop is requested this ends early,
    so the result is incomplete.
    """
    pending = [top]
    while pending and not stop.requested:
        path = pending.pop()
        directories, names = _list(path, wanted)
        yield path, names
        below = [(f"{path.rstrip('/')}/{name}", name) for name in directories]
        pending += [inner for inner, name in below if enter(inner, name)]


def _list(path: str, wanted: Callable[[str], bool]) -> tuple[list[str], list[str]]:
    """Return the directories in reverse order, because the last is popped first, and the wanted names."""
    directories, names = [], []
    try:
        with os.scandir(path) as entries:
            for entry in entries:
                if wanted(entry.name):
                    names.append(entry.name)
                if _is_directory(entry):
                    directories.append(entry.name)
    except OSError:
        return [], []
    return sorted(directories, reverse=True), sorted(names)


def _is_directory(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir(follow_symlinks=False)
    except OSError:
        return False
