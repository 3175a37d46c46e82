"""The cost of the capture for Genesis.

The rate of pgbench's upserts with omnicdc, without a capture, and with simple triggers.
"""

from __future__ import annotations

import subprocess
import threading
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from support.sources import projects

from bench.measure import Curve, Figure, Series, alternated
from bench.pgbench import IDS, command, rate_in, script
from omnicdc import db
from omnicdc.capture import install

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path
    from typing import LiteralString

    import psycopg

    from bench.effort import Run
    from bench.ground import Estate

PROJECTS = 10_000
CLIENTS = (1, 8, 32)
SATURATED = 32

NO_CAPTURE = "no capture"
OURS = "omnicdc"
RECORDED = "omnicdc, writers recorded"
EMPTY = "empty trigger"
NOTIFY = "pg_notify row trigger"

SHARE = 0.72
RECORDED_SHARE = 0.93
LEAD = 2.5
QUICK_ROUNDS = 3

TRIGGERS: Mapping[str, LiteralString] = {
    EMPTY: """
create function bench_row() returns trigger language plpgsql as $$ begin return null; end $$;
create trigger bench_row after insert or update on projects for each row execute function bench_row();
""",
    NOTIFY: """
create function bench_row() returns trigger language plpgsql
as $$ begin perform pg_notify('bench', row_to_json(new)::text); return null; end $$;
create trigger bench_row after insert or update on projects for each row execute function bench_row();
""",
}


def measure(run: Run) -> None:
    """Measure each contender in its own estate, with few and with many clients.

    In the estates of omnicdc, a daemon publishes.
    """
    path = script(run.ground, PROJECTS)
    names = (NO_CAPTURE, OURS, NOTIFY) if run.effort.quick else (NO_CAPTURE, OURS, RECORDED, EMPTY, NOTIFY)
    with ExitStack() as stack:
        writers = {name: stack.enter_context(_writer(run, name, path)) for name in names}
        found = {clients: _rates(run, writers, clients) for clients in CLIENTS}
    run.results.figures += _figures(found)
    run.results.curves += _curves(found)


@dataclass(frozen=True, slots=True)
class Writer:
    """Runs pgbench with Genesis's upsert of one random project on one estate."""

    program: str
    script: Path
    seconds: int
    estate: Estate
    settle: Callable[[], object]
    """Returns when all writes are processed, so that no contender works while another one is measured."""

    def rate(self, clients: int) -> Iterator[float]:
        """Yield the upserts per second. Each measurement starts after a vacuum and a checkpoint."""
        for statement in ("vacuum projects", "checkpoint"):
            self.estate.cmp.conn.execute(statement)
        pgbench = command(
            self.program, self.script, self.estate.cmp.dsn, clients=clients, seconds=self.seconds
        )
        output = subprocess.run(pgbench, check=True, capture_output=True, text=True).stdout
        self.settle()
        yield rate_in(output)


@contextmanager
def _writer(run: Run, name: str, script: Path) -> Iterator[Writer]:
    """Give a writer for the estate of one contender, with its capture or trigger."""
    ours = name in (OURS, RECORDED)
    with ExitStack() as stack:
        estate = stack.enter_context(
            run.ground.estate(f"writers_{name.replace(' ', '_').replace(',', '')}", PROJECTS, captured=ours)
        )
        estate.cmp.conn.execute(IDS + TRIGGERS.get(name, ""))
        if name == RECORDED:
            with db.connect(estate.cmp.dsn) as conn:
                install.install(conn, projects(), record_writers=True)
        if ours:
            stack.enter_context(estate.daemon(estate.host()))
        if name == NOTIFY:
            stack.enter_context(_drained(estate))
        settle = estate.cmp.arrived if ours else lambda: None
        yield Writer(run.ground.program("pgbench"), script, run.effort.pgbench_s, estate, settle)


@contextmanager
def _drained(estate: Estate) -> Iterator[None]:
    """Receive the notifications, and ignore them."""
    ended = threading.Event()
    with estate.cmp.connect() as listener:
        listener.execute("listen bench")
        thread = threading.Thread(target=_drain, args=(listener, ended))
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()


def _drain(listener: psycopg.Connection[tuple[object, ...]], ended: threading.Event) -> None:
    while not ended.is_set():
        for _ in listener.notifies(timeout=0.2):
            pass


def _rates(run: Run, writers: Mapping[str, Writer], clients: int) -> dict[str, Series]:
    """Return upserts per second. In a quick run, measure only what a figure needs."""
    rounds, among = run.effort.rounds, writers
    if run.effort.quick:
        rounds = QUICK_ROUNDS
        among = {name: it for name, it in writers.items() if name != NOTIFY or clients == SATURATED}
    run.report(
        f"writers: {clients} clients of pgbench, {rounds} rounds of {run.effort.pgbench_s} s: "
        f"{', '.join(among)}"
    )
    found = alternated(rounds, {name: partial(writer.rate, clients) for name, writer in among.items()})
    return {name: Series(tuple(rates), "upserts/s") for name, rates in found.items()}


def _figures(found: Mapping[int, Mapping[str, Series]]) -> list[Figure]:
    shares = [
        Figure(
            f"writer's throughput, {clients} client{'s' if clients > 1 else ''}, capture on",
            rates[OURS], SHARE, rates[NO_CAPTURE], NO_CAPTURE, at_least=True,
        )
        for clients, rates in found.items()
    ]  # fmt: skip
    shares += [
        Figure(
            f"writer's throughput, {clients} client{'s' if clients > 1 else ''}, writers recorded",
            rates[RECORDED], RECORDED_SHARE, rates[OURS], OURS, at_least=True,
        )
        for clients, rates in found.items()
        if RECORDED in rates
    ]  # fmt: skip
    rates = found[SATURATED]
    lead = Figure(
        f"writer's throughput, {SATURATED} clients, against a row trigger with pg_notify",
        rates[OURS], LEAD, rates[NOTIFY], NOTIFY, at_least=True,
    )  # fmt: skip
    return [*shares, lead]


def _curves(found: Mapping[int, Mapping[str, Series]]) -> list[Curve]:
    return [
        Curve(
            "writers",
            name,
            "clients",
            {clients: rates[name] for clients, rates in found.items() if name in rates},
        )
        for name in found[SATURATED]
    ]
