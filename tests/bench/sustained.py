"""Sustained load: eight connections write all the time, and the lag of the files is measured."""

from __future__ import annotations

import subprocess
import time
from typing import TYPE_CHECKING

from bench import upserts
from bench.floor import Floor
from bench.ground import contents
from bench.latency import CONSUMER, FLOOR
from bench.measure import Figure, Series
from bench.pgbench import IDS, command, rate_in, script

if TYPE_CHECKING:
    from bench.effort import Run
    from bench.ground import Estate

PROJECTS = 10_000
CLIENTS = 8
RATE = 1_000
"""Upserts per second: on average, each of ten thousand projects once in ten seconds."""
EVERY_S = 0.05
LAG = 30.0
"""Limit as a multiple of the floor, which is measured before, without writers."""

FLOORS = 24
GROWTH = 1.5
"""Limit of the median of the last third, as a multiple of the first third."""


def measure(run: Run) -> None:
    """Run pgbench at a steady rate, and then as fast as possible. Measure the lag of additional upserts."""
    for rate, seconds in ((RATE, run.effort.sustained_s), (None, max(run.effort.sustained_s // 4, 5))):
        how = f"{rate:,} upserts/s" if rate else "as fast as they can"
        run.report(f"sustained: {CLIENTS} connections, {how}, for {seconds} s, N = {PROJECTS:,}")
        with run.ground.estate(f"sustained_{rate}", PROJECTS) as estate:
            estate.cmp.conn.execute(IDS)
            host = estate.host(CONSUMER)
            with estate.daemon(host):
                with Floor(estate.cmp.dsn, estate.directory / "floor", contents(host)) as floor:
                    least = Series(tuple(floor.once() for _ in range(FLOORS)), "ms")
                lags, reached = _lags(run, estate, rate, seconds)
        what = f"{CLIENTS} connections, {how} ({reached:,.0f}/s), N = {PROJECTS:,}"
        third = len(lags) // 3
        first, last = (Series(tuple(part), "ms") for part in (lags[:third], lags[-third:]))
        run.results.figures += [
            Figure(f"{what}: lag", Series(tuple(lags), "ms"), LAG, least, FLOOR, statistic="p99"),
            Figure(f"{what}: lag of the last third", last, GROWTH, first, "the first third"),
        ]


def _lags(run: Run, estate: Estate, rate: int | None, seconds: int) -> tuple[list[float], float]:
    """Return the milliseconds from commit to publication of each upsert, and the rate of pgbench."""
    program, path = run.ground.program("pgbench"), script(run.ground, PROJECTS)
    pgbench = subprocess.Popen(
        command(program, path, estate.cmp.dsn, clients=CLIENTS, seconds=seconds, rate=rate),
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    sent = _sent(estate, pgbench)
    reached = rate_in(pgbench.communicate()[0])
    estate.cmp.arrived()
    return [(_published(estate, token) - began) * 1000 for token, began in sent], reached


def _sent(estate: Estate, pgbench: subprocess.Popen[str]) -> list[tuple[str, float]]:
    """Upsert until pgbench ends; return each token, and the time just before its commit."""
    sent = []
    rows = upserts.values(upserts.projects(estate.cmp))
    while pgbench.poll() is None:
        with estate.cmp.transaction() as (conn, token):
            upserts.upsert(conn, next(rows))
            began = time.time()
        sent.append((token, began))
        time.sleep(EVERY_S)
    return sent


def _published(estate: Estate, token: str) -> float:
    return float(
        estate.cmp.value(
            """select extract(epoch from h.at) from omnicdc.history h
                where h.consumer = %s and pg_visible_in_snapshot(%s::text::xid8, h.snapshot)
                order by h.id limit 1""",
            CONSUMER,
            token,
        )
    )
