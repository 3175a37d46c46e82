"""Searches clones in the usual directories: a workspace root, and two levels of directories below it.

`clones.py` walks all directories, which is slow. This search is quick enough for each new project. It keeps
listings of directories and remotes of clones until the times of their files change.
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

from omnicdc.inputs.clones import clone_key, may_enter
from omnicdc.inputs.gitfiles import config_file

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

LEVELS = 2

RACY_NS = 2_000_000_000
"""A file that was changed less than this before it was read may change again without a new time."""

Signature = tuple[int, int, int]


class ShallowSearch:
    """Searches one workspace root repeatedly. Files and directories that have not changed are not read again.

    Only one thread may use it. A call may never end if a mount hangs.
    """

    def __init__(self, root: Path, others: frozenset[str]) -> None:
        self._top = os.path.abspath(root)  # noqa: PTH100 - as configured, symlinks and all
        self._others = others
        self._listings: dict[str, tuple[Signature, list[str]]] = {}
        self._keys: dict[str, tuple[Signature, str]] = {}
        self.workspaces: frozenset[str] = frozenset()
        """The directories in which the search finds clones."""
        self.git_directories: frozenset[str] = frozenset()
        """The directories of the configuration files of the clones that were found."""

    def __call__(self, known: Iterable[str] = ()) -> Mapping[str, str]:
        """Return path to URL key, for the clones that are found and for the paths in `known`, at any depth.

        The URL key is empty if there is no clone any more, or if it has no remote. A clone whose
        configuration may not be read is left out.
        """
        paths = {*self._clones(), *known}
        configs = {path: self._config(path) for path in paths}
        keys = {path: self._key(path, *config) for path, config in configs.items()}
        self.git_directories = frozenset(config.rpartition("/")[0] for config, _ in configs.values())
        self._keys = {config: self._keys[config] for config, _ in configs.values() if config in self._keys}
        return {path: key for path, key in keys.items() if key is not None}

    def _clones(self) -> list[str]:
        level = [self._top] if may_enter(self._top, "", self._others) else []
        everywhere = [*level]
        for _ in range(LEVELS):
            level = [f"{path.rstrip('/')}/{name}" for path in level for name in self._list_directories(path)]
            everywhere += level
        self.workspaces = frozenset(everywhere)
        self._listings = {path: self._listings[path] for path in everywhere if path in self._listings}
        return [path for path in everywhere if os.path.lexists(f"{path}/.git")]

    def _list_directories(self, path: str) -> list[str]:
        """Return the names of the directories in a directory that may contain clones."""
        found, known = _signature(path), self._listings.get(path)
        if known and found == known[0]:
            return known[1]
        self._listings.pop(path, None)
        names = _directories(path, self._others)
        if found and _is_old_enough(found):
            self._listings[path] = found, names
        return names

    def _config(self, path: str) -> tuple[str, Signature | None]:
        usual = f"{path}/.git/config"
        if found := _signature(usual):
            return usual, found
        other = config_file(path)
        return other, _signature(other)

    def _key(self, path: str, config: str, found: Signature | None) -> str | None:
        known = self._keys.get(config)
        if known and found == known[0]:
            return known[1]
        self._keys.pop(config, None)
        key = clone_key(path)
        if not key and found and not os.access(config, os.R_OK):
            return None
        if not key and not found and not _is_readable(path):
            return None
        if found and _is_old_enough(found) and config == f"{path}/.git/config":
            self._keys[config] = found, key
        return key


def _directories(path: str, others: frozenset[str]) -> list[str]:
    try:
        with os.scandir(path) as entries:
            names = [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
    except OSError:
        return []
    return sorted(name for name in names if may_enter(f"{path.rstrip('/')}/{name}", name, others))


def _is_readable(path: str) -> bool:
    """Return True if the directory permits to check for a clone."""
    try:
        os.lstat(f"{path}/.git/config")
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:
        return False
    return True


def _signature(path: str) -> Signature | None:
    try:
        found = os.stat(path)  # noqa: PTH116 - called for thousands, and Path is slow
    except OSError:
        return None
    return found.st_mtime_ns, found.st_ino, found.st_size


def _is_old_enough(found: Signature) -> bool:
    return time.time_ns() - found[0] > RACY_NS
