"""A state machine whose steps are all that can happen to CMP and a registry host.

Hypothesis draws writes, faults and restarts. CMP itself is the model: after each step the files must show CMP
as it was at one moment, and this moment may not be older than what is acknowledged. At each quiet moment the
files must equal a full rebuild. A sequence that fails is printed, with the log of its daemons. The same seed
draws it again, or it can be pasted into a test that takes the fixture `state`.
"""

from __future__ import annotations

import shutil
import signal
import sys
import tempfile
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, LiteralString

import psycopg
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from psycopg import sql as pgsql
from psycopg.types.json import Jsonb
from support.commit_history import MODELLED
from support.external_changes import EXTERNAL_CHANGES
from support.strategies import IDS, excluded, override, urls, values
from support.system import System

from omnicdc.files.manifest import ANNOUNCED, MANIFEST

if TYPE_CHECKING:
    from collections.abc import Callable

    from support.writer import Writer

    from omnicdc.testing.embedded import EmbeddedServer

NAMES = ["cmp_projects", "cmp_agents", "project", "git", "teams", "staff"]
DISK = ["open", "write", "fsync", "rename", "fsync_directory"]
POINTS = [
    *(f"{step} {name}" for step in ("scanned", *DISK, "published") for name in NAMES),
    "scanned", "published", "acknowledged", "manifest",
]  # fmt: skip
BESIDE = [str(MANIFEST), str(ANNOUNCED)]
"""The other files that omnicdc writes beside the registries."""

MANY: LiteralString = """
insert into projects (id, name, metadata_)
     select id, 'one of many',
            jsonb_build_object('github_url', format('https://github.com/acme/%%s', right(id::text, 2)))
       from unnest(%s::uuid[]) id
on conflict do nothing
"""

AGENT: LiteralString = """
insert into agents (id, name, kind, role, project_id, metadata_) values (%s, %s, %s, %s, %s, %s)
on conflict (id) do update set (name, kind, role, project_id, metadata_) =
  row (excluded.name, excluded.kind, excluded.role, excluded.project_id, excluded.metadata_)
"""

COLUMNS = ["name", "key", "type", "status", "metadata_", "description"]
LEVELS = ["read committed", "repeatable read", "serializable"]
ERRORS = ["ENOSPC", "EIO", "EROFS"]
TRIGGERS = ["omnicdc_log_row", "omnicdc_log_update", "omnicdc_log_truncate"]

ids = st.sampled_from(IDS)
writers = st.integers(0, 2)
counts = st.integers(1, len(IDS))
rarely = st.sampled_from([False, False, True])


def step(kind: str, **given: st.SearchStrategy[Any]) -> Callable[[Callable[..., None]], Any]:
    """Make a rule of a method. Its steps are counted by kind, and printed if the example fails."""

    def decorate(action: Callable[..., None]) -> Any:  # noqa: ANN401 - a type of hypothesis
        @wraps(action)
        def counted(state: Machine, **drawn: object) -> None:
            arguments = ", ".join(f"{name}={value!r}" for name, value in drawn.items())
            state.steps.append(f"state.{action.__name__}({arguments})")
            state.shared.counts[kind] += 1
            action(state, **drawn)

        return rule(**given)(counted)  # type: ignore[call-overload]  # `given` might hold its own parameters

    return decorate


@dataclass
class Shared:
    """What all examples share: a server, and the counters.

    A new database of this server has CMP's table and the capture.
    """

    server: EmbeddedServer
    counts: Counter[str] = field(default_factory=Counter)
    failure: Exception | None = None
    """The first failure. Hypothesis then repeats the steps, and they may end differently: the timing of
    daemon and writers is not repeatable."""

    def database(self) -> str:
        """Make a database, which replaces the last example's; returns its connection string."""
        with psycopg.connect(self.server.dsn(), autocommit=True) as admin:
            admin.execute("drop database if exists system with (force)")
            admin.execute("create database system strategy file_copy")
        return self.server.dsn("system")


class Machine(RuleBasedStateMachine):
    """All that Genesis, users, operators and machines may do, in any order."""

    shared: ClassVar[Shared]

    def __init__(self) -> None:
        if self.shared.failure:
            raise self.shared.failure
        super().__init__()
        self.steps: list[str] = []

    @initialize(wake=st.sampled_from(["notify", "poll"]), guard=st.booleans(), sweep=rarely, count=counts)
    def begin_all(self, *, wake: str, guard: bool, sweep: bool, count: int) -> None:
        self.steps.append(f"state.begin_all({wake=}, {guard=}, {sweep=}, {count=})")
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
        self.system = System(self.shared.server, self.shared.database(), self.where, env, self.shared.counts)
        self.writer(0).run(MANY, IDS[:count])

    def writer(self, number: int) -> Writer:
        return self.system.writers[number]

    # Genesis writes.

    @step("written", writer=writers, project=ids, values=values)
    def upsert(self, writer: int, project: str, values: dict[str, Any]) -> None:
        row = {name: value for name, value in self._encoded(values).items() if name != self.system.gone}
        self.writer(writer).run(_upsert(list(row)), project, *row.values())

    @step("written", writer=writers, first=ids, count=counts, column=st.sampled_from(COLUMNS), values=values)
    def update(self, writer: int, first: str, count: int, column: str, values: dict[str, Any]) -> None:
        if column != self.system.gone:
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
        if self.system.gone != "metadata_":
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

    @step("written", writer=writers, agent=ids, project=st.none() | ids, values=values)
    def upsert_agent(self, writer: int, agent: str, project: str | None, values: dict[str, Any]) -> None:
        of_agent = [values["name"], values["type"], values["key"], project, Jsonb(values["metadata_"])]
        self.writer(writer).run(AGENT, agent, *of_agent)

    @step("written", writer=writers, first=ids, count=counts, project=st.none() | ids)
    def move_agents(self, writer: int, first: str, count: int, project: str | None) -> None:
        self.writer(writer).run(
            "update agents set project_id = %s where id = any (%s::uuid[])", project, _some(first, count)
        )

    @step("written", writer=writers, first=ids, count=counts)
    def delete_agents(self, writer: int, first: str, count: int) -> None:
        self.writer(writer).run("delete from agents where id = any (%s::uuid[])", _some(first, count))

    @step("written", writer=writers)
    def truncate(self, writer: int) -> None:
        self.writer(writer).exclude("truncate projects")

    @step("written", writer=writers)
    def rewrite(self, writer: int) -> None:
        """Rewrite the table: a snapshot from before sees it empty afterwards."""
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
            self.system.prepared.append(token)

    @precondition(lambda self: self.wake == "poll")
    @step("written", how=st.sampled_from(["commit", "rollback"]))
    def end_prepared(self, how: LiteralString) -> None:
        self.system.end_prepared(how)

    # The daemon meets faults.

    @step("started")
    def start(self) -> None:
        self.system.start()

    @step("signalled", how=st.sampled_from(["SIGTERM", "SIGHUP", "SIGSTOP"]))
    def send(self, how: str) -> None:
        self.system.signal(signal.Signals[how])

    @step("killed")
    def kill(self) -> None:
        self.system.signal(signal.SIGKILL)

    @step("killed at", point=st.sampled_from(POINTS))
    def kill_at(self, point: str) -> None:
        self.system.faults.write_text(f"{point}: kill\n")

    @step(
        "disk", step=st.sampled_from(DISK), name=st.sampled_from(["*", *NAMES]), error=st.sampled_from(ERRORS)
    )
    def fail_at(self, step: str, name: str, error: str) -> None:
        self.system.faults.write_text(f"{step} {name}: {error}\n")

    @step("slept")
    def sleep(self) -> None:
        self.system.sleep()

    # The server ends connections, or restarts.

    @step("terminated")
    def terminate(self) -> None:
        self.system.terminate()

    @step("restarted", how=st.sampled_from(["SIGINT", "SIGQUIT"]))
    def restart(self, how: str) -> None:
        self.system.restart(signal.Signals[how])

    # Users change files, the capture, and what they write.

    @step(
        "external change",
        place=st.sampled_from([*MODELLED, *MODELLED, *BESIDE]),
        change=st.sampled_from([*EXTERNAL_CHANGES]),
    )
    def change_file(self, place: str, change: str) -> None:
        if change == "edit_in_secret" and (place in BESIDE or not self.sweep):
            change = "edit"
        self.system.commits.externally_changed.add(place)
        with suppress(OSError):  # a daemon may write the file at the same time
            EXTERNAL_CHANGES[change](self.system.host.root / place)

    @step("inputs", overrides=st.lists(override, max_size=2), exclusions=excluded)
    def write_inputs(self, overrides: list[dict[str, Any]], exclusions: list[str]) -> None:
        self.system.people(overrides, exclusions)

    @step("inputs", name=st.sampled_from(["one", "two"]), url=st.none() | urls, hearts=st.integers(0, 2))
    def clone(self, name: str, url: str | None, hearts: int) -> None:
        self.system.clone(name, url, hearts)

    @step("capture", trigger=st.sampled_from(TRIGGERS))
    def disable(self, trigger: LiteralString) -> None:
        self.system.disable(trigger)

    @step("capture", column=st.sampled_from(["key", "type", "status", "metadata_"]))
    def drop_column(self, column: LiteralString) -> None:
        self.system.drop(column)

    @step("capture", trigger=st.sampled_from(TRIGGERS))
    def enable(self, trigger: LiteralString) -> None:
        self.system.enable(trigger)

    @step("installed")
    def install(self) -> None:
        self.system.install()

    @step("pruned")
    def prune(self) -> None:
        self.system.cmp.value("select changes from omnicdc.prune('0 s', '1 day')")

    # What must hold.

    @step("asked")
    def quiet(self) -> None:
        self.system.quiet()

    @invariant()
    def look(self) -> None:
        self.system.commits.look()

    def teardown(self) -> None:
        if hasattr(self, "system"):
            try:
                self._settle()
            finally:
                self.system.close()
                shutil.rmtree(self.where)

    def _settle(self) -> None:
        """End with a quiet moment and `omnicdc verify`. Print the sequence if it failed."""
        try:
            if sys.exc_info()[0] is None:
                self.quiet()
                audit = self.system.host.run("verify", "--all")
                assert audit.returncode == 0, audit.stdout + audit.stderr
        finally:
            failure = sys.exc_info()[1]  # hypothesis calls `teardown` while it raises
            if isinstance(failure, Exception):
                self.shared.failure = failure
                lines = [*self.steps, *(f"{daemon.events} {daemon.noise}" for daemon in self.system.daemons)]
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
