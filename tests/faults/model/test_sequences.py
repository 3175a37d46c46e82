"""Sequences of writes, faults and restarts: random ones, and ones that failed once."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import hypothesis
import pytest
from faults.model.machine import Machine, Shared
from hypothesis.stateful import run_state_machine_as_test
from support.agents import AGENTS, MODELLED, declare
from support.cmp import TABLE, Cmp
from support.fresh_server import FreshServer
from support.host import until
from support.memory import in_memory
from support.sources import installed
from support.strategies import IDS

from omnicdc import db
from omnicdc.capture import install
from omnicdc.config import settings

if TYPE_CHECKING:
    import random
    from collections.abc import Iterator

    from support.evidence import Evidence, Scale
    from support.pace import Pace

    from omnicdc.testing.embedded import EmbeddedServer

pytestmark = pytest.mark.xdist_group("model")  # the tests share one server

GITHUB = "https://github.com/acme/b"


@pytest.fixture(scope="module")
def database_server() -> Iterator[EmbeddedServer]:
    """A server that the tests may restart."""
    server = FreshServer(
        Path(tempfile.mkdtemp(prefix="omnicdc-model-", dir=in_memory())),
        {"max_prepared_transactions": "20", "fsync": "off", "autovacuum": "off"},
    )
    try:
        server.create()
        server.start()
        with db.connect(server.dsn("template1")) as conn:
            conn.execute(TABLE)
            conn.execute(AGENTS)
            with tempfile.TemporaryDirectory() as directory:
                config = settings.load(
                    {"config": declare(Path(directory), MODELLED)["OMNICDC_CONFIG"]}, {}, uid=0
                )
            install.install(conn, installed(config))
        yield server
    finally:
        server.delete()


@pytest.fixture
def shared(database_server: EmbeddedServer) -> Shared:
    Machine.shared = Shared(database_server)
    return Machine.shared


@pytest.fixture
def state(shared: Shared) -> Iterator[Machine]:
    """For a sequence of steps that is written down. After it the files must equal a full rebuild."""
    state = Machine()
    assert state.shared is shared
    yield state
    state.teardown()


EVIDENCE = {
    ("written",): (
        "P1 P2",
        (
            "three connections writing at will: hostile text, many rows at once, ids renamed, savepoints, "
            "late commits, prepared transactions, TRUNCATE, the table written anew"
        ),
        "with {accepted} times the guard asked",
    ),
    ("killed", "killed at"): (
        "P3 P8", "the daemon killed, at once or at a named point of its next cycles", "the next one went on",
    ),
    ("signalled", "started"): (
        "P8", "the daemon stopped, reloaded or suspended, and stand-bys started beside it",
        "one of them went on",
    ),
    ("terminated", "restarted"): (
        "P1 P5", "the daemon's connection ended, the server restarted or crashed",
        "nothing committed was lost",
    ),
    ("disk",): ("P3 P6", "the disk made to fail at a step of the publication", "it went on when it healed"),
    ("external change", "inputs"): (
        "P8",
        (
            "registries and what stands beside them edited, cut, removed, or replaced by directories, links "
            "and pipes; overrides, exclusions and clones changed"
        ),
        "restored, or taken over",
    ),
    ("capture", "installed", "pruned", "slept"): (
        "P1 P5 P8",
        (
            "triggers disabled, and enabled manually; watched columns dropped, the capture installed again, "
            "the log pruned while the daemon slept"
        ),
        "found automatically, and published before any `wait` reported it",
    ),
    ("looks",): (
        "P2 P3", "the three files read and parsed between any two of these steps",
        "each whole, and CMP as it was at one moment, none before what was acknowledged",
    ),
    ("judged",): (
        "P5", "all transactions waited for",
        "published or nothing to do, rolled back, or still open, as it was",
    ),
    ("quiet",): (
        "P1 P8", "quiet moments between, after any number of these steps",
        "each time the files were a full rebuild, and what a second implementation says",
    ),
}  # fmt: skip
"""The kinds of steps that one line of evidence counts, and the line's texts."""


@pytest.mark.timeout(1500)
def test_after_any_sequence_of_steps_the_files_equal_a_full_rebuild(
    shared: Shared, scale: Scale, dice: random.Random, evidence: Evidence
) -> None:
    """P1, P2, P3, P5, P6, P8: hypothesis draws the steps and their order."""
    settings = hypothesis.settings(
        max_examples=scale(3, 60),
        stateful_step_count=scale(16, 40),
        phases=[hypothesis.Phase.generate],
        suppress_health_check=[*hypothesis.HealthCheck],
        deadline=None, database=None, derandomize=False,
    )  # fmt: skip
    try:
        run_state_machine_as_test(hypothesis.seed(dice.getrandbits(64))(Machine), settings=settings)
    finally:
        if shared.failure:
            raise shared.failure from None

    counts = shared.counts
    assert counts["quiet"] >= settings.max_examples
    for kinds, (promises, action, found) in EVIDENCE.items():
        evidence(promises, action, times=sum(counts[it] for it in kinds), found=found.format_map(counts))


@pytest.mark.campaign
def test_the_next_start_removes_half_written_files_of_a_killed_daemon(
    state: Machine, evidence: Evidence
) -> None:
    """P8: also if the next daemon has nothing to write, because the files are right already."""
    one = {"name": "one", "key": None, "type": None, "status": None, "metadata_": {"github_url": GITHUB}}
    state.begin_all(wake="notify", guard=False, sweep=False, count=1)
    state.upsert(writer=0, project=IDS[0], values=one)
    state.quiet()
    state.kill_at(point="rename cmp_projects")
    state.upsert(writer=0, project=IDS[0], values=one | {"name": "two", "metadata_": None})
    until(lambda: not state.system.running(), "killed")
    state.upsert(writer=0, project=IDS[0], values=one)
    left = [*state.where.rglob("*.omnicdc-tmp")]
    state.quiet()

    assert len(left) == 4  # the three of projects, and the join
    evidence(
        "P8", "the daemon killed with four files half written, which are not needed any more", times=1,
        found="removed by the next start, which writes no file",
    )  # fmt: skip


def test_a_transaction_is_prepared_beside_a_writer_that_looks_for_a_sleeping_consumer(
    shared: Shared, scale: Scale, evidence: Evidence
) -> None:
    """P4: the writer that looks holds the sleeper lock for an instant.

    Another writer once took it for a sleeping consumer, and notified. A prepared transaction cannot notify.
    """
    dsn, count = shared.database(), scale(100, 3000)
    with Cmp(dsn) as cmp, cmp.connect() as looking:
        looking.execute("select pg_advisory_lock(omnicdc.sleeper_lock())")
        for number in range(count):
            cmp.conn.execute("begin")
            cmp.upsert(f"{number}")
            cmp.conn.execute(f"prepare transaction '{number}'")
            cmp.conn.execute(f"commit prepared '{number}'")
        found = cmp.value("select count(*) from projects")

    assert found == count
    evidence(
        "P4", "transactions prepared, with `wake: poll`, beside a writer that looks whether a consumer "
              "sleeps", times=count,
        found="none was refused",
    )  # fmt: skip


def test_the_daemon_stops_at_once_while_cmp_s_table_is_locked(
    state: Machine, scale: Scale, evidence: Evidence, pace: Pace
) -> None:
    """P8: it once waited for its lock time-out, half a minute. systemd kills a service after as long."""
    took = []
    state.begin_all(wake="notify", guard=False, sweep=False, count=1)
    for _ in range(scale(1, 10)):
        state.quiet()
        state.begin(writer=0, level="read committed")
        state.truncate(writer=0)
        state.system.cmp.value("select omnicdc.request_rebuild()::text")
        until(
            lambda: state.system.cmp.value("select count(*) from pg_locks where not granted"), "it is blocked"
        )
        started = time.monotonic()
        state.send(how="SIGTERM")
        took.append(time.monotonic() - started)
        state.end(writer=0, how="rollback")

    assert max(took) < pace.allows(5)
    evidence(
        "P8", "SIGTERM while CMP keeps its table locked", times=len(took), found=f"it had ended after "
                                                                                 f"{max(took):.1f} s",
    )  # fmt: skip
