"""Keeps Omni's files in the state directory before the cutover, and puts them back."""

from __future__ import annotations

import filecmp
import os
import shutil
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from omnicdc.errors import ConfigError, RegistryError
from omnicdc.files.drift import signature
from omnicdc.files.manifest import is_published
from omnicdc.filesystem import regular
from omnicdc.filesystem.atomic import replace
from omnicdc.filesystem.remedy import registry_errors
from omnicdc.filesystem.sync import sync

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

DIRECTORY = "cutover"


def back_up(root: Path, paths: Iterable[str], state_dir: Path) -> Path:
    """Copy Omni's files into a new directory, with owner, mode and time, and return it.

    A file that omnicdc has published there itself is not Omni's: then the copy of the last cutover counts.
    Raises ConfigError if that fails.
    """
    earlier = None
    with suppress(ConfigError):
        earlier = newest(state_dir)
    kept = state_dir / DIRECTORY / datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%fZ")
    try:
        kept.mkdir(mode=0o700, parents=True)
        for path in paths:
            source = root / path
            found = signature(source)
            if found and is_published(root, path, found):
                source = (earlier or root) / path
            if source.is_file():
                (kept / path).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(source, kept / path)
                with suppress(PermissionError):  # only root may
                    shutil.chown(kept / path, source.stat().st_uid, source.stat().st_gid)
                sync(kept / path)
        sync(kept)
    except OSError as exc:
        raise ConfigError(
            f"Omni's files cannot be kept in {kept}: {exc.strerror}",
            hint="run it as root; `df` shows the room",
        ) from exc
    return kept


def newest(state_dir: Path) -> Path:
    """Return the directory of the last cutover. Raises ConfigError if there was none."""
    try:
        return max((state_dir / DIRECTORY).iterdir())
    except (OSError, ValueError) as exc:
        raise ConfigError(
            f"no files of a cutover are kept in {state_dir / DIRECTORY}",
            hint="run it as root, on the host and with the configuration of `omnicdc cutover switch`",
        ) from exc


def is_kept(copy: Path, path: str, state_dir: Path) -> bool:
    """Return True if a file has the content that the last cutover kept of this registry."""
    try:
        return filecmp.cmp(copy, newest(state_dir) / path, shallow=False)
    except (OSError, ConfigError):
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
