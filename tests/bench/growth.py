"""The growth of the latency with the number of changed registries, and with the consumers of one database."""

from __future__ import annotations

from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING, Any, LiteralString

from bench.latency import CONSUMER, Propagation
from bench.measure import Curve, Series

if TYPE_CHECKING:
    import psycopg

    from bench.effort import Run

SAMPLES = 30
PROJECTS = 10_000
FEW = 1_000
CONSUMERS = (1, 4, 16)

ALTERED: dict[int, LiteralString] = {
    1: "type = case mod(%(n)s::int, 2) when 0 then 'service' else 'SERVICE' end",
    2: "status = 'status ' || %(n)s",
    3: "metadata_ = metadata_ || jsonb_build_object('github_url', 'https://github.com/growth/r' || %(n)s)",
}
"""The change to make, by the number of registries that show it."""


def measure(run: Run) -> None:
    """Measure both curves."""
    _registries(run)
    _consumers(run)


def _registries(run: Run) -> None:
    points = {}
    with (
        run.ground.estate("registries", PROJECTS) as estate,
        estate.daemon(estate.host(CONSUMER)),
        Propagation(estate) as ours,
    ):
        for registries, change in ALTERED.items():
            run.report(f"growth: {registries} of three registries altered, N = {PROJECTS:,}")
            changes = [partial(_alter, change, n) for n in range(SAMPLES)]
            points[registries] = Series(tuple(map(ours.of, changes)), "ms")
    run.results.curves.append(Curve("registries", "omnicdc", "registries altered", points))


def _alter(change: LiteralString, number: int, conn: psycopg.Connection[Any]) -> None:
    conn.execute(
        f"update projects set {change} where id = (select id from projects limit 1)", {"n": str(number)}
    )


def _consumers(run: Run) -> None:
    counts = CONSUMERS[:2] if run.effort.quick else CONSUMERS
    first, last = {}, {}
    for count in counts:
        run.report(f"growth: {count} consumers of one database, N = {FEW:,}")
        with run.ground.estate(f"consumers_{count}", FEW) as estate, ExitStack() as stack:
            for number in range(count):
                stack.enter_context(estate.daemon(estate.host(f"{CONSUMER}{number}")))
            ours = stack.enter_context(Propagation(estate))
            times = [ours.spread(ours.upsert) for _ in range(SAMPLES)]
            first[count] = Series(tuple(it for it, _ in times), "ms")
            last[count] = Series(tuple(it for _, it in times), "ms")
    run.results.curves += [
        Curve("consumers", "the first has it", "consumers", first),
        Curve("consumers", "all have it", "consumers", last),
    ]
