"""A file system on a loop device that can fail or lose its power."""

from __future__ import annotations

import fcntl
import os
import shutil
import struct
import subprocess
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from faults.disk.mounts import mount, run_or_skip

if TYPE_CHECKING:
    from collections.abc import Iterator


class Disk:
    """A file system on a block device that can fail, or lose its power.

    `features` are options of mkfs.ext4. They are given only to create a file system without a journal.
    """

    def __init__(self, cleanup: ExitStack, where: Path, *features: str) -> None:
        self.image = where / "image"
        self.image.touch()
        os.truncate(self.image, 16 << 20)
        run_or_skip("mkfs.ext4", "-q", "-F", "-b", "1024", "-E", "lazy_itable_init=0", *features, self.image)
        self.device = run_or_skip("losetup", "-f", "--show", self.image)
        cleanup.callback(subprocess.run, ["losetup", "-d", self.device], check=True)
        self._journal = not features
        # With a journal, data that is not synced is written minutes later, so a copy shows one moment.
        self._options = "commit=600" if self._journal else "errors=continue"
        self.place = mount(cleanup, where / "disk", "-o", self._options, self.device)

    @contextmanager
    def failing(self) -> Iterator[None]:
        """Make the device smaller beneath its file system, so that access beyond the first 3 MB fails.

        The first 3 MB hold the file system's tables.
        """
        self._limit(3 << 20)
        try:
            yield
        finally:
            self._limit(0)

    def mount_again(self) -> None:
        """Repair the file system as an administrator does."""
        run_or_skip("umount", self.place)
        subprocess.run(["e2fsck", "-fy", self.device], capture_output=True, check=False)
        run_or_skip("mount", "-o", self._options, self.device, self.place)

    def _limit(self, size: int) -> None:
        """Set lo_sizelimit of struct loop_info64; 0 means no limit."""
        with Path(self.device).open("rb") as device:
            info = bytearray(232)
            fcntl.ioctl(device, 0x4C05, info)  # LOOP_GET_STATUS64
            struct.pack_into("Q", info, 32, size)
            fcntl.ioctl(device, 0x4C04, info)  # LOOP_SET_STATUS64

    @contextmanager
    def after_a_power_cut(self, where: Path) -> Iterator[Path]:
        """Mount a copy of what the device holds at this moment. Data that was not synced is lost."""
        with ExitStack() as cleanup:
            where.mkdir()
            cleanup.callback(shutil.rmtree, where)
            shutil.copyfile(self.image, where / "image")
            if not self._journal:
                subprocess.run(["e2fsck", "-fy", where / "image"], capture_output=True, check=False)
            yield mount(cleanup, where / "disk", "-o", "loop", where / "image")
