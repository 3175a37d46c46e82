"""The latency from the commit of one upsert to three durable files, with the floor and a full rebuild."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any

import psycopg
from support.host import PROJECT, until

from bench import upserts
from bench.floor import Floor
from bench.ground import contents
from bench.measure import Curve, Figure, Series, alternated

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import Self

    from support.host import Host

    from bench.effort import Run
    from bench.ground import Estate, Running

CONSUMER = "bench"
OURS, FLOOR, REBUILD = "omnicdc", "floor", "full rebuild"

LIMITS = {100: 2.0, 10_000: 1.5, 100_000: 1.4}
"""Limits as multiples of the floor, by number of projects."""

WORST = 3.0
"""Limit as a multiple of the median of omnicdc."""

QUICKER = 1000.0
QUICKER_FROM = (10_000, 100_000)
"""A full rebuild must take at least this many times as long, for these numbers of projects."""

SAMPLES = 24
"""Samples of the upsert and of the floor in each round: more than a hundred in five rounds."""


def measure(run: Run) -> None:
    """Upsert one project after another in a small, a medium and a large CMP."""
    found = {projects: _one_size(run, projects) for projects in run.effort.sizes}
    run.results.curves += [
        Curve(
            "latency",
            name,
            "projects",
            {projects: it[name] for projects, it in found.items() if name in it},
        )
        for name in (OURS, FLOOR, REBUILD)
    ]


def _one_size(run: Run, projects: int) -> dict[str, Series]:
    run.report(f"latency: one upsert, N = {projects:,}, beside the floor and a full rebuild")
    with run.ground.estate(f"latency_{projects}", projects) as estate:
        host = estate.host(CONSUMER)
        with (
            estate.daemon(host) as daemon,
            Propagation(estate) as ours,
            Floor(estate.cmp.dsn, estate.directory / "floor", contents(host)) as floor,
        ):
            _often(ours.once, 3), _often(floor.once, 3)  # warm up
            before = len(daemon.lines("published"))
            rebuilds = islice(_rebuilds(estate, host), _rebuilds_of(run, projects))
            contenders: dict[str, Callable[[], Iterable[float]]] = {
                OURS: partial(_often, ours.once, SAMPLES),
                FLOOR: partial(_often, floor.once, SAMPLES),
                REBUILD: lambda: islice(rebuilds, 1),
            }
            times = alternated(run.effort.rounds, contenders)
            run.results.stages[projects] = _stages(daemon, before)
    found = {name: Series(tuple(values), "ms") for name, values in times.items() if values}
    run.results.figures += _figures(projects, found)
    return found


def _often(once: Callable[[], float], times: int) -> list[float]:
    return [once() for _ in range(times)]


def _rebuilds_of(run: Run, projects: int) -> int:
    """Return the number of full rebuilds. A large one takes two minutes, so there is time for only one."""
    if projects <= 10_000 and not run.effort.quick:
        return run.effort.rounds
    return 1


def _rebuilds(estate: Estate, host: Host) -> Iterator[float]:
    """Run full rebuilds as scripts do today, one after another; yield the milliseconds of each."""
    directory = estate.directory / "rebuild"
    directory.mkdir()
    shutil.copy(host.root / PROJECT, directory)
    while True:
        output = subprocess.run(
            [sys.executable, "-m", "bench.rebuild", estate.cmp.dsn, str(directory)],
            check=True, capture_output=True, text=True,
        ).stdout  # fmt: skip
        yield float(output)


def _stages(daemon: Running, before: int) -> dict[str, Series]:
    lines = [line["ms"] for line in daemon.lines("published")[before:]]
    return {stage: Series(tuple(line[stage] for line in lines), "ms") for stage in lines[0]}


def _figures(projects: int, found: dict[str, Series]) -> list[Figure]:
    ours, rebuild = found[OURS], found.get(REBUILD)
    what = f"commit → all affected registries durable, one upsert, N = {projects:,}"
    figures = [
        Figure(f"{what}: p50", ours, LIMITS[projects], found[FLOOR], FLOOR),
        Figure(f"{what}: p99", ours, WORST, ours, "its own median", statistic="p99"),
    ]
    if projects in QUICKER_FROM and rebuild:
        claim = f"a full rebuild as scripts do it today, N = {projects:,}"
        figures.append(Figure(claim, rebuild, QUICKER, ours, OURS, at_least=True))
    return figures


class Propagation:
    """Upserts one project at a time, and measures when its files are durable."""

    def __init__(self, estate: Estate) -> None:
        self._rows = upserts.values(upserts.projects(estate.cmp))
        self._writer = psycopg.connect(estate.cmp.dsn)
        self._listener = psycopg.connect(estate.cmp.dsn, autocommit=True)
        self._listener.execute("listen omnicdc_published")

    def once(self) -> float:
        """Return the milliseconds of one upsert, which changes all three registries."""
        return self.of(self.upsert)

    def upsert(self, conn: psycopg.Connection[Any]) -> None:
        """Send the next upsert."""
        upserts.upsert(conn, next(self._rows))

    def of(self, write: Callable[[psycopg.Connection[Any]], object]) -> float:
        """Return the milliseconds from just before the commit of a write to its last fsync.

        The daemons record the time of the fsync.
        """
        return self.spread(write)[1]

    def spread(self, write: Callable[[psycopg.Connection[Any]], object]) -> tuple[float, float]:
        """Return the milliseconds until the first and until the last consumer has published the write.

        All daemons sleep before. All times are of the clock of this machine.
        """
        until(self._at_rest, "the daemons sleep")
        write(self._writer)
        [[token]] = self._writer.execute("select pg_current_xact_id()::text").fetchall()
        began = time.time()
        self._writer.commit()
        while (published := self._published(token)) is None:
            next(self._listener.notifies(stop_after=1))
        first, last = published
        return (first - began) * 1000, (last - began) * 1000

    def _published(self, token: str) -> tuple[float, float] | None:
        [[everywhere, first, last]] = self._listener.execute(
            """select bool_and(pg_visible_in_snapshot(%s::text::xid8, snapshot)),
                      extract(epoch from min(published_at))::float8,
                      extract(epoch from max(published_at))::float8
                 from omnicdc.consumer""",
            [token],
        ).fetchall()
        return (first, last) if everywhere else None

    def _at_rest(self) -> bool:
        """Return whether every daemon holds the sleeper lock S (docs/how-it-works.md, the doorbell)."""
        [[resting]] = self._listener.execute(
            """select count(*) = (select count(*) from omnicdc.consumer) from pg_locks
                where locktype = 'advisory' and classid = 1869442665 and objid = 2 and mode = 'ShareLock'
                  and database = (select oid from pg_database where datname = current_database())"""
        ).fetchall()
        return bool(resting)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self._writer.close()
        self._listener.close()
