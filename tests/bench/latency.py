"""From the commit of one upsert to three durable files, beside the floor and what scripts do today."""

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
"""Times the floor, by projects."""

WORST = 3.0
"""Times its own median."""

QUICKER = 1000.0
QUICKER_FROM = (10_000, 100_000)
"""How many times as long a full rebuild takes, and where."""

SAMPLES = 24
"""Of an upsert and of the floor in each round: over a hundred in five."""


def measure(run: Run) -> None:
    """Upsert one project after another in a small, a middling and a large CMP."""
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
    run.tell(f"latency: one upsert, N = {projects:,}, beside the floor and a full rebuild")
    with run.ground.estate(f"latency_{projects}", projects) as estate:
        host = estate.host(CONSUMER)
        with (
            estate.daemon(host) as daemon,
            Propagation(estate) as ours,
            Floor(estate.cmp.dsn, estate.directory / "floor", contents(host)) as floor,
        ):
            _often(ours.once, 3), _often(floor.once, 3)  # whatever is done once only
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
    """Return how many full rebuilds there is time for: a large one takes two minutes."""
    if projects <= 10_000 and not run.effort.quick:
        return run.effort.rounds
    return 1


def _rebuilds(estate: Estate, host: Host) -> Iterator[float]:
    """Rebuild everything as scripts do it today, again and again; each yields its milliseconds."""
    directory = estate.directory / "rebuild"
    directory.mkdir()
    shutil.copy(host.root / PROJECT, directory)
    while True:
        said = subprocess.run(
            [sys.executable, "-m", "bench.rebuild", estate.cmp.dsn, str(directory)],
            check=True, capture_output=True, text=True,
        ).stdout  # fmt: skip
        yield float(said)


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
    """Upserts one project at a time, and learns when its files were durable."""

    def __init__(self, estate: Estate) -> None:
        self._rows = upserts.values(upserts.projects(estate.cmp))
        self._writer = psycopg.connect(estate.cmp.dsn)
        self._listener = psycopg.connect(estate.cmp.dsn, autocommit=True)
        self._listener.execute("listen omnicdc_published")

    def once(self) -> float:
        """Return the milliseconds that one upsert takes, which alters all three registries."""
        return self.of(self.upsert)

    def upsert(self, conn: psycopg.Connection[Any]) -> None:
        """Send it."""
        upserts.upsert(conn, next(self._rows))

    def of(self, write: Callable[[psycopg.Connection[Any]], object]) -> float:
        """Return the milliseconds from before the commit of a write to its last fsync.

        The daemons stamp the fsync.
        """
        return self.spread(write)[1]

    def spread(self, write: Callable[[psycopg.Connection[Any]], object]) -> tuple[float, float]:
        """Return when the first consumer had it, and when the last.

        They are at rest before; all clocks are this machine's.
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
        """Whether every daemon holds S (docs/how-it-works.md, the doorbell)."""
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
