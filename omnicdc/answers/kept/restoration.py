"""Writes the files of a kept generation into a directory, never into the root of a daemon."""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omnicdc.answers.kept.reference import path_of
from omnicdc.errors import ConfigError
from omnicdc.files.manifest import MANIFEST
from omnicdc.filesystem.atomic import stage
from omnicdc.filesystem.remedy import registry_errors
from omnicdc.registries.catalog import registries

if TYPE_CHECKING:
    from collections.abc import Sequence

    from omnicdc.answers.kept.version import KeptVersion
    from omnicdc.config.settings import Config

WHY_NOT = (
    "registries show what CMP holds, so the daemon would replace them. To change what they show, change CMP; "
    "to have the files written anew, run `omnicdc rebuild`"
)


def restore(config: Config, version: KeptVersion, directory: Path, wanted: Sequence[str]) -> dict[str, Any]:
    """Write registries as they were: the same bytes, mode and time. `wanted` are some; by default all.

    They get the same paths below `directory` as below the root. All blocks are checked before the first file
    is written; each file is replaced atomically. A repeat is harmless. Raises ConfigError for the root of a
    daemon and for an unknown registry, and RegistryError if a file cannot be read or written.
    """
    _refuse_root(
        directory, [version.kept.root, *(str(root) for root in (config.root, config.shadow) if root)]
    )
    paths = [*version.files]
    if wanted:
        scanners = {name: scanner.path for name, scanner in registries(config).items()}
        paths = [*dict.fromkeys(path_of(registry, paths, scanners) for registry in wanted)]
    files = {path: [data for _, data in version.data(path)] for path in paths}
    with registry_errors(f"create {directory}", directory):
        directory.mkdir(parents=True, exist_ok=True)
    for path, parts in files.items():
        _write(version, directory, path, parts)
    published = version.kept.manifest.registries
    return {
        "generation": version.kept.number,
        "directory": str(directory),
        "registries": [
            {
                "name": path.rsplit("/", 1)[-1],
                "path": str(directory / path),
                "count": published[path].count,
                "size": published[path].size,
            }
            for path in files
        ],
    }


def _write(version: KeptVersion, directory: Path, path: str, parts: list[bytes]) -> None:
    published, mode = version.kept.manifest.registries[path], version.kept.modes.get(path)
    with stage(directory, path, parts, mode=mode) as staged:
        staged.swap()
        with registry_errors(f"set the time of {staged.target}", staged.target):
            os.utime(staged.target, ns=(published.mtime_ns, published.mtime_ns), follow_symlinks=False)
        staged.sync()


def _refuse_root(directory: Path, roots: Sequence[str]) -> None:
    """Raise ConfigError if the directory is a daemon's root, or is inside one."""
    target = Path(os.path.realpath(directory))
    inside = [root for root in roots if root and target.is_relative_to(os.path.realpath(root))]
    above = next((it for it in (target, *target.parents) if (it / MANIFEST).exists()), None)
    if inside or above:
        root = inside[0] if inside else str(above)
        raise ConfigError(
            f"--to {shlex.quote(str(directory))} is in {root}, where a daemon writes its registries",
            hint=f"name another directory: {WHY_NOT}",
        )
