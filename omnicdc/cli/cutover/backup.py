"""Keeps Omni's files in the state directory before the cutover, and puts them back."""

from __future__ import annotations

import filecmp
import os
import shutil
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from omnicdc.errors import ConfigError, RegistryError
from omnicdc.files.drift import backups_of, signature
from omnicdc.files.manifest import is_published
from omnicdc.filesystem import regular
from omnicdc.filesystem.atomic import replace
from omnicdc.filesystem.remedy import TEMPORARY, registry_errors
from omnicdc.filesystem.sync import sync

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

DIRECTORY = "cutover"

_NAME = "%Y%m%dT%H%M%S.%fZ"
"""The name of a directory of copies: when they were made."""


def back_up(root: Path, paths: Iterable[str], state_dir: Path) -> Path:
    """Copy Omni's files into a new directory, with owner, mode and time, and return it.

    A file that omnicdc has published there itself is not Omni's: then the copy of the last cutover counts.
    The directory gets its name when it is complete. Raises RegistryError if that fails; no copy is left.
    """
    earlier = None
    with suppress(ConfigError):
        earlier = newest(state_dir)
    kept = state_dir / DIRECTORY / datetime.now(UTC).strftime(_NAME)
    unfinished = kept.with_name(TEMPORARY)  # one name: a killed process may have left it
    with registry_errors(f"keep Omni's files in {kept.parent}", kept):
        kept.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        shutil.rmtree(unfinished, ignore_errors=True)
        try:
            unfinished.mkdir(mode=0o700)
            for path in paths:
                source = root / path
                found = signature(source)
                if found and is_published(root, path, found):
                    source = (earlier or root) / path
                if source.is_file():
                    _copy(source, unfinished / path)
            unfinished.rename(kept)
            sync(kept.parent)
        except OSError:
            shutil.rmtree(unfinished, ignore_errors=True)
            raise
    return kept


def _copy(source: Path, copy: Path) -> None:
    copy.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy2(source, copy)
    with suppress(PermissionError):  # only root may
        shutil.chown(copy, source.stat().st_uid, source.stat().st_gid)
    sync(copy)
    sync(copy.parent)


def newest(state_dir: Path) -> Path:
    """Return the directory of the last cutover. Raises ConfigError if there was none."""
    try:
        return max(it for it in (state_dir / DIRECTORY).iterdir() if it.name != TEMPORARY)
    except (OSError, ValueError) as exc:
        raise ConfigError(
            f"no files of a cutover are kept in {state_dir / DIRECTORY}",
            hint="run it as root, on the host and with the configuration of `omnicdc cutover switch`",
        ) from exc


def edits(path: str, state_dir: Path) -> list[tuple[Path, datetime]]:
    """Return the backups of this registry that other programs' writes have caused since the last switch.

    When a switch replaces Omni's file, the daemon backs it up as well: this is no edit. It has the time of
    the kept copy. Without a switch, all backups count.
    """
    found = backups_of(path.rpartition("/")[2], state_dir)
    try:
        kept = newest(state_dir)
        since = datetime.strptime(kept.name, _NAME).replace(tzinfo=UTC)
    except (ConfigError, ValueError):
        return found
    return [(copy, at) for copy, at in found if at > since and not _same_file(copy, kept / path)]


def _same_file(one: Path, other: Path) -> bool:
    """Return True if content and time are equal."""
    try:
        return one.stat().st_mtime_ns == other.stat().st_mtime_ns and filecmp.cmp(one, other, shallow=False)
    except OSError:
        return False


def present(root: Path, paths: Iterable[str]) -> list[str]:
    """Return those of the paths at which there is a file below a root, or below a directory of copies."""
    return [path for path in paths if (root / path).is_file()]


def sizes(root: Path, paths: Iterable[str]) -> list[int]:
    """Return the sizes of those files below a root that exist."""
    return [(root / path).stat().st_size for path in present(root, paths)]


def is_ours(root: Path, path: str) -> bool:
    """Return True if the file at this path is missing, or if omnicdc has published it."""
    found = signature(root / path)
    return found is None or is_published(root, path, found)


def put_back(kept: Path, root: Path, paths: Iterable[str]) -> dict[str, str]:
    """Replace each file by its kept copy, atomically, with its owner, mode and time.

    Return each path with why it could not be replaced; empty text if it was. Only root can give the owner
    back. A repeat with the paths that failed is harmless.
    """
    return {path: _put_back(kept / path, root, path) for path in paths}


def _put_back(copy: Path, root: Path, path: str) -> str:
    target = root / path
    try:
        with registry_errors(f"put back {target}", target):
            before = copy.stat()
            replace(root, path, [regular.read(copy)])
            with suppress(PermissionError):
                os.chown(target, before.st_uid, before.st_gid)
            target.chmod(before.st_mode & 0o777)
            os.utime(target, ns=(before.st_atime_ns, before.st_mtime_ns))
    except RegistryError as exc:
        return str(exc)
    return ""
