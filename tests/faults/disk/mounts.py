"""Mount, fill and unmount small file systems below the test's own directory."""

from __future__ import annotations

import os
import shutil
import subprocess
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def run_or_skip(*command: str | Path) -> str:
    """Run a command; skip the test where the privilege or the program is missing."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError) as exc:
        pytest.skip(f"not possible here: {exc} {getattr(exc, 'stderr', '')}")
    return done.stdout.strip()


def mount(cleanup: ExitStack, place: Path, *how: str | Path) -> Path:
    """Make a directory, and mount a file system on it until the test ends."""
    place.mkdir(parents=True, exist_ok=True)
    run_or_skip("mount", *how, place)
    cleanup.callback(unmount, place)
    return place


def unmount(place: Path) -> None:
    subprocess.run(["umount", "--lazy", place], check=True)


def mount_tmpfs(cleanup: ExitStack, place: Path, *options: str) -> Path:
    """Mount a file system of 1 MB in memory."""
    return mount(cleanup, place, "-t", "tmpfs", "-o", ",".join(["size=1m", "mode=755", *options]), "tmpfs")


@contextmanager
def filled(place: Path, left: int = 0) -> Iterator[None]:
    """Fill a file system until only `left` bytes are free."""
    ballast = place / "ballast"
    with ballast.open("wb") as file:
        found = os.fstatvfs(file.fileno())
        os.posix_fallocate(file.fileno(), 0, max(found.f_bavail * found.f_frsize - left, 1))
    try:
        yield
    finally:
        ballast.unlink()


@contextmanager
def without_inodes(place: Path) -> Iterator[None]:
    """Create files until the file system has no inode left."""
    directory = place / "many"
    directory.mkdir()
    with suppress(OSError):
        for number in range(10**6):
            (directory / str(number)).touch()
    try:
        yield
    finally:
        shutil.rmtree(directory)


@contextmanager
def read_only(place: Path) -> Iterator[None]:
    """Bind a directory to itself, read-only, as systemd does.

    The kernel refuses to remount the file system itself, because the daemon's lock file is open for writing.
    """
    run_or_skip("mount", "--bind", place, place)
    run_or_skip("mount", "-o", "remount,bind,ro", place)
    try:
        yield
    finally:
        unmount(place)
