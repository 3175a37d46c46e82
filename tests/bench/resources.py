"""The resources of the daemon: its memory at the start and over many generations, and its use while idle."""

from __future__ import annotations

import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import psycopg

from bench import upserts
from bench.latency import CONSUMER, Propagation
from bench.measure import Curve, Figure, Series

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bench.effort import Run
    from bench.ground import Estate, Running

RESIDENT_MB = 350.0
UPSERTS = 20

FEW = 100
GENERATIONS = 10_000
QUICK_GENERATIONS = 500
SAMPLES = 10
GROWTH_MB = 2.0
"""Over the 9,000 generations after the first 1,000, this is 220 bytes each: less than the smallest object
that a generation could leak. Python allocates arenas of one megabyte, and one may come late."""

PATIENCE_S = 20.0

IDLE = 2.0
"""Limit as a multiple of a process that only listens, and wakes up regularly."""

LISTENER = "a process that only listens"
LISTENS = """
import psycopg, sys
with psycopg.connect(sys.argv[1], autocommit=True) as conn:
    conn.execute("listen bench")
    while True:
        list(conn.notifies(timeout=0.2))
"""
IDLE_S = 20.0
QUICK_IDLE_S = 6.0
SETTLING_S = 6.0
"""Longer than `poll_s`, so that the first check of files and inputs is done."""


def measure(run: Run) -> None:
    """Measure one daemon with many projects, full and then idle.

    Measure one with few projects for ten thousand generations.
    """
    _with_many(run)
    _over_time(run)


def _with_many(run: Run) -> None:
    projects = run.effort.sizes[-1]
    with run.ground.estate("resources_many", projects) as estate, estate.daemon(estate.host()) as daemon:
        run.report(
            f"resources: memory, N = {projects:,}, from the start, after {UPSERTS} upserts, and after one "
            f"of all"
        )
        resident = Series(tuple(_resident(estate, daemon)), "MB")
        run.results.figures.append(
            Figure(f"daemon memory at N = {projects:,}", resident, RESIDENT_MB, statistic="highest")
        )
        _idle(run, estate, daemon, projects)


def _resident(estate: Estate, daemon: Running) -> Iterator[float]:
    """Yield the resident memory after each step that may increase it."""
    yield daemon.resident_mb()
    with Propagation(estate) as propagation:
        for _ in range(UPSERTS):
            propagation.once()
    yield daemon.resident_mb()
    estate.cmp.conn.execute("update projects set status = 'renewed'")
    estate.cmp.arrived()
    yield daemon.resident_mb()


def _idle(run: Run, estate: Estate, daemon: Running, projects: int) -> None:
    """Measure an idle daemon.

    The hourly sweep, and the check of the clones every 15 minutes, are not included.
    """
    seconds = QUICK_IDLE_S if run.effort.quick else IDLE_S
    run.report(f"resources: an idle daemon for {seconds:.0f} s, N = {projects:,}")
    listener = subprocess.Popen([sys.executable, "-c", LISTENS, estate.cmp.dsn])
    try:
        time.sleep(SETTLING_S)
        before, listened, began = Used.by(daemon), cpu_ns(listener.pid), time.monotonic_ns()
        time.sleep(seconds)
        after, lasted = Used.by(daemon), time.monotonic_ns() - began
        listened = cpu_ns(listener.pid) - listened
    except OSError as exc:
        run.results.remarks.append(f"the use of an idle daemon was not measured: {exc}")
        return
    finally:
        listener.kill()
        listener.wait()
    ours, listening = (
        Series((used / lasted * 100,), "%") for used in (after.cpu_ns - before.cpu_ns, listened)
    )
    written = after.written_bytes - before.written_bytes
    run.results.figures += [
        Figure(f"idle daemon, N = {projects:,}: share of one core", ours, IDLE, listening, LISTENER),
        Figure(f"idle daemon, N = {projects:,}: handed to the disk", Series((float(written),), "bytes"), 0.0),
    ]


@dataclass(frozen=True, slots=True)
class Used:
    """The resources that a process has used since its start."""

    cpu_ns: int
    written_bytes: int

    @classmethod
    def by(cls, daemon: Running) -> Used:
        """Read the present values. Raise OSError if the kernel does not provide them."""
        return cls(cpu_ns(daemon.process.pid), daemon.written_bytes())


def cpu_ns(pid: int) -> int:
    """Return the processor time of a process in nanoseconds.

    The usual ticks of 10 ms are too coarse: one would be a quarter of the time used in 20 s. Raise OSError if
    the kernel does not provide the value.
    """
    threads = list(Path(f"/proc/{pid}/task").glob("*/schedstat"))
    if not threads:
        raise FileNotFoundError("this kernel keeps no schedstat")
    return sum(int(thread.read_text().split()[0]) for thread in threads)


def _over_time(run: Run) -> None:
    generations = QUICK_GENERATIONS if run.effort.quick else GENERATIONS
    run.report(f"resources: memory over {generations:,} generations, N = {FEW}")
    with (
        run.ground.estate("resources_growth", FEW) as estate,
        estate.daemon(estate.host()) as daemon,
        Generations(estate) as generator,
    ):
        resident = []
        for _ in range(SAMPLES):
            generator.drive(generations // SAMPLES)
            resident.append(daemon.resident_mb())
    growth = Series(tuple(later - resident[0] for later in resident[1:]), "MB")
    run.results.figures.append(
        Figure(f"memory growth over {generations:,} generations", growth, GROWTH_MB, statistic="highest")
    )
    points = {
        (number + 1) * generations // SAMPLES: Series((mb,), "MB") for number, mb in enumerate(resident)
    }
    run.results.curves.append(Curve("memory", f"resident, N = {FEW}", "generations", points))


class Generations:
    """Makes the daemon publish one generation after another, each by one upsert of a known project."""

    def __init__(self, estate: Estate) -> None:
        self._rows = _known(estate)
        self._writer = psycopg.connect(estate.cmp.dsn, autocommit=True)
        self._listener = psycopg.connect(estate.cmp.dsn, autocommit=True)
        self._listener.execute("listen omnicdc_published")

    def drive(self, generations: int) -> None:
        """Upsert until so many more generations are published."""
        wanted = self._number() + generations
        while self._number() < wanted:
            upserts.upsert(self._writer, next(self._rows))
            notifications = list(self._listener.notifies(timeout=PATIENCE_S, stop_after=1))
            assert notifications, f"nothing was published within {PATIENCE_S} s"

    def _number(self) -> int:
        [[number]] = self._listener.execute(
            "select generation from omnicdc.consumer where name = %s", [CONSUMER]
        ).fetchall()
        return int(number)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self._writer.close()
        self._listener.close()


def _known(estate: Estate) -> Iterator[dict[str, Any]]:
    """Yield upserts of known projects only, as a growing registry would also need more memory."""
    ids = upserts.projects(estate.cmp)
    there = frozenset(ids)
    return (row for row in upserts.values(ids) if row["id"] in there)
