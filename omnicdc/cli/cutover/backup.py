"""Keeps Omni's files in the state directory before the cutover, and puts them back."""

from __future__ import annotations

import filecmp
import shutil
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from omnicdc.errors import ConfigError
from omnicdc.filesystem import regular
from omnicdc.filesystem.atomic import replace
from omnicdc.filesystem.sync import sync

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

DIRECTORY = "cutover"


def back_up(root: Path, paths: Iterable[str], state_dir: Path) -> Path:
    """Copy the files that exist into a new directory, and return it. Raises ConfigError if that fails."""
    kept = state_dir / DIRECTORY / datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%fZ")
    try:
        kept.mkdir(mode=0o700, parents=True)
        for path in paths:
            if (root / path).is_file():
                (kept / path).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(root / path, kept / path)
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


def put_back(kept: Path, root: Path, paths: Iterable[str]) -> list[str]:
    """Replace each file by its kept copy, atomically. Return their paths. Raises RegistryError."""
    there = [path for path in paths if (kept / path).is_file()]
    for path in there:
        replace(root, path, [regular.read(kept / path)])
    return there
