"""Writes a bundle as a compressed tar file that only its owner can read. It replaces no file."""

from __future__ import annotations

import io
import os
import tarfile
from contextlib import contextmanager
from typing import TYPE_CHECKING

from omnicdc.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from datetime import datetime
    from pathlib import Path

MODE = 0o600


@contextmanager
def new_file(path: Path) -> Iterator[int]:
    """Create the file, and open it. If the `with` block fails, it is removed again.

    Raises ConfigError if it exists already, or cannot be created.
    """
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, MODE)
    except FileExistsError:
        raise ConfigError(
            f"{path} exists, and is not replaced", hint="name another file: `omnicdc support-bundle FILE`"
        ) from None
    except OSError as exc:
        raise ConfigError(
            f"cannot write {path}: {exc.strerror}", hint="name a file in another directory"
        ) from exc
    try:
        os.fchmod(fd, MODE)
        yield fd
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    finally:
        os.close(fd)


def write(fd: int, directory: str, parts: Mapping[str, str], now: datetime) -> int:
    """Write the parts into the open file, below one directory. Return the size of the file in bytes.

    Raises ConfigError if the disk is full.
    """
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        for name, text in parts.items():
            content = text.encode("utf-8", "replace")
            member = tarfile.TarInfo(f"{directory}/{name}")
            member.size, member.mode, member.mtime = len(content), MODE, int(now.timestamp())
            archive.addfile(member, io.BytesIO(content))
    left = memoryview(packed.getvalue())
    try:
        while left:
            left = left[os.write(fd, left) :]
        os.fsync(fd)
    except OSError as exc:
        raise ConfigError(
            f"cannot write the bundle: {exc.strerror}", hint="name a file on another disk"
        ) from exc
    return packed.tell()
