"""Describes the machine of the measurements."""

from __future__ import annotations

import os
import platform
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.measure import Series
from bench.wording import number, quantity

if TYPE_CHECKING:
    import psycopg

FSYNCS = 100
PAGE = b"\0" * 8192


@dataclass(frozen=True, slots=True)
class Machine:
    """The properties of a machine that affect the figures."""

    cores: int
    """The cores that this process may use."""
    cpu: str
    memory_bytes: int
    kernel: str
    file_system: str
    """The file system of the data."""
    fsync: Series
    """The time to write one page and fsync it."""
    python: str
    postgresql: str

    def __str__(self) -> str:
        """Return one line of text."""
        return (
            f"{self.cores} cores of {self.cpu}, {number(self.memory_bytes / 1e9)} GB of memory, "
            f"{self.kernel}, "
            f"{self.file_system} with an fsync of {quantity(self.fsync.p50, self.fsync.unit)}, "
            f"Python {self.python}, PostgreSQL {self.postgresql}"
        )


def examine(conn: psycopg.Connection[Any], directory: Path) -> Machine:
    """Return this machine. The data is in `directory`, where a temporary file is written."""
    return Machine(
        cores=len(os.sched_getaffinity(0)),
        cpu=model(Path("/proc/cpuinfo").read_text()) or platform.machine(),
        memory_bytes=os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"),
        kernel=f"{platform.system()} {platform.release()}",
        file_system=file_system(Path("/proc/self/mountinfo").read_text(), directory.resolve()),
        fsync=_fsync(directory / "fsync"),
        python=platform.python_version(),
        postgresql=conn.info.parameter_status("server_version") or "unknown",
    )


def model(cpuinfo: str) -> str:
    """Return the name of the processor; "" if the architecture does not provide it."""
    named = (line.partition(":")[2].strip() for line in cpuinfo.splitlines() if line.startswith("model name"))
    return next(named, "")


def file_system(mountinfo: str, directory: Path) -> str:
    """Return the type of the file system of `directory`.

    It is the deepest mount point above, and the latest mount at that point.
    """
    held = "unknown"
    deepest = 0
    for line in mountinfo.splitlines():
        mount, _, kind = line.partition(" - ")
        point = Path(mount.split()[4])
        if directory.is_relative_to(point) and len(point.parts) >= deepest:
            held, deepest = kind.split()[0], len(point.parts)
    return held


def _fsync(path: Path) -> Series:
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    try:
        return Series(tuple(_synced(file) for _ in range(FSYNCS)), "ms")
    finally:
        os.close(file)
        path.unlink()


def _synced(file: int) -> float:
    os.pwrite(file, PAGE, 0)
    began = time.perf_counter()
    os.fsync(file)
    return (time.perf_counter() - began) * 1000
