"""Everything at once: CMP itself is the model, and a full rebuild tells what the files must be.

Hypothesis draws operations, faults and restarts. At every moment the files show CMP as it was at one moment,
none before what is acknowledged; after each quiet moment they equal a full rebuild. A sequence that fails is
printed, with the log of its daemons: the seed brings it again, or it is pasted into a test that takes
`state`.
"""

from __future__ import annotations

import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, LiteralString

import hypothesis
import psycopg
import pytest
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from psycopg import sql as pgsql
from psycopg.types.json import Jsonb
from support.cmp import TABLE, Cmp
from support.drawn import IDS, excluded, override, urls, values
from support.fresh import FreshServer
from support.hands import HANDS
from support.host import REGISTRIES, until
from support.memory import in_memory
from support.world import WATCHED, World

from omnicdc import db
from omnicdc.capture import install
from omnicdc.files.manifest import ANNOUNCED, MANIFEST

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Iterator

    from support.evidence import Evidence, Scale
    from support.pace import Pace
    from support.writer import Writer

    from omnicdc.demo.embedded import EmbeddedServer

pytestmark = pytest.mark.xdist_group("model")  # on one server

GITHUB = "https://github.com/acme/b"
NAMES = ["cmp_projects", "project", "git"]
DISK = ["open", "write", "fsync", "rename", "fsync_directory"]
POINTS = [
    *(f"{step} {name}" for step in ("scanned", *DISK, "published") for name in NAMES),
    "scanned", "published", "acknowledged", "manifest",
]  # fmt: skip
BESIDE = [str(MANIFEST), str(ANNOUNCED)]
"""What else omnicdc puts there."""

MANY: LiteralString = """
insert into projects (id, name, metadata_)
     select id, 'one of many',
            jsonb_build_object('github_url', format('https://github.com/acme/%%s', right(id::text, 2)))
       from unnest(%s::uuid[]) id
on conflict do nothing
"""

COLUMNS = ["name", "key", "type", "status", "metadata_", "description"]
LEVELS = ["read committed", "repeatable read", "serializable"]
ERRORS = ["ENOSPC", "EIO", "EROFS"]
TRIGGERS = ["omnicdc_log_row", "omnicdc_log_update", "omnicdc_log_truncate"]

ids = st.sampled_from(IDS)
writers = st.integers(0, 2)
counts = st.integers(1, len(IDS))
rarely = st.sampled_from([False, False, True])


def step(family: str, **given: st.SearchStrategy[Any]) -> Callable[[Callable[..., None]], Any]:
    """Make a rule whose steps are counted, and told if the example fails."""

    def decorate(deed: Callable[..., None]) -> Any:  # noqa: ANN401 - hypothesis' own
        @wraps(deed)
        def taken(state: Machine, **drawn: object) -> None:
            arguments = ", ".join(f"{name}={value!r}" for name, value in drawn.items())
            state.told.append(f"state.{deed.__name__}({arguments})")
            state.ground.counts[family] += 1
            deed(state, **drawn)

        return rule(**given)(taken)  # type: ignore[call-overload]  # `given` might hold its own parameters

    return decorate


@dataclass
class Ground:
    """What all examples share.

    A server whose new databases have CMP's table and the capture, and what was counted.
    """

    server: EmbeddedServer
    counts: Counter[str] = field(default_factory=Counter)
    failure: Exception | None = None
    """The first. Hypothesis takes the steps again then, and they may end otherwise: daemon and writers meet
    as chance has it."""

    def database(self) -> str:
        """Make a database, in the place of the last example's."""
        with psycopg.connect(self.server.dsn(), autocommit=True) as admin:
            admin.execute("drop database if exists world with (force)")
            admin.execute("create database world strategy file_copy")
        return self.server.dsn("world")


class Machine(RuleBasedStateMachine):
    """Whatever Genesis, people, operators and machines may do, in any order."""

    ground: ClassVar[Ground]

    def __init__(self) -> None:
        if self.ground.failure:
            raise self.ground.failure
        super().__init__()
        self.told: list[str] = []

    @initialize(wake=st.sampled_from(["notify", "poll"]), guard=st.booleans(), sweep=rarely, count=counts)
    def begin_all(self, *, wake: str, guard: bool, sweep: bool, count: int) -> None:
        self.told.append(f"state.begin_all({wake=}, {guard=}, {sweep=}, {count=})")
        self.wake, self.sweep = wake, sweep
        env = {
            "OMNICDC_WAKE": wake,
            "OMNICDC_GUARD_MIN": "3",
            "OMNICDC_GUARD_SHARE": "0.5" if guard else "1",
            "OMNICDC_SWEEP_S": "0.5" if sweep else "1h",
            "OMNICDC_POLL_S": "0.1",
            "OMNICDC_REFRESH_S": "0.3",
        }
        self.where = Path(tempfile.mkdtemp(prefix="omnicdc-model-"))
        self.world = World(self.ground.server, self.ground.database(), self.where, env, self.ground.counts)
        self.writer(0).run(MANY, IDS[:count])

    def writer(self, number: int) -> Writer:
        return self.world.writers[number]

    # Genesis writes.

    @step("written", writer=writers, project=ids, values=values)
    def upsert(self, writer: int, project: str, values: dict[str, Any]) -> None:
        row = {name: value for name, value in self._encoded(values).items() if name != self.world.gone}
        self.writer(writer).run(_upsert(list(row)), project, *row.values())

    @step("written", writer=writers, first=ids, count=counts, column=st.sampled_from(COLUMNS), values=values)
    def update(self, writer: int, first: str, count: int, column: str, values: dict[str, Any]) -> None:
        if column != self.world.gone:
            statement = (
                "update projects set {} = %s, updated_at = clock_timestamp() where id = any (%s::uuid[])"
            )
            value = self._encoded(values).get(column, "of no registry")
            self.writer(writer).run(
                pgsql.SQL(statement).format(pgsql.Identifier(column)), value, _some(first, count)
            )

    @staticmethod
    def _encoded(values: dict[str, Any]) -> dict[str, Any]:
        return values | {"metadata_": Jsonb(values["metadata_"])}

    @step("written", writer=writers, count=counts)
    def insert(self, writer: int, count: int) -> None:
        if self.world.gone != "metadata_":
            self.writer(writer).run(MANY, IDS[:count])

    @step("written", writer=writers, project=ids)
    def touch(self, writer: int, project: str) -> None:
        self.writer(writer).run("update projects set updated_at = clock_timestamp() where id = %s", project)

    @step("written", writer=writers, first=ids, count=counts)
    def delete(self, writer: int, first: str, count: int) -> None:
        self.writer(writer).run("delete from projects where id = any (%s::uuid[])", _some(first, count))

    @step("written", writer=writers, old=ids, new=ids)
    def rename_id(self, writer: int, old: str, new: str) -> None:
        self.writer(writer).run("update projects set id = %s where id = %s", new, old)

    @step("written", writer=writers)
    def truncate(self, writer: int) -> None:
        self.writer(writer).exclude("truncate projects")

    @step("written", writer=writers)
    def rewrite(self, writer: int) -> None:
        """To a snapshot from before, the table looks empty afterwards."""
        self.writer(writer).exclude(
            "alter table projects alter description type text using coalesce(description, '')"
        )

    @step("written", writer=writers, level=st.sampled_from(LEVELS))
    def begin(self, writer: int, level: LiteralString) -> None:
        self.writer(writer).begin(level)

    @step("written", writer=writers)
    def savepoint(self, writer: int) -> None:
        self.writer(writer).savepoint()

    @step("written", writer=writers)
    def back_to_savepoint(self, writer: int) -> None:
        self.writer(writer).back()

    @step("written", writer=writers, how=st.sampled_from(["commit", "commit", "rollback"]))
    def end(self, writer: int, how: LiteralString) -> None:
        self.writer(writer).end(how)

    @precondition(lambda self: self.wake == "poll")
    @step("written", writer=writers)
    def prepare(self, writer: int) -> None:
        if token := self.writer(writer).prepare():
            self.world.prepared.append(token)

    @precondition(lambda self: self.wake == "poll")
    @step("written", how=st.sampled_from(["commit", "rollback"]))
    def end_prepared(self, how: LiteralString) -> None:
        self.world.end_prepared(how)

    # The daemon meets faults.

    @step("started")
    def start(self) -> None:
        self.world.start()

    @step("told", how=st.sampled_from(["SIGTERM", "SIGHUP", "SIGSTOP"]))
    def send(self, how: str) -> None:
        self.world.signal(signal.Signals[how])

    @step("killed")
    def kill(self) -> None:
        self.world.signal(signal.SIGKILL)

    @step("killed at", point=st.sampled_from(POINTS))
    def kill_at(self, point: str) -> None:
        self.world.faults.write_text(f"{point}: kill\n")

    @step(
        "disk", step=st.sampled_from(DISK), name=st.sampled_from(["*", *NAMES]), error=st.sampled_from(ERRORS)
    )
    def fail_at(self, step: str, name: str, error: str) -> None:
        self.world.faults.write_text(f"{step} {name}: {error}\n")

    @step("slept")
    def sleep(self) -> None:
        self.world.sleep()

    # The server goes.

    @step("terminated")
    def terminate(self) -> None:
        self.world.terminate()

    @step("restarted", how=st.sampled_from(["SIGINT", "SIGQUIT"]))
    def restart(self, how: str) -> None:
        self.world.restart(signal.Signals[how])

    # People are at it.

    @step("hands", place=st.sampled_from([*REGISTRIES, *REGISTRIES, *BESIDE]), deed=st.sampled_from([*HANDS]))
    def hand(self, place: str, deed: str) -> None:
        if deed == "edit_in_secret" and (place in BESIDE or not self.sweep):
            deed = "edit"
        self.world.witness.touched.add(place)
        with suppress(OSError):  # a daemon may be at it as well
            HANDS[deed](self.world.host.root / place)

    @step("inputs", overrides=st.lists(override, max_size=2), exclusions=excluded)
    def write_inputs(self, overrides: list[dict[str, Any]], exclusions: list[str]) -> None:
        self.world.people(overrides, exclusions)

    @step("inputs", name=st.sampled_from(["one", "two"]), url=st.none() | urls, hearts=st.integers(0, 2))
    def clone(self, name: str, url: str | None, hearts: int) -> None:
        self.world.clone(name, url, hearts)

    @step("capture", trigger=st.sampled_from(TRIGGERS))
    def disable(self, trigger: LiteralString) -> None:
        self.world.disable(trigger)

    @step("capture", column=st.sampled_from(["key", "type", "status", "metadata_"]))
    def drop_column(self, column: LiteralString) -> None:
        self.world.drop(column)

    @step("capture", trigger=st.sampled_from(TRIGGERS))
    def enable(self, trigger: LiteralString) -> None:
        self.world.enable(trigger)

    @step("installed")
    def install(self) -> None:
        self.world.install()

    @step("pruned")
    def prune(self) -> None:
        self.world.cmp.value("select changes from omnicdc.prune('0 s', '1 day')")

    # What must hold.

    @step("asked")
    def quiet(self) -> None:
        self.world.quiet()

    @invariant()
    def look(self) -> None:
        self.world.witness.look()

    def teardown(self) -> None:
        if hasattr(self, "world"):
            try:
                self._settle()
            finally:
                self.world.close()
                shutil.rmtree(self.where)

    def _settle(self) -> None:
        """End on a quiet moment, and ask the command, too; of a sequence that failed, tell it."""
        try:
            if sys.exc_info()[0] is None:
                self.quiet()
                audit = self.world.host.run("verify", "--all")
                assert audit.returncode == 0, audit.stdout + audit.stderr
        finally:
            failure = sys.exc_info()[1]  # hypothesis tears down on the way out
            if isinstance(failure, Exception):
                self.ground.failure = failure
                lines = [*self.told, *(f"{daemon.events} {daemon.noise}" for daemon in self.world.daemons)]
                sys.stdout.write("\n".join([*lines, ""]))


def _upsert(columns: list[str]) -> pgsql.Composed:
    return pgsql.SQL(
        "insert into projects (id, {new}) values (%s, {values}) "
        "on conflict (id) do update set ({new}, updated_at) = row ({excluded}, clock_timestamp())"
    ).format(
        new=pgsql.SQL(", ").join(map(pgsql.Identifier, columns)),
        values=pgsql.SQL(", ").join([pgsql.Placeholder()] * len(columns)),
        excluded=pgsql.SQL(", ").join(pgsql.Identifier("excluded", column) for column in columns),
    )


def _some(first: str, count: int) -> list[str]:
    return IDS[IDS.index(first) :][:count]


@pytest.fixture(scope="module")
def database_server() -> Iterator[EmbeddedServer]:
    """Of our own, as it is restarted."""
    server = FreshServer(
        Path(tempfile.mkdtemp(prefix="omnicdc-model-", dir=in_memory())),
        {"max_prepared_transactions": "20", "fsync": "off", "autovacuum": "off"},
    )
    try:
        server.create()
        server.start()
        with db.connect(server.dsn("template1")) as conn:
            conn.execute(TABLE)
            install.install(conn, "projects", WATCHED)
        yield server
    finally:
        server.delete()


@pytest.fixture
def ground(database_server: EmbeddedServer) -> Ground:
    Machine.ground = Ground(database_server)
    return Machine.ground


@pytest.fixture
def state(ground: Ground) -> Iterator[Machine]:
    """For a sequence that was printed; after it everything must come right."""
    state = Machine()
    assert state.ground is ground
    yield state
    state.teardown()


FAMILIES = {
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
    ("told", "started"): (
        "P8", "the daemon stopped, reloaded or suspended, and stand-bys started beside it",
        "one of them went on",
    ),
    ("terminated", "restarted"): (
        "P1 P5", "the daemon's connection ended, the server restarted or crashed",
        "nothing committed was lost",
    ),
    ("disk",): ("P3 P6", "the disk made to fail at a step of the publication", "it went on when it healed"),
    ("hands", "inputs"): (
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
            "triggers disabled, and enabled by hand; watched columns dropped, the capture installed again, "
            "the log pruned while the daemon slept"
        ),
        "found by itself, and published before anybody was told so",
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
"""What is counted, and how the table tells of it."""


@pytest.mark.timeout(1500)
def test_after_whatever_happened_the_files_are_a_full_rebuild(
    ground: Ground, scale: Scale, dice: random.Random, evidence: Evidence
) -> None:
    """P1, P2, P3, P5, P6, P8: whatever hypothesis draws, in whatever order."""
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
        if ground.failure:
            raise ground.failure from None

    counts = ground.counts
    assert counts["quiet"] >= settings.max_examples
    for families, (promises, deed, found) in FAMILIES.items():
        evidence(promises, deed, times=sum(counts[it] for it in families), found=found.format_map(counts))


@pytest.mark.campaign
def test_what_a_killed_daemon_left_half_written_goes_with_the_next_start(
    state: Machine, evidence: Evidence
) -> None:
    """P8: also if the next one has nothing to write, as the files are what they should be."""
    one = {"name": "one", "key": None, "type": None, "status": None, "metadata_": {"github_url": GITHUB}}
    state.begin_all(wake="notify", guard=False, sweep=False, count=1)
    state.upsert(writer=0, project=IDS[0], values=one)
    state.quiet()
    state.kill_at(point="rename cmp_projects")
    state.upsert(writer=0, project=IDS[0], values=one | {"name": "two", "metadata_": None})
    until(lambda: not state.world.living(), "killed")
    state.upsert(writer=0, project=IDS[0], values=one)
    left = [*state.where.rglob("*.omnicdc-tmp")]
    state.quiet()

    assert len(left) == 3
    evidence(
        "P8", "the daemon killed with three files half written, which are not needed any more", times=1,
        found="removed by the next start, which writes no file",
    )  # fmt: skip


def test_a_transaction_is_prepared_beside_writers_who_just_look_whether_somebody_sleeps(
    ground: Ground, scale: Scale, evidence: Evidence
) -> None:
    """P4: who looks holds the lock for an instant, and another one took that for a sleeper, and notified."""
    dsn, count = ground.database(), scale(100, 3000)
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


def test_it_stops_at_once_while_cmp_keeps_its_table_locked(
    state: Machine, scale: Scale, evidence: Evidence, pace: Pace
) -> None:
    """P8: it waited for its lock's time-out then, half a minute; systemd kills after as long."""
    took = []
    state.begin_all(wake="notify", guard=False, sweep=False, count=1)
    for _ in range(scale(1, 10)):
        state.quiet()
        state.begin(writer=0, level="read committed")
        state.truncate(writer=0)
        state.world.cmp.value("select omnicdc.request_rebuild()::text")
        until(
            lambda: state.world.cmp.value("select count(*) from pg_locks where not granted"), "it is blocked"
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
