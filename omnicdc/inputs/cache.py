"""The small files of the state directory: what was last read, so that a restart changes no registry."""

from __future__ import annotations

import errno
import os
import pwd
from contextlib import suppress
from typing import TYPE_CHECKING

from omnicdc.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path


def prepare(state_dir: Path) -> None:
    """Make the directory, its parents too; raises `ConfigError` where it cannot be written to."""
    try:
        state_dir.mkdir(parents=True, exist_ok=True)
    except OSError as exc:
        raise _unwritable(state_dir, exc) from exc
    if not os.access(state_dir, os.W_OK | os.X_OK):
        raise _unwritable(state_dir, PermissionError(errno.EACCES, os.strerror(errno.EACCES)))


def read(path: Path) -> bytes | None:
    """Return a file's bytes; None where there are none to be had."""
    try:
        return path.read_bytes()
    except OSError:
        return None


def write(path: Path, data: bytes) -> None:
    """Put a file on disk for good, whole or not at all; equal bytes are not written again.

    One writer a file. Raises `ConfigError`; the file is then as it was.
    """
    if read(path) == data:
        return
    beside = path.with_name(f".{path.name}.new")
    try:
        _write_through(beside, data)
        beside.replace(path)
        _sync_directory(path.parent)
    except OSError as exc:
        with suppress(OSError):
            beside.unlink(missing_ok=True)
        raise _unwritable(path.parent, exc) from exc


def _write_through(path: Path, data: bytes) -> None:
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _sync_directory(path: Path) -> None:
    directory = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def _unwritable(state_dir: Path, exc: OSError) -> ConfigError:
    if exc.errno in (errno.ENOSPC, errno.EDQUOT):
        mend = f"make room: df {state_dir}"
    else:
        mend = f"run: install -d -o {_user()} {state_dir}"
    return ConfigError(
        f"the state directory {state_dir} cannot be written to ({exc.strerror})",
        hint=f"{mend}, or set OMNICDC_STATE_DIR",
        state_dir=str(state_dir),
    )


def _user() -> str:
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return str(os.geteuid())
