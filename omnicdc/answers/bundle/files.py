"""Facts about omnicdc's files here: owners, modes, ACLs, sizes, digests. No content but the manifest's."""

from __future__ import annotations

import grp
import hashlib
import os
import pwd
import stat
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING

from omnicdc.answers.bundle.report import Unavailable
from omnicdc.config.default_file import DEFAULT_FILE
from omnicdc.errors import OmnicdcError
from omnicdc.files.manifest import MANIFEST
from omnicdc.filesystem.access import access
from omnicdc.filesystem.atomic import REGISTRY
from omnicdc.filesystem.attributes import ACL
from omnicdc.registries.catalog import registries

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from omnicdc.config.settings import Config

MOST = 200
"""The most entries of one directory that are listed."""

_CHUNK = 1 << 20


def collectors(config: Config) -> dict[str, Callable[[], str]]:
    """Return the parts about files."""
    return {"manifest.json": partial(_manifest, config), "files.txt": partial(_files, config)}


def _manifest(config: Config) -> str:
    return (config.require_output_root() / MANIFEST).read_text("utf-8", "replace")


def _files(config: Config) -> str:
    """Return the listing of each directory, and the digest of each registry."""
    lines = [f"as user {os.geteuid()}, groups {sorted({os.getegid(), *os.getgroups()})}", ""]
    directories = [config.file.path.parent if config.file.path else DEFAULT_FILE.parent, config.state_dir]
    root = config.shadow or config.root
    if root is not None:
        directories += [root / it for it in (*reversed(REGISTRY.parents), REGISTRY)]
        directories += sorted({(root / path).parent for path in _paths(config)} - {*directories})
    for directory in directories:
        lines += [*_listing(directory), ""]
    if root is not None:
        lines += [f"{path}: {_digest(root / path)}" for path in _paths(config)]
    return "\n".join(lines) + "\n"


def _paths(config: Config) -> list[str]:
    try:
        return [it.path for it in registries(config).values()]
    except OmnicdcError as exc:
        raise Unavailable(str(exc)) from exc


def _listing(directory: Path) -> Iterator[str]:
    """Yield a directory's own line and those of its entries. What cannot be read is named with its reason."""
    try:
        yield _line(directory, str(directory))
        names = sorted(it.name for it in directory.iterdir())
    except OSError as exc:
        yield f"{directory}: {exc.strerror}"
        return
    for name in names[:MOST]:
        try:
            yield "  " + _line(directory / name, name)
        except OSError as exc:
            yield f"  {name}: {exc.strerror}"
    if len(names) > MOST:
        yield f"  and {len(names) - MOST} more"


def _line(path: Path, name: str) -> str:
    status = path.lstat()
    time = datetime.fromtimestamp(status.st_mtime, UTC)
    return (
        f"{stat.filemode(status.st_mode)} {_user(status.st_uid)}:{_group(status.st_gid)} {status.st_size} "
        f"{time:%Y-%m-%dT%H:%M:%SZ} {name}{_acl(path, status)}"
    )


def _acl(path: Path, status: os.stat_result) -> str:
    """Return what the ACL gives to named users and groups."""
    try:
        found = os.getxattr(path, ACL, follow_symlinks=False)
        granted = access(status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode), found)
    except (OSError, ValueError):
        return ""
    users = [f"user {_user(uid)} {may:o}" for uid, may in granted.users.items()]
    groups = [f"group {_group(gid)} {may:o}" for gid, may in granted.groups.items()]
    return f" [ACL: {', '.join([*users, *groups, f'group {granted.group_may:o}'])}]"


def _digest(file: Path) -> str:
    try:
        with file.open("rb") as opened:
            digest, size = hashlib.sha256(), 0
            while chunk := opened.read(_CHUNK):
                digest.update(chunk)
                size += len(chunk)
    except OSError as exc:
        return str(exc.strerror)
    return f"{size} bytes, sha256 {digest.hexdigest()}"


def _user(uid: int) -> str:
    with suppress(KeyError):
        return pwd.getpwuid(uid).pw_name
    return str(uid)


def _group(gid: int) -> str:
    with suppress(KeyError):
        return grp.getgrgid(gid).gr_name
    return str(gid)
