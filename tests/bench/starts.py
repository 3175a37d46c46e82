"""The duration of a start: with nothing to do, and after a million unread changes."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, LiteralString

from bench import plain
from bench.latency import OURS
from bench.measure import Figure, Series, alternated

if TYPE_CHECKING:
    from support.host import Host

    from bench.effort import Run
    from bench.ground import Estate

COLD = 2.0
CATCH_UP = 3.5
"""Limit as a multiple of the plain process, which selects, serialises and writes as many projects."""

CHANGES, CHANGED = 1_000_000, 50_000
QUICK_CHANGES, QUICK_CHANGED = 50_000, 5_000

UPDATE: LiteralString = "update projects set status = 'wave ' || %s, updated_at = clock_timestamp()"


def measure(run: Run) -> None:
    """Start the daemon repeatedly. Each start ends with READY=1, after everything is published."""
    _cold(run)
    _catch_up(run)


def _cold(run: Run) -> None:
    projects = run.effort.sizes[-1]
    run.report(f"starts: nothing to write, N = {projects:,}")
    with run.ground.estate("cold", projects) as estate:
        host = estate.host()
        _start(estate, host)
        before = host.stats()
        times = _beside_plain(run, estate, [host] * run.effort.rounds)
        assert not host.rewritten(before), "a start that has nothing to write wrote"
    claim = f"cold start, N = {projects:,}: process start → READY, nothing written"
    run.results.figures.append(_figure(claim, times, COLD))


def _catch_up(run: Run) -> None:
    changes, projects = (QUICK_CHANGES, QUICK_CHANGED) if run.effort.quick else (CHANGES, CHANGED)
    run.report(f"starts: {changes:,} changes over {projects:,} projects behind")
    with run.ground.estate("behind", projects) as estate:
        # A consumer for each round: all of them are behind by the same changes.
        hosts = [estate.host(f"behind{number}") for number in range(run.effort.rounds)]
        for host in hosts:
            _start(estate, host)
        for number in range(changes // projects):
            estate.cmp.conn.execute(UPDATE, [str(number)])
        assert estate.cmp.value("select count(*) from omnicdc.change") >= changes
        times = _beside_plain(run, estate, hosts)
        # As the daemon does once a minute, but with a retention of zero.
        estate.cmp.conn.execute("select changes from omnicdc.prune('0s', '1 day', 10000000)")
        # Canaries of later daemons are kept for consumers whose daemons have ended.
        left = estate.cmp.value("select count(*) from omnicdc.change where source is distinct from 0")
    run.results.figures += [
        _figure(f"catch-up on {changes:,} changes over {projects:,} projects", times, CATCH_UP),
        Figure("rows of the log that are left after it is pruned", Series((float(left),), "rows"), 0.0),
    ]


def _beside_plain(run: Run, estate: Estate, hosts: list[Host]) -> dict[str, list[float]]:
    """Start the daemon of each host, alternating with the plain process; return the seconds of each."""
    plain_processes, starting = plain.processes(estate), iter(hosts)
    return alternated(
        run.effort.rounds,
        {OURS: lambda: [_start(estate, next(starting))], plain.PROCESS: lambda: islice(plain_processes, 1)},
    )


def _figure(claim: str, times: dict[str, list[float]], limit: float) -> Figure:
    ours, plain_seconds = (Series(tuple(times[name]), "s") for name in (OURS, plain.PROCESS))
    return Figure(claim, ours, limit, plain_seconds, plain.PROCESS)


def _start(estate: Estate, host: Host) -> float:
    with estate.daemon(host) as daemon:
        return daemon.wait_until_ready()
