"""Reads and writes small files in the state directory, which keep the inputs across a restart."""

from __future__ import annotations

import errno
import os
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from omnicdc.errors import ConfigError, OmnicdcError, RegistryError, TransientError
from omnicdc.filesystem import regular
from omnicdc.filesystem.atomic import replace
from omnicdc.filesystem.mount import mount_of
from omnicdc.filesystem.remedy import TEMPORARY, user_name

if TYPE_CHECKING:
    from pathlib import Path

_TEMPORARY = {errno.ENOSPC, errno.EDQUOT, errno.EIO}
"""Errors that no setting causes: they may pass without a change of the configuration."""


def prepare(state_dir: Path) -> None:
    """Create the directory and its parents, and remove temporary files that a killed process left.

    Raises the errors of `write` if the directory cannot be written. A repeat is harmless.
    """
    try:
        state_dir.mkdir(parents=True, exist_ok=True)
        for left in state_dir.glob(f".*{TEMPORARY}"):
            with suppress(OSError):
                left.unlink()
    except OSError as exc:
        raise _unwritable(state_dir, exc) from exc
    if not os.access(state_dir, os.W_OK | os.X_OK):
        raise _unwritable(state_dir, PermissionError(errno.EACCES, os.strerror(errno.EACCES)))


def read(path: Path) -> bytes | None:
    """Return a file's bytes; None if there is no file or it cannot be read."""
    try:
        return regular.read(path)
    except OSError:
        return None


def write(path: Path, data: bytes) -> None:
    """Write a file atomically and durably. Equal bytes are not written again.

    A directory at this path is renamed first. Only one process may write a file. Raises `ConfigError`, or
    `TransientError` for a full or failing disk; the old file then stays.
    """
    if read(path) == data:
        return
    try:
        if path.is_dir() and not path.is_symlink():
            path.rename(path.with_name(f"{path.name}.{time.time_ns()}.aside"))
        replace(path.parent, path.name, [data])
    except OSError as exc:
        raise _unwritable(path.parent, exc) from exc
    except RegistryError as exc:
        if not isinstance(exc.__cause__, OSError):
            raise
        raise _unwritable(path.parent, exc.__cause__) from exc.__cause__


def _unwritable(state_dir: Path, exc: OSError) -> OmnicdcError:
    kind = TransientError if exc.errno in _TEMPORARY else ConfigError
    if exc.errno in (errno.ENOSPC, errno.EDQUOT):
        remedy = f"make room: df {state_dir}"
    elif exc.errno == errno.EIO:
        remedy = "look for a failing disk: dmesg"
    elif exc.errno == errno.EROFS:
        point = mount_of(state_dir).point
        remedy = f"it is read-only on {point}: under systemd, StateDirectory= or ReadWritePaths="
    elif exc.errno == errno.EISDIR:
        remedy = f"move the directory away that stands in a file's place: ls -la {state_dir}"
    else:
        remedy = f"run: install -d -o {user_name()} {state_dir}"
    return kind(
        f"the state directory {state_dir} cannot be written to ({exc.strerror})",
        hint=f"{remedy}, or set OMNICDC_STATE_DIR",
        state_dir=str(state_dir),
    )
