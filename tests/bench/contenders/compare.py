"""Compares the contenders: first the latency of one upsert, then the throughput of the writers."""

from __future__ import annotations

import math
import random
import subprocess
import time
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import psycopg

from bench import upserts
from bench.contenders.entrants import CAPTURE, NO_CAPTURE, OMNICDC, Entry
from bench.contenders.program import SilentError
from bench.contenders.server import serving
from bench.measure import Contender, Figure, Series, alternated

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from bench.contenders.entrants import Entrant, Opening
    from bench.effort import Run

    Found = Mapping[str, list[float]]

CLIENTS = 8
UPSERTS = 25
QUICK_UPSERTS = 6
QUICK_ROUNDS = 1
"""The rounds of pgbench in a quick run."""

WARMING_S = 1
"""Seconds of pgbench before the measurements. By then Java has compiled the code."""

IDLE_S = 0.5

ERRORS = (SilentError, psycopg.Error, OSError, subprocess.SubprocessError, AssertionError)
"""Errors of one contender that do not affect the others."""

REMARKS = {
    NO_CAPTURE: "no consumer: the base of the throughput",
    OMNICDC: "the daemon: three files are durable by then",
    CAPTURE: "as the others: a consumer that only records arrival",
}


def measure(run: Run) -> None:
    """Alternate all contenders on one server. One that fails is left out, with a remark."""
    with serving() as server:
        comparison = Comparison(run)
        try:
            with ExitStack() as stack:
                for name, opening in Entry(run, server).openings().items():
                    comparison.enter(name, stack, opening)
                comparison.run()
        except ERRORS as exc:
            comparison.remark("The end of the contenders' comparison failed", exc)


class Comparison:
    """The contenders that have not failed. Only the one that is measured runs; the others are paused."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._entrants: dict[str, Entrant] = {}
        self._chance = random.Random(upserts.SEED)

    def enter(self, name: str, stack: ExitStack, opening: Opening) -> None:
        """Start one contender, and pause it."""
        self._run.report(f"contenders: starting {name}")
        try:
            self._entrants[name] = stack.enter_context(opening())
        except ERRORS as exc:
            self.remark(f"{name} was not measured", exc)
        self._turn(name, lambda _entrant: ())

    def run(self) -> None:
        """Measure everything, and add it to the results."""
        rounds, quick = self._run.effort.rounds, self._run.effort.quick
        if not quick:
            self._turns("warming up", 1, self._warmed)
        latency = self._turns("commit → consumer", rounds, self._arrivals)
        idle = self._turns("doing nothing", 1, self._idle)
        self._turns("detaching", 1, self._detached)
        rates = self._turns(f"{CLIENTS} clients of pgbench", QUICK_ROUNDS if quick else rounds, self._rates)
        found = {name: _contender(name, latency, rates, idle) for name in self._entrants}
        self._run.results.contenders += found.values()
        self._run.results.figures += _figures(found)
        for entrant in self._entrants.values():
            # The backend of a paused consumer may block on its socket. Then its database cannot be dropped.
            entrant.delivery.resume()

    def remark(self, what: str, exc: BaseException) -> None:
        """Add a remark about an error."""
        text = " ".join(str(exc).split())
        self._run.results.remarks.append(f"{what}: {type(exc).__name__}: {text[-300:]}")

    def _turns(self, what: str, rounds: int, turn: Callable[[Entrant], Iterable[float]]) -> Found:
        self._run.report(f"contenders: {what}, {rounds} times: {', '.join(self._entrants)}")
        return alternated(rounds, {name: partial(self._turn, name, turn) for name in self._entrants})

    def _turn(self, name: str, turn: Callable[[Entrant], Iterable[float]]) -> list[float]:
        if not (entrant := self._entrants.get(name)):
            return []
        try:
            entrant.delivery.resume()
            found = list(turn(entrant))
            entrant.delivery.pause()
        except ERRORS as exc:
            del self._entrants[name]
            entrant.delivery.end()
            self.remark(f"{name} was left out", exc)
            return []
        return found

    def _warmed(self, entrant: Entrant) -> Iterator[float]:
        return replace(entrant.writer, seconds=WARMING_S).rate(CLIENTS)

    def _arrivals(self, entrant: Entrant) -> Iterator[float]:
        """Yield the milliseconds of each arrival.

        A random pause before each upsert lets all processes sleep, and avoids a fixed phase with timers.
        """
        if entrant.name == NO_CAPTURE:
            return
        for number in range(1 + (QUICK_UPSERTS if self._run.effort.quick else UPSERTS)):
            time.sleep(self._chance.uniform(0.005, 0.015))
            took = entrant.delivery.once()
            if number:  # the first finds a consumer that has only just been resumed
                yield took

    def _idle(self, entrant: Entrant) -> Iterator[float]:
        """Yield the share of a core that the consumer takes while there are no writes."""
        if entrant.name != NO_CAPTURE:
            yield entrant.delivery.share(IDLE_S)

    def _detached(self, entrant: Entrant) -> Iterable[float]:
        entrant.delivery.detach()
        return ()

    def _rates(self, entrant: Entrant) -> Iterator[float]:
        entrant.delivery.attach()
        yield from entrant.writer.rate(CLIENTS)
        entrant.delivery.detach()


def _contender(name: str, latency: Found, rates: Found, idle: Found) -> Contender:
    remarks = [REMARKS[name]] if name in REMARKS else []
    remarks += [f"idle: {share:.1%} of a core" for share in idle[name]]
    return Contender(
        name,
        Series(tuple(latency[name]) or (math.nan,), "ms"),
        Series(tuple(rates[name]), "upserts/s"),
        "; ".join(remarks),
    )


def _figures(found: Mapping[str, Contender]) -> list[Figure]:
    """Return the targets of latency and throughput against each other product."""
    others = [it for name, it in found.items() if name not in (NO_CAPTURE, OMNICDC, CAPTURE)]
    if (ours := found.get(CAPTURE)) is None:
        return []
    latency = [
        Figure(f"commit → consumer, {CAPTURE} / {it.name}", ours.latency, 1.0, it.latency, it.name)
        for it in others
    ]
    tps = [
        Figure(f"writer's throughput, {CAPTURE} / {it.name}", ours.tps, 1.0, it.tps, it.name, at_least=True)
        for it in others
    ]
    return [*latency, *tps]
