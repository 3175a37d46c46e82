"""Faults 1: daemon and server are killed while eight connections write and two programs parse every registry.

In a short run one does, which rests between its rounds.
"""

from __future__ import annotations

import os
import random
import signal
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import closing, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from support.cmp import TABLE, Cmp
from support.crowd import Crowd
from support.faulty import FAULTS, PROGRAM
from support.fresh import FreshServer
from support.host import COMMAND, DEADLINE_S, REGISTRIES, Daemon, Host, until
from support.ledger import Ledgers
from support.memory import in_memory
from support.rebuild import assert_as_rebuilt

from omnicdc import db
from omnicdc.capture import install
from omnicdc.capture.watch_list import derive
from omnicdc.demo.embedded import EmbeddedServer
from omnicdc.errors import DatabaseUnavailable, OmnicdcError
from omnicdc.registries.scanners import scanners

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import LiteralString

    from support.crowd import Found
    from support.evidence import Evidence, Scale
    from support.pace import Pace


NAMES = ("cmp_projects", "project", "git")
STEPS = ("scanned", "open", "write", "fsync", "rename", "fsync_directory", "published")
POINTS = (
    *(f"{step} {name}" for step in STEPS for name in NAMES), "scanned", "published", "acknowledged",
    "manifest",
)  # fmt: skip
"""Every point of a cycle that rewrites all three registries; test_p3_durable_first has them in order."""

HOSTS = 2
"""Killed side by side, one a core."""

LONGEST_WRITE_S = 2.0
"""A transaction takes some milliseconds, and more where the kills keep all processors busy; a time-out of
ours is longer."""

TAKEOVER_S = 2.0


class Victim:
    """A registry host whose daemons are killed, and what they left."""

    def __init__(self, where: Path, cmp: Cmp, crowd: Crowd, seed: str) -> None:
        self.host = Host(where, cmp.dsn)
        self.dice = random.Random(f"{seed} {where.name}")
        self.daemon: Daemon | None = None
        """Who serves, and is to live on."""
        self.suffers: Kill | None = None
        self.met: Counter[tuple[Kill | None, str]] = Counter()
        """How often something was met of each kind of fault."""
        self.longest_s = 0.0
        self._cmp, self._crowd, self._seed, self._ledgers = cmp, crowd, seed, Ledgers(seed)

    def newcomer(self) -> Victim:
        """Return another host, on which nothing was ever published."""
        where = self.host.root.parent
        other = Victim(
            where.with_name(f"{where.name}-{time.monotonic_ns()}"), self._cmp, self._crowd, self._seed
        )
        other.suffers, other.met = self.suffers, self.met
        return other

    def shown(self) -> list[int]:
        """Return each writer's last transaction that all files show.

        Fails unless they show whole ones, and none going back.
        """
        files = {name: self.host.root / name for name in REGISTRIES}
        return self._ledgers.look({name: path.read_bytes() for name, path in files.items() if path.exists()})

    def look(self) -> None:
        """Claim that the files are whole, and that none is behind what was acknowledged.

        What was acknowledged is read first: a stand-by may be at work, and files only get newer.
        """
        word = self._ask("select max(snapshot::text) from omnicdc.consumer where name = %s")
        shown, told = self.shown(), self._crowd.told(word or "1:1:")
        assert all(map(int.__le__, told, shown)), f"acknowledged {told}, in the files {shown}"
        self.met[self.suffers, "not yet told"] += told != shown
        self.met[self.suffers, "unfinished"] += any(self.host.root.rglob("*.omnicdc-tmp"))

    def bury(self, dead: Daemon) -> None:
        """Look at what a killed daemon left, when the server has done all that it was told."""
        assert dead.process.wait(DEADLINE_S) == -signal.SIGKILL, dead.noise
        until(lambda: not self._ask("select omnicdc.is_alive(%s)"), "its backend ended")
        self.look()
        dead.close()
        assert not [event for event in dead.events if event["event"] == "drift_found"], (
            "that was no other hand"
        )

    def _ask(self, query: LiteralString) -> Any:  # noqa: ANN401 - whatever it answers
        with closing(self._cmp.connect()) as conn:
            row = conn.execute(query, [self.host.env["OMNICDC_CONSUMER"]]).fetchone()
        assert row
        return row[0]


class Scene:
    """Hosts, and the crowd around them."""

    def __init__(
        self,
        cmp: Cmp,
        where: Path,
        dice: random.Random,
        *,
        hosts: int,
        scale: Scale,
        through: bool = False,
    ) -> None:
        seed = f"{dice.random()}"
        roots = [where / f"host{number}" / "root" for number in range(hosts)]
        cmp.fill(30)
        self.crowd = Crowd(
            cmp.dsn, seed, roots, readers=scale(1, 2), rest_s=scale(5, 0) / 1000, through=through
        )
        self.victims = [Victim(root.parent, cmp, self.crowd, seed) for root in roots]
        self.cmp, self._where = cmp, where
        self.crowd.start()

    def each(self, deeds: Sequence[Callable[[Victim], None]]) -> None:
        """Do all of it, shared among the hosts, side by side."""
        over = threading.Event()

        def shared(number: int) -> None:
            for deed in deeds[number :: len(self.victims)]:
                if over.is_set():
                    return
                deed(self.victims[number])

        with ThreadPoolExecutor() as threads:
            hosts = [threads.submit(shared, number) for number in range(len(self.victims))]
            try:
                for host in as_completed(hosts):
                    host.result()
            finally:
                over.set()  # one that failed, or somebody's patience, ends the others

    def quiet(self) -> Found:
        """Let it become quiet: the next start converges, nothing is lost, and nothing wrong was read."""
        written = self.crowd.rest()
        with closing(self.cmp.connect()) as conn:
            self.cmp.upsert("the last", github_url="https://github.com/acme/last", conn=conn)
        daemons = [victim.daemon or victim.host.starting() for victim in self.victims]
        for daemon in daemons:
            daemon.wait_for("serving")
        self.cmp.arrived()
        found = self.crowd.end()
        for victim, daemon in zip(self.victims, daemons, strict=True):
            victim.look()
            assert_as_rebuilt(self.cmp, victim.host)
            assert daemon.stop() == 0
            assert victim.shown() == written
            assert not [*victim.host.root.rglob("*.omnicdc-tmp")]

        assert found.wrong == []
        return found

    def close(self) -> None:
        """End everything."""
        self.crowd.close()
        for victim in self.victims:
            victim.host.close()


Moment = tuple[str, bool]
"""A point, and whether in the cycle of the start or in a later one; all kills are given one, some heed it."""

MOMENTS = tuple((point, starting) for point in POINTS for starting in (True, False))


def at_the_very_first_start(victim: Victim, moment: Moment) -> None:
    """The first daemon that a host ever sees; the second one finds what it left, and nothing else."""
    newcomer = victim.newcomer()
    at_a_start(newcomer, moment)
    newcomer.host.once()
    newcomer.look()


def at_a_start(victim: Victim, _moment: Moment) -> None:
    daemon = victim.host.starting()
    time.sleep(victim.dice.random() * 0.3)  # the fault, whenever it is
    daemon.kill()
    victim.bury(daemon)


def while_serving(victim: Victim, _moment: Moment) -> None:
    daemon = victim.host.daemon()
    time.sleep(victim.dice.random() * 0.1)  # as above
    daemon.kill()
    victim.bury(daemon)


def at_a_point(victim: Victim, moment: Moment) -> None:
    point, starting = moment
    faults = victim.host.root.parent / "faults"
    victim.host.program, victim.host.env[FAULTS] = PROGRAM, str(faults)
    if starting:
        faults.write_text(f"{point}: kill\n")
    daemon = victim.host.starting()
    if not starting:
        daemon.wait_for("serving")
        faults.write_text(f"{point}: kill\n")
    daemon.process.wait(DEADLINE_S)
    faults.unlink()
    victim.bury(daemon)
    victim.host.program = (COMMAND,)


def beside_a_standby(victim: Victim, _moment: Moment) -> None:
    """Who serves, and then who came after."""
    first = victim.host.daemon()
    second = victim.host.starting("--standby")
    second.wait_for("standing_by")
    time.sleep(victim.dice.random() * 0.1)  # as above
    first.process.kill()
    killed = time.monotonic()
    victim.look()
    second.wait_for("serving")
    victim.longest_s = max(victim.longest_s, time.monotonic() - killed)
    second.kill()
    victim.bury(second)
    first.close()


Kill = Callable[[Victim, Moment], None]

KILLS: dict[Kill, tuple[str, int, int]] = {
    at_the_very_first_start: ("kill -9 of the daemon at a random moment of a host's very first start", 1, 50),
    at_a_start: ("kill -9 of the daemon at a random moment of a start", 1, 150),
    while_serving: ("kill -9 of the daemon at a random moment of its work", 1, 250),
    at_a_point: (
        "kill -9 of the daemon at each of the 25 points of a cycle, of a start's and of a later one",
        3,
        500,
    ),
    beside_a_standby: ("kill -9 of the daemon while a stand-by waits", 1, 50),
}
"""What is told of each, and how often it is done."""


@pytest.mark.timeout(3600)
def test_killed_at_any_moment_nothing_is_torn_or_lost_or_said_too_early(
    cmp: Cmp, tmp_path: Path, dice: random.Random, scale: Scale, evidence: Evidence, pace: Pace
) -> None:
    """P1, P2, P3, P4, P8: each time the next start goes on from what is there.

    In the end it is as if nothing had been.
    """
    times = {kill: scale(short, campaign) for kill, (_, short, campaign) in KILLS.items()}
    plan = [partial(suffer, kill, moment) for kill in KILLS for moment in some_moments(dice, times[kill])]
    dice.shuffle(plan)
    with closing(Scene(cmp, tmp_path, dice, hosts=HOSTS, scale=scale)) as scene:
        scene.each(plan)
        found = scene.quiet()
    met = sum((victim.met for victim in scene.victims), Counter[tuple[Kill | None, str]]())
    takeover_s = max(victim.longest_s for victim in scene.victims)

    assert found.longest_s < pace.allows(LONGEST_WRITE_S)
    assert takeover_s < pace.allows(TAKEOVER_S)
    for kill, (deed, _, _) in KILLS.items():
        left = (
            f"{met[kill, 'unfinished']} left an unfinished file beside the whole one, "
            f"{met[kill, 'not yet told']} had published what they had not acknowledged yet, "
            "none the other way round"
        )
        quick = f"; the stand-by served after {takeover_s:.2f} s at most" if kill is beside_a_standby else ""
        evidence("P1 P2 P3 P8", deed, times=times[kill], found=left + quick)
    evidence(
        "P2", "two programs parse every registry without a pause, through all of that", times=found.reads,
        found="none torn, none going back, no half of a transaction, counters right",
    )  # fmt: skip
    evidence(
        "P1 P4", "eight connections write, through all of that", times=found.transactions,
        found=f"none failed, the longest took {found.longest_s * 1000:.0f} ms; all are there, in files as a "
              f"full rebuild writes them",
    )  # fmt: skip


def suffer(kill: Kill, moment: Moment, victim: Victim) -> None:
    victim.suffers = kill
    kill(victim, moment)


def some_moments(dice: random.Random, times: int) -> list[Moment]:
    """Return so many moments, each as often as the others."""
    rounds = range(0, times, len(MOMENTS))
    return [moment for _ in rounds for moment in dice.sample(MOMENTS, len(MOMENTS))][:times]


LEFT = ("fsync_directory cmp_projects", "fsync_directory git", "published", "acknowledged")
"""Points at which the new files are there, and the manifest does not tell of them."""


@pytest.mark.campaign
@pytest.mark.timeout(600)
def test_what_a_killed_daemon_left_is_not_taken_for_another_hand_s(
    cmp: Cmp, host: Host, dice: random.Random, scale: Scale, evidence: Evidence
) -> None:
    """P1, P5, P8: a change was published, and taken back before the next start.

    With `on_drift: alert` the file stayed then.
    """
    project = cmp.upsert("one", status="right", github_url="https://github.com/acme/right")
    faults = host.root.parent / "faults"
    host.env[FAULTS] = str(faults)
    plan = [(point, on_drift) for point in LEFT for on_drift in ("alert", "restore")] * scale(1, 5)
    plan = dice.sample(plan[:: scale(2, 1)], scale(1, len(plan)))  # in a short run one with `alert`
    for point, host.env["OMNICDC_ON_DRIFT"] in plan:
        host.program = PROGRAM
        daemon = host.daemon()
        right = host.content()
        faults.write_text(f"{point}: kill\n")
        cmp.upsert("one", id=project, status="wrong", github_url="https://github.com/acme/wrong")
        assert daemon.process.wait(DEADLINE_S) == -signal.SIGKILL
        faults.unlink()
        wrong = host.content()
        cmp.upsert("one", id=project, status="right", github_url="https://github.com/acme/right")
        host.program = (COMMAND,)
        daemon = host.daemon()
        cmp.arrived()
        assert daemon.stop() == 0

        assert wrong.keys() == right.keys()
        assert all(wrong[name] != right[name] for name in REGISTRIES)
        assert host.content() == right
        assert [event for event in daemon.events if event["level"] != "info"] == []

    evidence(
        "P1 P5 P8", "kill -9 between new files and their manifest; the change is taken back before the next "
                    "start", times=len(plan),
        found="the files are right, with `on_drift: alert` as well; no external change is reported",
    )  # fmt: skip


ON_ONE_SERVER = pytest.mark.xdist_group("killed")


@pytest.fixture(scope="module")
def own(request: pytest.FixtureRequest) -> Iterator[EmbeddedServer]:
    """A server to be killed, as it comes.

    What it said is committed is on its disk; in a short run, which cuts no power, in memory.
    """
    where = None if request.config.option.campaign else in_memory()
    server = FreshServer(Path(tempfile.mkdtemp(prefix="omnicdc-test-", dir=where)))
    try:
        server.create()
        server.start()
        with closing(db.connect(server.dsn())) as conn:
            conn.execute(TABLE)
            install.install(conn, "projects", derive(scanners().values()).fields)
        yield server
    finally:
        server.delete()


def fast(_scene: Scene, server: EmbeddedServer) -> None:
    server.stop(signal.SIGINT)
    started(server)


def immediate(_scene: Scene, server: EmbeddedServer) -> None:
    server.stop(signal.SIGQUIT)
    started(server)


def postmaster(_scene: Scene, server: EmbeddedServer) -> None:
    """Its other processes end when they notice; before that it does not start again."""
    server.stop(signal.SIGKILL)
    started(server)


def one_process(scene: Scene, _server: EmbeddedServer) -> None:
    """The server ends all the others, recovers and goes on by itself; half of the time it is the daemon's."""
    with closing(scene.cmp.connect()) as conn:
        rows = conn.execute(
            """select a.pid,
                      exists (select from pg_locks l where l.pid = a.pid and l.classid = 1869442666)
                        as is_daemon
                 from pg_stat_activity a where a.pid <> pg_backend_pid() order by a.backend_start"""
        ).fetchall()
        [victim] = scene.victims
        daemons = victim.dice.random() < 0.5
        os.kill(victim.dice.choice([pid for pid, is_daemon in rows if is_daemon == daemons]), signal.SIGKILL)
        until(partial(ended, conn), "the server ends all sessions")


def smart(scene: Scene, server: EmbeddedServer) -> None:
    """It takes no connections, and waits for those who are there.

    They go on, and so does the daemon, until they are sent away.
    """
    [victim] = scene.victims
    with closing(scene.cmp.connect()) as admin:
        os.kill(int((server.directory / "data" / "postmaster.pid").read_text().split()[0]), signal.SIGTERM)
        until(partial(refuses, scene.cmp), "it takes no connections")
        before = scene.crowd.confirmed
        until(lambda: all(map(int.__lt__, before, victim.shown())), "published meanwhile")
        admin.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity where pid <> pg_backend_pid() and "
            "backend_type = 'client backend'"
        )
    server.stop(signal.SIGTERM)
    started(server)


def ended(conn: psycopg.Connection[tuple[Any, ...]]) -> bool:
    with suppress(psycopg.OperationalError):
        conn.execute("select")
    return conn.closed


def refuses(cmp: Cmp) -> bool:
    try:
        cmp.connect().close()
    except psycopg.OperationalError:
        return True
    return False


def started(server: EmbeddedServer) -> None:
    """Start it, as soon as it can be."""

    def starts() -> bool:
        with suppress(OmnicdcError):
            server.start()
            return True
        return False

    until(starts, "the server starts")
    db.connect(server.dsn()).close()  # it takes connections, as `start` says


End = Callable[[Scene, EmbeddedServer], None]

ENDS: dict[End, tuple[str, int, int]] = {
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
"""What is told of each, and how often it is done: two of them stand for all in a short run."""


@pytest.mark.campaign
@ON_ONE_SERVER
@pytest.mark.timeout(1800)
def test_whatever_ends_the_server_what_it_confirmed_is_published(
    own: EmbeddedServer, tmp_path: Path, dice: random.Random, scale: Scale, evidence: Evidence
) -> None:
    """P1, P3, P8: by the same daemon, which says that it lost its session and has it again."""
    times = {end: scale(short, campaign) for end, (_, short, campaign) in ENDS.items()}
    plan = [end for end in ENDS for _ in range(times[end])]
    dice.shuffle(plan)
    slowest = dict.fromkeys(ENDS, 0.0)
    with (
        Cmp(own.dsn()) as cmp,
        closing(Scene(cmp, tmp_path, dice, hosts=1, scale=scale, through=True)) as scene,
    ):
        settings = [cmp.value("select current_setting(%s)", name) for name in ("fsync", "synchronous_commit")]
        [victim] = scene.victims
        victim.daemon = victim.host.daemon()
        for end in plan:
            time.sleep(dice.random() * 0.2)  # whatever the writers are at
            slowest[end] = max(slowest[end], outlived(scene, victim.daemon, partial(end, scene, own)))
        found = scene.quiet()

    assert settings == ["on", "on"]
    for end, (deed, *_) in ENDS.items():
        evidence(
            "P1 P3 P8", deed, times=times[end],
            found=f"every confirmed transaction is in the files; the same daemon served again "
                  f"{slowest[end]:.1f} s later at most",
        )  # fmt: skip
    evidence(
        "P1 P2", "eight connections commit and two programs parse, through all of "
                 "that", times=found.transactions,
        found=f"{found.lost} broken connections, {found.doubtful} commits without an answer, each there or "
              f"not as the server had it; {found.reads:,} readings, none torn, none going back",
    )  # fmt: skip


def outlived(scene: Scene, daemon: Daemon, end: Callable[[], None]) -> float:
    """Have the server meet its end; returns how long until the daemon served again."""
    seen, started_at = len(daemon.events), time.monotonic()
    end()
    until(lambda: not refuses(scene.cmp), "the server lets in")
    [victim] = scene.victims
    victim.look()
    daemon.wait_for("session_lost", after=seen)
    daemon.wait_for("recovered", after=seen, failure="session_lost")
    took, confirmed = time.monotonic() - started_at, scene.crowd.confirmed
    scene.cmp.arrived()
    victim.look()
    assert all(map(int.__le__, confirmed, victim.shown()))
    return took


@pytest.mark.campaign
@ON_ONE_SERVER
@pytest.mark.timeout(600)
def test_a_server_that_comes_up_is_waited_for(
    own: EmbeddedServer, tmp_path: Path, dice: random.Random, scale: Scale, evidence: Evidence
) -> None:
    """P8: nobody who comes just before it takes connections is told that it refuses them.

    Only a person could mend a refusal.
    """
    host = Host(tmp_path / "host", own.dsn())
    knocks: Counter[str] = Counter()
    done = threading.Event()

    def knock() -> None:
        while not done.is_set():
            try:
                db.connect(own.dsn()).close()
                knocks["let in"] += 1
            except DatabaseUnavailable:
                knocks["not yet"] += 1

    times = scale(1, 20)
    with ThreadPoolExecutor() as others:
        knocking = others.submit(knock)
        try:
            for _ in range(times):
                own.stop()
                daemon = host.starting()
                time.sleep(dice.random() * 0.2)  # until it has knocked, or not yet
                own.start()
                daemon.wait_for("serving")
                assert daemon.stop() == 0
                for how in (signal.SIGQUIT, signal.SIGINT) * scale(1, 2):
                    own.stop(how)
                    own.start()
        finally:
            done.set()
            host.close()
        knocking.result()

    evidence(
        "P8", "PostgreSQL comes up while the daemon starts, and while others knock without a "
              "pause", times=times * scale(3, 5),
        found=f"{knocks['not yet']:,} attempts came too early, each was tried again; none was taken for a "
              f"refusal",
    )  # fmt: skip
