"""A comparison: select the rows of CMP, serialise them and write three files, without log and documents.

As a program it is the comparison for whole processes: `python -m bench.plain DSN DIRECTORY` does this once.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING

from support.sources import SCANNERS, TABLES

from bench import floor
from omnicdc import db
from omnicdc.model import ALL, Inputs
from omnicdc.registries.gc_pause import without_garbage_collection
from omnicdc.registries.rows import select

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from bench.ground import Estate
    from omnicdc.registries.scanners import Row, Scanner

NAME = "SELECT + serialise + write"
PROCESS = "a process for SELECT + serialise + write"


def once(conn: db.Connection, directory: Path) -> float:
    """Do it once, and return the milliseconds.

    The functions of omnicdc render the entries. A YAML library would be slower, and flatter omnicdc.
    """
    began = time.perf_counter()
    for number, scanner in enumerate(SCANNERS.values()):
        with without_garbage_collection():
            floor.write(directory / str(number), _serialised(scanner, select(conn, scanner, TABLES, ALL)))
    return (time.perf_counter() - began) * 1000


def processes(estate: Estate) -> Iterator[float]:
    """Run one process after another; yield the seconds of each from its start to its end."""
    directory = estate.directory / "plain"
    directory.mkdir(exist_ok=True)
    while True:
        began = time.perf_counter()
        subprocess.run(
            [sys.executable, "-m", "bench.plain", estate.cmp.dsn, directory], env=os.environ, check=True
        )
        yield time.perf_counter() - began


def _serialised(scanner: Scanner, rows: Sequence[Row]) -> bytes:
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(scanner.key(row) if scanner.grouped else str(row[0]), []).append(row)
    inputs = Inputs()
    rendered = (scanner.render(unit, found, inputs) for unit, found in groups.items() if unit)
    entries = sorted((entry for entry in rendered if entry), key=attrgetter("sort"))
    counters = tuple(map(sum, zip(*(entry.counters for entry in entries), strict=True)))
    frame = scanner.frame(len(entries), counters, "2026-01-01T00:00:00+00:00")
    return b"".join((frame.header, *(entry.data for entry in entries), frame.footer))


if __name__ == "__main__":
    with db.connect(sys.argv[1]) as conn:
        once(conn, Path(sys.argv[2]))
