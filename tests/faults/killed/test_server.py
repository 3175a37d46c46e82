"""PostgreSQL is stopped or killed while eight connections write and two programs parse every registry."""

from __future__ import annotations

import os
import signal
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import psycopg
import pytest
from faults.killed.hosts import Scenario
from support.cmp import TABLE, Cmp
from support.fresh_server import FreshServer
from support.host import CANONICAL, Daemon, Host, until
from support.memory import in_memory
from support.sources import projects

from omnicdc import db
from omnicdc.capture import install
from omnicdc.errors import DatabaseUnavailable, OmnicdcError
from omnicdc.testing.embedded import EmbeddedServer

if TYPE_CHECKING:
    import random
    from collections.abc import Iterator

    from support.evidence import Evidence, Scale

pytestmark = pytest.mark.xdist_group("killed")  # the tests share one server


@pytest.fixture(scope="module")
def own_server(request: pytest.FixtureRequest) -> Iterator[EmbeddedServer]:
    """A server that may be killed, with PostgreSQL's default settings.

    What it reports as committed is on its disk. A short run cuts no power, so its disk is in memory.
    """
    where = None if request.config.option.campaign else in_memory()
    server = FreshServer(Path(tempfile.mkdtemp(prefix="omnicdc-test-", dir=where)))
    try:
        server.create()
        server.start()
        with closing(db.connect(server.dsn())) as conn:
            conn.execute(TABLE)
            install.install(conn, projects())
        yield server
    finally:
        server.delete()


def fast(_scenario: Scenario, server: EmbeddedServer) -> None:
    server.stop(signal.SIGINT)
    start(server)


def immediate(_scenario: Scenario, server: EmbeddedServer) -> None:
    server.stop(signal.SIGQUIT)
    start(server)


def postmaster(_scenario: Scenario, server: EmbeddedServer) -> None:
    """Kill the first process. The others end when they notice, and the server cannot start before that."""
    server.stop(signal.SIGKILL)
    start(server)


def one_process(scenario: Scenario, _server: EmbeddedServer) -> None:
    """Kill one of the server's processes: in half of the cases the daemon's.

    The server then ends all others, recovers and goes on without help.
    """
    with closing(scenario.cmp.connect()) as conn:
        rows = conn.execute(
            """select a.pid,
                      exists (select from pg_locks l where l.pid = a.pid and l.classid = 1869442666)
                        as is_daemon
                 from pg_stat_activity a where a.pid <> pg_backend_pid() order by a.backend_start"""
        ).fetchall()
        [target] = scenario.targets
        of_the_daemon = target.dice.random() < 0.5
        candidates = [pid for pid, is_daemon in rows if is_daemon == of_the_daemon]
        os.kill(target.dice.choice(candidates), signal.SIGKILL)
        until(partial(has_ended, conn), "the server ends all sessions")


def smart(scenario: Scenario, server: EmbeddedServer) -> None:
    """Shut the server down once its clients have left: it accepts no new connections meanwhile.

    The clients and the daemon go on working until their connections are ended.
    """
    [target] = scenario.targets
    with closing(scenario.cmp.connect()) as admin:
        os.kill(int((server.directory / "data" / "postmaster.pid").read_text().split()[0]), signal.SIGTERM)
        until(partial(refuses, scenario.cmp), "it accepts no connections")
        before = scenario.load.confirmed
        until(
            lambda: all(map(int.__lt__, before, target.transactions_shown()[CANONICAL])),
            "published meanwhile",
        )
        admin.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity where pid <> pg_backend_pid() and "
            "backend_type = 'client backend'"
        )
    server.stop(signal.SIGTERM)
    start(server)


def has_ended(conn: psycopg.Connection[tuple[Any, ...]]) -> bool:
    with suppress(psycopg.OperationalError):
        conn.execute("select")
    return conn.closed


def refuses(cmp: Cmp) -> bool:
    try:
        cmp.connect().close()
    except psycopg.OperationalError:
        return True
    return False


def start(server: EmbeddedServer) -> None:
    """Start the server as soon as that is possible."""

    def has_started() -> bool:
        with suppress(OmnicdcError):
            server.start()
            return True
        return False

    until(has_started, "the server starts")
    db.connect(server.dsn()).close()  # it accepts connections, as `start` promises


Shutdown: TypeAlias = Callable[[Scenario, EmbeddedServer], None]

SHUTDOWNS: dict[Shutdown, tuple[str, int, int]] = {
    smart: ("SIGTERM of PostgreSQL (a smart shutdown), then its clients sent away", 0, 10),
    fast: ("SIGINT of PostgreSQL (a fast shutdown)", 0, 20),
    immediate: ("SIGQUIT of PostgreSQL (`-m immediate`)", 0, 20),
    postmaster: ("SIGKILL of the postmaster", 1, 20),
    one_process: (
        "SIGKILL of one of PostgreSQL's processes: a writer's, the daemon's or one of its own",
        1,
        30,
    ),
}
"""The line of evidence for each kind, and how often it is done: in a short run, in a campaign.

A short run tries only two kinds.
"""


@pytest.mark.campaign
@pytest.mark.timeout(1800)
def test_every_confirmed_transaction_is_published_after_any_end_of_the_server(
    own_server: EmbeddedServer, tmp_path: Path, dice: random.Random, scale: Scale, evidence: Evidence
) -> None:
    """P1, P3, P8: the same daemon publishes it. It reports a lost session, and its recovery."""
    times = {shutdown: scale(short, campaign) for shutdown, (_, short, campaign) in SHUTDOWNS.items()}
    plan = [shutdown for shutdown in SHUTDOWNS for _ in range(times[shutdown])]
    dice.shuffle(plan)
    slowest = dict.fromkeys(SHUTDOWNS, 0.0)
    with (
        Cmp(own_server.dsn()) as cmp,
        closing(Scenario(cmp, tmp_path, dice, hosts=1, scale=scale, through=True)) as scenario,
    ):
        settings = [cmp.value("select current_setting(%s)", name) for name in ("fsync", "synchronous_commit")]
        [target] = scenario.targets
        target.daemon = target.host.daemon()
        for shutdown in plan:
            time.sleep(dice.random() * 0.2)  # the moment is the fault
            took = recovered_after_s(scenario, target.daemon, partial(shutdown, scenario, own_server))
            slowest[shutdown] = max(slowest[shutdown], took)
        found = scenario.finish()

    assert settings == ["on", "on"]
    for shutdown, (action, *_) in SHUTDOWNS.items():
        evidence(
            "P1 P3 P8", action, times=times[shutdown],
            found=f"every confirmed transaction is in the files; the same daemon served again "
                  f"{slowest[shutdown]:.1f} s later at most",
        )  # fmt: skip
    evidence(
        "P1 P2", "eight connections commit and two programs parse, through all of "
                 "that", times=found.transactions,
        found=f"{found.lost} broken connections, {found.doubtful} commits without an answer, each there or "
              f"not as the server had it; {found.reads:,} readings, none torn, none going back",
    )  # fmt: skip


def recovered_after_s(scenario: Scenario, daemon: Daemon, shut_down: Callable[[], None]) -> float:
    """Shut the server down and start it; returns after how many seconds the daemon served again."""
    seen, started_at = len(daemon.events), time.monotonic()
    shut_down()
    until(lambda: not refuses(scenario.cmp), "the server accepts connections")
    [target] = scenario.targets
    target.check_files()
    daemon.wait_for("session_lost", after=seen)
    daemon.wait_for("recovered", after=seen, failure="session_lost")
    took, confirmed = time.monotonic() - started_at, scenario.load.confirmed
    scenario.cmp.arrived()
    target.check_files()
    for numbers in target.transactions_shown().values():
        assert all(map(int.__le__, confirmed, numbers))
    return took


@pytest.mark.campaign
@pytest.mark.timeout(600)
def test_a_server_that_is_starting_is_waited_for(
    own_server: EmbeddedServer, tmp_path: Path, dice: random.Random, scale: Scale, evidence: Evidence
) -> None:
    """P8: a client that comes too early retries. It does not report that the server refuses it.

    Only a person can fix a refusal.
    """
    host = Host(tmp_path / "host", own_server.dsn())
    attempts: Counter[str] = Counter()
    done = threading.Event()

    def connect_repeatedly() -> None:
        while not done.is_set():
            try:
                db.connect(own_server.dsn()).close()
                attempts["accepted"] += 1
            except DatabaseUnavailable:
                attempts["too early"] += 1

    times = scale(1, 20)
    with ThreadPoolExecutor() as pool:
        connecting = pool.submit(connect_repeatedly)
        try:
            for _ in range(times):
                own_server.stop()
                daemon = host.starting()
                time.sleep(dice.random() * 0.2)  # the daemon has tried to connect by then, or not yet
                own_server.start()
                daemon.wait_for("serving")
                assert daemon.stop() == 0
                for how in (signal.SIGQUIT, signal.SIGINT) * scale(1, 2):
                    own_server.stop(how)
                    own_server.start()
        finally:
            done.set()
            host.close()
        connecting.result()

    evidence(
        "P8", "PostgreSQL comes up while the daemon starts, and while others knock without a "
              "pause", times=times * scale(3, 5),
        found=f"{attempts['too early']:,} attempts came too early, each was tried again; none was taken for "
              f"a refusal",
    )  # fmt: skip
