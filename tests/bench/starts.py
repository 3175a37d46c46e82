"""How long a start takes: with nothing to do, and after a million changes that nobody has read."""

from __future__ import annotations

from typing import TYPE_CHECKING, LiteralString

from bench.measure import Figure, Series

if TYPE_CHECKING:
    from support.host import Host

    from bench.effort import Run
    from bench.ground import Estate

COLD_S = 2.5
CATCH_UP_S = 4.0
CHANGES, CHANGED = 1_000_000, 50_000
QUICK_CHANGES, QUICK_CHANGED = 50_000, 5_000

WAVE: LiteralString = "update projects set status = 'wave ' || %s, updated_at = clock_timestamp()"


def measure(run: Run) -> None:
    """Start again and again, each time for READY=1, which is told after everything is published."""
    _cold(run)
    _catch_up(run)


def _cold(run: Run) -> None:
    projects = run.effort.sizes[-1]
    run.tell(f"starts: nothing to write, N = {projects:,}")
    with run.ground.estate("cold", projects) as estate:
        host = estate.host()
        _start(estate, host)
        before = host.stats()
        times = tuple(_start(estate, host) for _ in range(run.effort.rounds))
        assert not host.rewritten(before), "a start that has nothing to write wrote"
    claim = f"cold start, N = {projects:,}: process start → READY, nothing written"
    run.results.figures.append(Figure(claim, Series(times, "s"), COLD_S))


def _catch_up(run: Run) -> None:
    changes, projects = (QUICK_CHANGES, QUICK_CHANGED) if run.effort.quick else (CHANGES, CHANGED)
    run.tell(f"starts: {changes:,} changes over {projects:,} projects behind")
    with run.ground.estate("behind", projects) as estate:
        # A consumer for each round: all of them are behind by the same changes.
        hosts = [estate.host(f"behind{number}") for number in range(run.effort.rounds)]
        for host in hosts:
            _start(estate, host)
        for number in range(changes // projects):
            estate.cmp.conn.execute(WAVE, [str(number)])
        assert estate.cmp.value("select count(*) from omnicdc.change") >= changes
        times = tuple(_start(estate, host) for host in hosts)
        # As the daemon does once a minute, with no time for which the log is kept for people to look at.
        estate.cmp.conn.execute("select omnicdc.prune('0s', '1 day', 10000000)")
        left = estate.cmp.value("select count(*) from omnicdc.change")
    run.results.figures += [
        Figure(f"catch-up on {changes:,} changes over {projects:,} projects", Series(times, "s"), CATCH_UP_S),
        Figure("rows of the log that are left after it is pruned", Series((float(left),), "rows"), 0.0),
    ]


def _start(estate: Estate, host: Host) -> float:
    with estate.daemon(host) as daemon:
        return daemon.wait_until_ready()
