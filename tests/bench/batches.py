"""The cost of a batch: a hundred thousand rows in one statement, and its growth with the number of rows."""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING, LiteralString

from bench import plain
from bench.latency import CONSUMER, OURS, Propagation
from bench.measure import Curve, Figure, Series, alternated
from omnicdc import db

if TYPE_CHECKING:
    from bench.effort import Run
    from bench.ground import Estate

TIMES = 1.5
LENGTHS = (1, 10, 100, 1000, 10_000, 100_000)

_ROUND = count(1)

MANY: LiteralString = """
insert into projects as p (id, name, key, type, status, metadata_)
select p.id, 'batch ' || %(round)s || ' ' || p.n, p.key, p.type, p.status,
       p.metadata_
         || jsonb_build_object('github_url', 'https://github.com/batch/r' || %(round)s || '-' || p.n)
  from (select *, row_number() over (order by id) as n from projects) p where p.n <= %(rows)s
on conflict (id) do update
   set name = excluded.name, key = excluded.key, type = excluded.type, status = excluded.status,
       metadata_ = excluded.metadata_, updated_at = clock_timestamp()
"""
"""Changes all three registries."""


def measure(run: Run) -> None:
    """Upsert more and more rows in one statement. Compare the largest batch with the plain program."""
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
        run.report(f"batches: {rows:,} rows in one statement, N = {projects:,}")
        points[rows] = Series(tuple(_published(ours, rows) for _ in range(run.effort.rounds)), "ms")
    return points


def _everything(run: Run, ours: Propagation, estate: Estate, projects: int) -> Series:
    run.report(f"batches: {projects:,} rows in one statement, N = {projects:,}, beside {plain.NAME}")
    directory = estate.directory / "plain"
    directory.mkdir()
    with db.connect(estate.cmp.dsn) as conn:
        times = alternated(
            run.effort.rounds,
            {
                OURS: lambda: [_published(ours, projects)],
                plain.NAME: lambda: [plain.once(conn, directory)],
            },
        )
    found = {name: Series(tuple(it / 1000 for it in values), "s") for name, values in times.items()}
    what = f"{projects:,} rows upserted in one statement → all published"
    run.results.figures.append(Figure(what, found[OURS], TIMES, found[plain.NAME], plain.NAME))
    return Series(tuple(times[OURS]), "ms")


def _published(ours: Propagation, rows: int) -> float:
    values = {"rows": rows, "round": next(_ROUND)}
    return ours.of(lambda conn: conn.execute(MANY, values))
