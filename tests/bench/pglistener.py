"""omnicdc beside Debian's pglistener: one file of lines from one table, by the same query.

`python -m bench.pglistener PACKAGES [ROWS …]`; PACKAGES is the directory that holds the package `pglistener`,
such as /usr/lib/python3/dist-packages. omnicdc also writes its own three registries.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

import psycopg
from support.agents import declare
from support.sources import installed

from bench.ground import Ground
from omnicdc import db
from omnicdc.capture import install

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from bench.ground import Estate

QUERY = "select id, name, status from projects"

TRIGGER = """
create function tell() returns trigger language plpgsql as $$ begin notify bench_file; return null; end $$;
create trigger tell after insert or update or delete on projects for each statement execute function tell();
"""

PROGRAM = """
import sys
sys.path.append(sys.argv[1])
from pglistener import config, daemon
daemon.run(list(config.read_configs(sys.argv[2:])))
"""

SAMPLES = 40
WRITES = 400


def _changed(path: Path, before: tuple[int, int]) -> bool:
    found = path.stat()
    return (found.st_ino, found.st_mtime_ns) != before


def _latency_ms(dsn: str, path: Path, name: str) -> float:
    """Return the milliseconds from a commit to the moment when the file has been replaced and shows it."""
    with psycopg.connect(dsn, autocommit=True) as conn:
        found = path.stat()
        before = (found.st_ino, found.st_mtime_ns)
        first = "select min(id::text)::uuid from projects"
        conn.execute(f"update projects set name = %s where id = ({first})", [name])
        began = time.perf_counter()
        while not (_changed(path, before) and name in path.read_text()):
            assert time.perf_counter() - began < 60, f"{path} does not show {name}"
            time.sleep(0.0002)
        return (time.perf_counter() - began) * 1000


def _write_ms(dsn: str) -> float:
    """Return the median of the milliseconds that an upsert takes its writer."""
    times = []
    with psycopg.connect(dsn, autocommit=True) as conn:
        for number in range(WRITES):
            began = time.perf_counter()
            conn.execute(
                "insert into projects (name, status) values (%s, 'active')", [f"cost-{number}-{began}"]
            )
            times.append((time.perf_counter() - began) * 1000)
        conn.execute("delete from projects where name like 'cost-%'")
    return statistics.median(times)


@contextmanager
def _pglistener(packages: str, estate: Estate) -> Iterator[Path]:
    """Run pglistener; give its file."""
    directory = estate.directory / "pglistener"
    directory.mkdir(parents=True, exist_ok=True)
    path, settings = directory / "names.txt", directory / "names.cfg"
    settings.write_text(
        f"[names]\nclass=PgListener\ndsn={estate.cmp.dsn}\nnotifications=bench_file\nquery={QUERY}\n"
        f"format=%s %s %s\\n\ndestination={path}\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, packages, settings], env=os.environ, stderr=subprocess.DEVNULL
    )
    try:
        while not path.exists():
            assert process.poll() is None, "pglistener ended"
            time.sleep(0.01)
        yield path
    finally:
        process.terminate()
        process.wait()


@contextmanager
def _omnicdc(estate: Estate) -> Iterator[Path]:
    """Run omnicdc; give its file."""
    host = estate.host()
    declared = {
        "name": "names", "path": "names.txt", "query": QUERY, "format": "lines",
        "entry": "{{ id }} {{ name }} {{ status }}",
    }  # fmt: skip
    host.env |= declare(estate.directory, json.dumps({"registries": [declared]}))
    with db.connect(estate.cmp.dsn) as conn:
        install.install(conn, installed(host.config()))
    with estate.daemon(host):
        yield host.root / "names.txt"


def main() -> None:
    """Measure, and print a table."""
    packages, *sizes = sys.argv[1:]
    ground = Ground()
    try:
        for size in map(int, sizes or ["10000", "100000"]):
            sys.stdout.write(f"{size:,} rows\n")
            _one_size(ground, packages, size)
    finally:
        ground.close()


def _one_size(ground: Ground, packages: str, size: int) -> None:
    found: dict[str, dict[str, float]] = {}
    for name in ("pglistener", "omnicdc"):
        with ground.estate(f"{name}_{size}", size, captured=False) as estate, ExitStack() as running:
            alone = _write_ms(estate.cmp.dsn)
            if name == "pglistener":
                estate.cmp.conn.execute(TRIGGER)
            opening = _pglistener(packages, estate) if name == "pglistener" else _omnicdc(estate)
            path = running.enter_context(opening)
            latency = statistics.median(
                _latency_ms(estate.cmp.dsn, path, f"renamed-{number}") for number in range(SAMPLES)
            )
            beside = _write_ms(estate.cmp.dsn)
        found[name] = {"latency ms": latency, "write ms, alone": alone, "write ms, followed": beside}
    for measure in ("latency ms", "write ms, alone", "write ms, followed"):
        line = "  ".join(f"{name} {values[measure]:.2f}" for name, values in found.items())
        sys.stdout.write(f"  {measure}: {line}\n")


if __name__ == "__main__":
    main()
