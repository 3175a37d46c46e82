"""A mount that hangs, as a network file system whose server is unreachable.

It is a FUSE mount whose server never answers.
"""

from __future__ import annotations

import ctypes
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

DETACH = 2


@contextmanager
def hung_mount(path: Path) -> Iterator[Path]:
    """Mount it at a new directory. A process that reads the directory waits until the end of the block.

    Skip the test if the user may not mount.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    path.mkdir(parents=True)
    try:
        server = os.open("/dev/fuse", os.O_RDWR)
    except OSError as exc:
        pytest.skip(f"no FUSE here: {exc}")
    try:
        options = f"fd={server},rootmode=40000,user_id={os.getuid()},group_id={os.getgid()}".encode()
        if libc.mount(b"hung", os.fsencode(path), b"fuse", 0, options):
            pytest.skip(f"no right to mount: {os.strerror(ctypes.get_errno())}")
        try:
            yield path
        finally:
            libc.umount2(os.fsencode(path), DETACH)
    finally:
        os.close(server)  # processes that still wait get an error
