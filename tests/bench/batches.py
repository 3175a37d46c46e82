"""How a batch costs: a hundred thousand rows in one statement, and how it grows with their number."""

from __future__ import annotations

import time
from itertools import count
from operator import attrgetter
from typing import TYPE_CHECKING, LiteralString

from bench import floor
from bench.latency import CONSUMER, OURS, Propagation
from bench.measure import Curve, Figure, Series, alternated
from omnicdc import db
from omnicdc.garbage import uncollected
from omnicdc.model import EVERYTHING, Inputs
from omnicdc.rows import select
from omnicdc.scanners import scanners

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from bench.effort import Run
    from bench.ground import Estate
    from omnicdc.scanners import Row, Scanner

SECONDS = 3.0
TIMES = 1.5
LENGTHS = (1, 10, 100, 1000, 10_000, 100_000)
STRAIGHT = "SELECT + serialise + write"

_ROUND = count(1)

MANY: LiteralString = """
insert into projects as p (id, name, key, type, status, metadata_)
select p.id, 'batch ' || %(round)s || ' ' || p.n, p.key, p.type, p.status,
       p.metadata_ || jsonb_build_object('github_url', 'https://github.com/batch/r' || %(round)s || '-' || p.n)
  from (select *, row_number() over (order by id) as n from projects) p where p.n <= %(rows)s
on conflict (id) do update
   set name = excluded.name, key = excluded.key, type = excluded.type, status = excluded.status,
       metadata_ = excluded.metadata_, updated_at = clock_timestamp()
"""
"""Alters all three registries."""


def measure(run: Run) -> None:
    """Upsert ever more rows in one statement; the most beside the plain way to write all three files."""
    projects = run.effort.sizes[-1]
    with (
        run.ground.estate("batches", projects) as estate,
        estate.daemon(estate.host(CONSUMER)),
        Propagation(estate) as ours,
    ):
        points = _growth(run, ours, projects)
        points[projects] = _everything(run, ours, estate, projects)
    run.results.curves.append(Curve("batch", OURS, "rows in one statement", points))


def _growth(run: Run, ours: Propagation, projects: int) -> dict[int, Series]:
    points = {}
    for rows in (it for it in LENGTHS if it < projects):
        run.tell(f"batches: {rows:,} rows in one statement, N = {projects:,}")
        points[rows] = Series(tuple(_published(ours, rows) for _ in range(run.effort.rounds)), "ms")
    return points


def _everything(run: Run, ours: Propagation, estate: Estate, projects: int) -> Series:
    run.tell(f"batches: {projects:,} rows in one statement, N = {projects:,}, beside {STRAIGHT}")
    directory = estate.directory / "straight"
    directory.mkdir()
    with db.connect(estate.cmp.dsn) as conn:
        times = alternated(
            run.effort.rounds,
            {
                OURS: lambda: [_published(ours, projects)],
                STRAIGHT: lambda: [_straight(conn, directory)],
            },
        )
    found = {name: Series(tuple(it / 1000 for it in values), "s") for name, values in times.items()}
    what = f"{projects:,} rows upserted in one statement → all published"
    run.results.figures += [
        Figure(f"{what}: seconds", found[OURS], SECONDS),
        Figure(f"{what}: beside the plain way", found[OURS], TIMES, found[STRAIGHT], STRAIGHT),
    ]
    return Series(tuple(times[OURS]), "ms")


def _published(ours: Propagation, rows: int) -> float:
    values = {"rows": rows, "round": next(_ROUND)}
    return ours.of(lambda conn: conn.execute(MANY, values))


def _straight(conn: db.Connection, directory: Path) -> float:
    """Return the milliseconds that the same files take without a log, a document, or digests.

    The entries are rendered by the same functions: what a library needs for YAML would flatter us.
    """
    began = time.perf_counter()
    for number, scanner in enumerate(scanners().values()):
        with uncollected():
            floor.write(
                directory / str(number), _serialised(scanner, select(conn, scanner, "projects", EVERYTHING))
            )
    return (time.perf_counter() - began) * 1000


def _serialised(scanner: Scanner, rows: Sequence[Row]) -> bytes:
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(scanner.key(row) if scanner.grouped else str(row[0]), []).append(row)
    inputs = Inputs()
    rendered = (scanner.render(unit, found, inputs) for unit, found in groups.items() if unit)
    entries = sorted((entry for entry in rendered if entry), key=attrgetter("sort"))
    tally = tuple(map(sum, zip(*(entry.tally for entry in entries), strict=True)))
    frame = scanner.frame(len(entries), tally, "2026-01-01T00:00:00+00:00")
    return b"".join((frame.header, *(entry.data for entry in entries), frame.footer))
