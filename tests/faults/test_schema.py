"""Faults 5: CMP's schema drifts under a running daemon.

Columns, tables, triggers, functions, rights, partitions.

Rights count here: the daemon logs in as a registry host does, who waits and asks as Genesis does, and CMP is
written by a role that has never heard of omnicdc. What is broken is mended by the command that `omnicdc
status` names, word for word.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from contextlib import closing, nullcontext
from functools import partial
from typing import TYPE_CHECKING, Any, Self

import psycopg
import pytest
from psycopg import errors as pg
from psycopg import sql as pgsql
from support.cmp import TABLE, Cmp
from support.faulty import FAULTS, PROGRAM
from support.frozen import freeze
from support.host import COMMAND, DEADLINE_S, Host, until
from support.place import PROJECTS, Place, Writers
from support.sessions import People
from support.terminal import on_a_terminal

from omnicdc import db
from omnicdc.capture import install
from omnicdc.capture.watch_list import derive
from omnicdc.db import sql
from omnicdc.errors import LockBusy
from omnicdc.registries.scanners import scanners

if TYPE_CHECKING:
    import random
    from collections.abc import Iterator
    from pathlib import Path
    from typing import LiteralString

    from support.evidence import Evidence, Scale
    from support.pace import Pace


WATCHED = derive(scanners().values()).fields
LONGEST_WRITE_S = 1.0
"""A write takes a millisecond; one that waited for omnicdc would take until a time-out."""

TRIGGERS = ("omnicdc_log_row", "omnicdc_log_update", "omnicdc_log_truncate")
ALL_ON: LiteralString = "alter table projects " + ", ".join(
    f"enable always trigger {name}" for name in TRIGGERS
)


@pytest.fixture
def place(cmp: Cmp, host: Host) -> Iterator[Place]:
    """CMP, host and people."""
    people = People(cmp)
    yield Place(cmp, host, people)
    host.close()
    people.close()


def honest(place: Place, token: str | None) -> float:
    """Ask until it is said to have arrived, and look at the files at that instant.

    Returns the seconds it took.
    """
    started = time.monotonic()
    while not (verdict := place.wait(token, timeout_s=0)).arrived:
        assert time.monotonic() - started < DEADLINE_S, verdict
    assert place.holds(), f"{verdict.status}, but the file does not hold it"
    return time.monotonic() - started


def told_alike(place: Place, said: str) -> None:
    """Insist that the command says the same to a program and to a person."""
    answer = place.host.ask("status")
    text = on_a_terminal([COMMAND, "status"], place.host.env | {"NO_COLOR": "1"}, columns=1000).text
    assert answer["healthy"] is False
    assert answer["faults"][0] == said
    assert answer["capture"]["fault"] in said
    assert said in text


EDIT: LiteralString = """create or replace function omnicdc.{}() returns trigger language plpgsql
          security definer set search_path = pg_catalog, pg_temp as 'begin return null; end'"""
REPLACED = """
create table fresh (like projects including all);
insert into fresh select * from projects;
drop table projects;
alter table fresh rename to projects;
grant select, insert, update, delete on projects to WRITER
"""
PARTITIONED = """
alter table projects rename to projects_before;
create table projects (like projects_before including defaults) partition by list (type);
alter table projects attach partition projects_before default;
grant select, insert, update, delete on projects to WRITER
"""

DEMOTED = "alter table projects enable trigger user"
INVOKER = "alter function omnicdc.log_row() security invoker"
UNSAFE = ("drop ", INVOKER)
"""Done while nobody else writes: PostgreSQL's own DROP locks a partition before its table, and writers come
to them the other way round; and a function that no longer runs as its owner lets a stranger's write fail,
which nothing can prevent."""

BREAKS: list[tuple[str, str]] = [
    ("alter table projects disable trigger all", "is disabled on"),
    ("alter table projects disable trigger user", "is disabled on"),
    *(
        (f"alter table projects disable trigger {name}", f"trigger {name} is disabled on")
        for name in TRIGGERS
    ),
    (DEMOTED, "does not fire always"),
    ("alter table projects enable replica trigger omnicdc_log_update", "does not fire always"),
    *((f"drop trigger {name} on projects", f"trigger {name} is missing on") for name in TRIGGERS),
    ("drop function omnicdc.log_row() cascade", "omnicdc_log_row is missing on"),
    ("drop function omnicdc.log_update() cascade", "omnicdc_log_update is missing on"),
    (EDIT.format("log_row"), "function omnicdc.log_row() was edited"),
    (EDIT.format("log_update"), "function omnicdc.log_update() was edited"),
    (INVOKER, "function omnicdc.log_row() was edited"),
    ("alter function omnicdc.log_update() reset search_path", "function omnicdc.log_update() was edited"),
    ("alter function omnicdc.log_update() owner to current_user", "function omnicdc.log_update() was edited"),
    ("truncate omnicdc.source", "no table is watched"),
    (REPLACED, "is missing on"),
    (PARTITIONED, "is missing on"),
    (REPLACED, "is missing on"),
]  # fmt: skip
"""Ways to break the capture, and what is told."""

CHANGE = (
    "insert into projects (name, status) values ('while it was broken', 'new')",
    "update projects set status = clock_timestamp()::text where key = 'key-7'",
    "delete from projects where key = (select max(key) from projects)",
)


@pytest.mark.timeout(300)
def test_a_capture_that_is_broken_is_named_and_mended_by_the_command_that_is_named(
    place: Place, dice: random.Random, scale: Scale, evidence: Evidence, pace: Pace
) -> None:
    """P1, P4, P5, P8: no write fails or waits, none is called published, and none is missing once mended."""
    daemon = place.serve()
    chosen = dice.sample(BREAKS, scale(1, len(BREAKS)))
    noticed, mended = [], []
    with Writers(place.writer_dsn, pg.UndefinedTable, pg.InsufficientPrivilege) as writers:
        for deed, cause in chosen:
            seen, broken = len(daemon.events), time.monotonic()
            with writers.resting() if deed.startswith(UNSAFE) else nullcontext():
                place.execute(deed)
                token = as_owner(place, deed) if deed in (DEMOTED, INVOKER) else place.write(*CHANGE)
                verdicts = [place.wait(token).status, place.wait().status]
                [said, *_] = place.faults()
                if cause != "no table is watched":
                    daemon.wait_for("capture_broken", after=seen)
                noticed.append(time.monotonic() - broken)
                if len(noticed) % 6 == 1:
                    told_alike(place, said)
                started = time.monotonic()
                place.mend()
                place.arrived(token)
                mended.append(time.monotonic() - started)
            with writers.resting():
                place.arrived()
                assert place.holds(), deed

            assert verdicts == ["capture_broken", "capture_broken"], deed
            assert said.startswith("capture is broken: ")
            assert cause in said, deed
            assert "`omnicdc install`" in said, deed
    seldom = with_settings_as_they_come(place, pace) if scale(0, 1) else 0.0
    place.right()

    assert writers.broken == []
    assert writers.slowest_s < pace.allows(LONGEST_WRITE_S)
    assert seldom < pace.allows(7)
    evidence(
        "P1 P4 P5 P8",
        "triggers disabled, demoted from ALWAYS, dropped; their functions edited, dropped, given to others; "
        "the table dropped "
        "and made again with its rows, or made the partition of a new one (triggers and functions dropped "
        "while no session wrote); then `omnicdc install`, as `omnicdc status` says",
        times=len(chosen),
        found=f"named each time, `wait` said capture_broken at once; the daemon noticed within "
        f"{max(noticed):.1f} s, looking every 0.2 s, and "
        f"within {seldom:.1f} s, looking as it does by itself; what was missed was published within "
        f"{max(mended):.1f} s of the command; {writers.told}",
    )


def with_settings_as_they_come(place: Place, pace: Pace) -> float:
    """Break the capture under a daemon that looks as seldom as it does by itself.

    Returns when it noticed, at the latest.
    """
    place.daemon.stop()
    place.daemon = place.host.daemon(OMNICDC_POLL_S="5")
    took = []
    for trigger in TRIGGERS:  # the first time it may just be looking
        seen, started = len(place.daemon.events), time.monotonic()
        place.execute(f"alter table projects disable trigger {trigger}")
        assert place.wait().status == "capture_broken"
        assert time.monotonic() - started < pace.allows(2)
        place.daemon.wait_for("capture_broken", after=seen)
        took.append(time.monotonic() - started)
        place.mend()
        place.arrived()
    return max(took)


def as_owner(place: Place, deed: str) -> str:
    """Write as CMP's owner, and where only ALWAYS triggers would fire for replication, as that does.

    Returns the token.
    """
    with place.cmp.transaction() as (conn, token):
        if deed == DEMOTED:
            conn.execute("set local session_replication_role = replica")
        for statement in CHANGE:
            conn.execute(statement.encode())
    return token


RIGHTS: list[tuple[str, str]] = [
    ("revoke select (status) on projects from omnicdc_daemon", "SELECT on column status of public.projects"),
    ("revoke select (id) on projects from omnicdc_daemon", "SELECT on column id of public.projects"),
    ("revoke usage on schema omnicdc from omnicdc_daemon", "USAGE on schema omnicdc"),
    ("revoke select on omnicdc.change from omnicdc_daemon", "SELECT on omnicdc.change"),
    ("revoke select on omnicdc.source from omnicdc_daemon", "SELECT on omnicdc.source"),
    ("revoke update on omnicdc.consumer from omnicdc_daemon", "UPDATE on omnicdc.consumer"),
    ("revoke all on omnicdc.history from omnicdc_daemon", "INSERT on omnicdc.history"),
    (
        "alter table projects drop column status; alter table projects add column status text default 'back'",
        "SELECT on column status of public.projects",
    ),
]


@pytest.mark.timeout(300)
@pytest.mark.campaign
def test_rights_that_were_taken_away_are_named_and_renewed_by_install(
    place: Place, dice: random.Random, evidence: Evidence, pace: Pace
) -> None:
    """P1, P4, P5: a daemon that may no longer read or tell is not called stopped.

    Its files stay, and are right again.
    """
    place.serve()
    chosen = dice.sample(RIGHTS, len(RIGHTS))
    mended = []
    with Writers(place.writer_dsn) as writers:
        for deed, cause in chosen:
            before = len(place.host.canonical())
            place.execute(deed)
            token = place.write(*CHANGE)
            verdict = place.wait(token)
            kept = len(place.host.canonical())
            started = time.monotonic()
            said = place.mend()
            place.arrived(token)
            mended.append(time.monotonic() - started)
            with writers.resting():
                place.arrived()
                assert place.holds(), deed

            assert verdict.status == "capture_broken", deed
            assert cause in verdict.detail
            assert cause in said
            assert kept > before / 2
    place.right()

    assert writers.broken == []
    assert writers.slowest_s < pace.allows(LONGEST_WRITE_S)
    evidence(
        "P1 P4 P5",
        "rights revoked from omnicdc_daemon: columns of projects, the schema, the log, its own row, the "
        "history; a watched "
        "column dropped and added again, which loses its grant; then `omnicdc install`, as `omnicdc status` "
        "says",
        times=len(chosen),
        found=f"named each time, the files stay; right again within {max(mended):.1f} s of the command; "
        f"{writers.told}",
    )


ALTERED: list[tuple[str, str, bool]] = [
    ("drop column status", "add column status text", False),
    ("drop column key", "add column key text", False),
    ("drop column metadata_", "add column metadata_ jsonb default '{}'", False),
    ("rename column status to state", "rename column state to status", False),
    ("rename column metadata_ to metadata", "rename column metadata to metadata_", False),
    ("alter metadata_ type text", "alter metadata_ type jsonb using metadata_::jsonb", False),
    ("alter metadata_ type json using metadata_::json", "alter metadata_ type jsonb", True),
    ("alter status type integer using 7", "alter status type text", True),
    ("alter status type json using to_json(status)", "alter status type text", True),
    ("alter status type text[] using array[status]", "alter status type text using status[1]", True),
    ("alter status type mood using 'fine'", "alter status type text", True),
    ("alter status type short", "alter status type text", True),
    ("alter status type varchar(40) using left(status, 40)", "alter status type text", True),
    (
        "alter key type bytea using convert_to(key, 'UTF8')",
        "alter key type text using convert_from(key, 'UTF8')", True,
    ),
    (
        "alter id drop default, alter id type text, alter id set default gen_random_uuid()::text",
        "alter id drop default, alter id type uuid using id::uuid, alter id set default gen_random_uuid()",
        True,
    ),
    ("alter id type project_id", "alter id type uuid", True),
    ("rename column id to uuid", "rename column uuid to id", False),
    ("drop column id", "add column id uuid primary key default gen_random_uuid()", False),
    ("drop column description cascade", "add column description text", True),
    ("alter description type varchar(90)", "alter description type text", True),
    ("drop column created_at", "add column created_at timestamptz not null default now()", True),
    ("rename column updated_at to touched_at", "rename column touched_at to updated_at", True),
    ("add column extra point default '(1,2)'", "drop column extra", True),
]  # fmt: skip
"""What is done to a column, what puts it back, and whether every registry can still be read."""

TYPES = (
    "create domain short as varchar(90); create domain project_id as uuid; "
    "create type mood as enum ('fine', 'bad')"
)


@pytest.mark.timeout(300)
def test_a_column_that_is_dropped_renamed_or_retyped_holds_what_cannot_be_read_and_nothing_else(
    place: Place, dice: random.Random, scale: Scale, evidence: Evidence, pace: Pace
) -> None:
    """P1, P4, P5, P6: writes go on; what can be read arrives.

    What cannot is held, named, and heals when it is back.
    """
    place.execute(TYPES)
    place.serve()
    chosen = dice.sample(ALTERED, scale(2, len(ALTERED)))
    held = 0
    with Writers(place.writer_dsn, pg.UndefinedColumn) as writers:
        for deed, undo, readable in chosen:
            place.execute(f"alter table projects {deed}")
            token = place.write("insert into projects (name) values ('meanwhile')")
            if readable:
                with writers.resting():
                    honest(place, None)
                place.arrived(token)
                faults = place.faults()
            else:
                until(partial(place.says, "held", token), f"held: {deed}")
                faults = place.faults()
                held += 1
            place.execute(f"alter table projects {undo}")
            place.heals()
            with writers.resting():
                honest(place, None)
            place.arrived(token)

            assert readable is not bool(faults), (deed, faults)
            assert all("is held: " in fault for fault in faults)
    place.right()

    assert writers.broken == []
    assert writers.slowest_s < pace.allows(LONGEST_WRITE_S)
    evidence(
        "P1 P4 P5 P6",
        "a column dropped, renamed, retyped (integer, json, text[], an enum, a domain, varchar, bytea) and "
        "put back: watched "
        "ones, the id, and ones that no registry reads",
        times=len(chosen),
        found=f"{len(chosen) - held} could be read on and arrived, {held} held the registries that read the "
        f"column until it was back; "
        f"all right afterwards; {writers.told}",
    )


SILENT: list[tuple[str, str]] = [
    ("update by ALTER TYPE", "alter table projects alter status type text using status || '!'"),
    (
        "columns that change places",
        (
            "alter table projects rename status to s; alter table projects rename type to status; "
            "alter table projects rename s to type"
        ),
    ),
    (
        "triggers off for one transaction",
        f"alter table projects disable trigger all; update projects set status = 'unseen'; {ALL_ON}",
    ),
    (
        "triggers off for one transaction, and another table's rows",
        f"alter table projects disable trigger all; delete from projects where key like '%3'; {ALL_ON}",
    ),
    (
        "functions edited for one transaction",
        f"{EDIT.format('log_update')}; update projects set key = key || '?'; RESTORE",
    ),
    (
        "another table in its place, with triggers",
        f"{REPLACED}; update projects set status = 'another'; INSTALL",
    ),
]
"""What changes rows without a trigger that sees it, and is sound again before anybody has looked."""


@pytest.mark.campaign
def test_what_no_trigger_sees_is_published_and_not_called_published_before(
    place: Place, dice: random.Random, scale: Scale, evidence: Evidence
) -> None:
    """P1, P5, P8: nothing is wrong when it is looked for, and yet the log lacks it.

    `wait` is not taken in.
    """
    place.serve()
    took = []
    chosen = [deed for _ in range(scale(1, 3)) for deed in dice.sample(SILENT, scale(2, len(SILENT)))]
    for what, deed in chosen:
        whole = place.cmp.value("select pg_get_functiondef('omnicdc.log_update'::regproc)")
        with db.connect(place.cmp.dsn) as conn, conn.transaction():
            token = db.fetch_one(conn, "token")["token"]
            done = deed.replace("WRITER", place.writer).replace("RESTORE", whole).removesuffix("; INSTALL")
            conn.execute(done.encode())
            if deed.endswith("INSTALL"):
                install.install(conn, "projects", WATCHED)
        took.append(honest(place, token))
        honest(place, None)
        assert place.faults() == [], what
    place.right()

    evidence(
        "P1 P5 P8",
        "rows changed where no trigger looks, and all sound again in the same transaction: ALTER TYPE ... "
        "USING, columns that change "
        "places, triggers off and on, a function edited and restored, another table with other rows in its "
        "place",
        times=len(chosen),
        found=f"`wait` never said published before the files held it (asked without a pause); published "
        f"within {max(took):.1f} s",
    )


MOVES: list[tuple[str, str]] = [
    ("alter table projects rename to ventures", "public.ventures"),
    (("create schema cmp_2; grant usage on schema cmp_2 to WRITER; alter table ventures set schema "
     "cmp_2"), "cmp_2.ventures"),
    (
        """alter table cmp_2.ventures rename to rows; create view cmp_2.ventures as select * from cmp_2.rows;
           grant select, insert, update, delete on cmp_2.ventures to WRITER""",
        "cmp_2.rows",
    ),
    (("drop view cmp_2.ventures; alter table cmp_2.rows rename to projects; alter table cmp_2.projects set "
     "schema public"), "public.projects"),
]  # fmt: skip
"""One after the other: what becomes of the table, and where its rows are then."""


@pytest.mark.campaign
def test_a_table_that_is_renamed_moved_or_hidden_behind_a_view_is_found_again(
    place: Place, evidence: Evidence, pace: Pace
) -> None:
    """P1, P4, P5: the files stay as they are.

    `status` knows where the table went, and its command and setting mend it.
    """
    place.serve()
    mended = []
    chosen = MOVES
    with Writers(place.writer_dsn, pg.UndefinedTable) as writers:
        for deed, now in chosen:
            place.execute(deed)
            writers.table = now
            token = place.write(f"update {now} set status = 'moved' where key like '%3'")
            verdict, barrier = place.wait(token), place.wait()
            before = len(place.host.canonical())
            started = time.monotonic()
            said = place.mend()
            place.arrived(token)
            mended.append(time.monotonic() - started)
            with writers.resting():
                honest(place, None)

            assert verdict.status == barrier.status == "capture_broken"
            assert f"its triggers are on {now}" in said
            assert f"`omnicdc install --table {now}`" in verdict.hint
            assert place.table == now
            assert before >= PROJECTS
    place.right()

    assert writers.broken == []
    assert writers.slowest_s < pace.allows(LONGEST_WRITE_S)
    evidence(
        "P1 P4 P5",
        "the table renamed, moved to another schema, renamed with a view in its place, moved back; then "
        "what `omnicdc status` "
        "says: `omnicdc install --table`, `table:` in the configuration, a reload",
        times=len(chosen),
        found=f"named each time, and where the table went; right again within {max(mended):.1f} s; "
        f"{writers.told}",
    )


POLICIES = (
    "",
    "create policy half on projects for select using (key < 'key-5')",
    "create policy everything on projects for select using (true)",
)


@pytest.mark.campaign
def test_rows_that_row_level_security_hides_are_not_taken_for_deleted(
    place: Place, dice: random.Random, scale: Scale, evidence: Evidence
) -> None:
    """P1, P2, P5: whether it hides all rows, some, or none.

    Nothing is dropped from a file; held, with the mend.
    """
    place.serve(OMNICDC_GUARD_SHARE="1")
    chosen = dice.sample(POLICIES, scale(1, len(POLICIES)))
    for policy in chosen:
        with place.cmp.transaction() as (conn, token):
            conn.execute(f"alter table projects enable row level security; {policy}".encode())
            conn.execute("update projects set type = clock_timestamp()::text")
        verdict = place.wait(token)
        before = place.host.canonical()
        answer = place.host.ask("verify", "--all")
        [said, *_] = place.faults()
        mended = place.mend()
        honest(place, token)
        place.execute("drop policy if exists half on projects; drop policy if exists everything on projects")
        place.execute(f"alter table projects disable row level security; alter role {place.role} nobypassrls")

        assert verdict.status == "held", policy
        assert len(before) == PROJECTS
        assert answer["verified"] is False
        assert {one["status"] for one in answer["registries"].values()} == {"unreadable"}
        assert "row-level security" in said
        assert mended.endswith(f"as a superuser: `alter role {place.role} bypassrls`")
    place.right()

    evidence(
        "P1 P2 P5",
        "row-level security switched on for projects, without a policy, with one that hides half of the "
        "rows, with one that hides none",
        times=len(chosen),
        found="no project left a file; held until the role may bypass it, as `omnicdc status` says; "
        "`verify` refuses, too",
    )


UNREAD = "delete from omnicdc.change"
"""Nothing tells of it but the files: the sweep's business."""

OURS: list[tuple[str, str]] = [
    ("drop schema omnicdc cascade", "install"),
    ("delete from omnicdc.consumer", ""),
    ("truncate omnicdc.change", ""),
    ("delete from omnicdc.history", ""),
    (UNREAD, ""),
]


@pytest.mark.campaign
def test_what_becomes_of_omnicdc_s_own_tables_by_hand_harms_no_write_and_is_mended(
    place: Place, dice: random.Random, evidence: Evidence, pace: Pace
) -> None:
    """P1, P4, P5, P8: under a running daemon.

    What the log loses while the daemon hangs is scanned for all the same.
    """
    daemon = place.serve(OMNICDC_SWEEP_S="2")
    chosen = dice.sample(OURS, len(OURS))
    with Writers(place.writer_dsn) as writers:
        for deed, mend in chosen:
            with writers.resting():
                place.arrived()
                freeze(daemon, place.cmp)
                token = place.write(*CHANGE)
                place.execute(deed)
                daemon.process.send_signal(signal.SIGCONT)
            if mend:
                refused = place.host.run("status")
                assert refused.returncode, deed
                assert "`omnicdc install`" in refused.stdout + refused.stderr, deed
                assert place.host.run(mend, OMNICDC_DSN=place.cmp.dsn).returncode == 0
            place.well()
            with writers.resting():
                if deed == UNREAD:
                    until(place.holds, "the sweep")
                honest(place, None)
            place.arrived(token)
    place.right()

    assert writers.broken == []
    assert writers.slowest_s < pace.allows(LONGEST_WRITE_S)
    evidence(
        "P1 P4 P5 P8",
        "while the daemon hung and had changes to read, and no session wrote: the schema omnicdc dropped "
        "CASCADE, the log emptied by TRUNCATE or by DELETE, "
        "the consumer's row deleted, the history deleted",
        times=len(chosen),
        found=f"named, and fixed by `omnicdc install` or by itself; never called published before the files "
        f"held it, but for rows deleted from the log, which the sweep found; {writers.told}",
    )


class Dawdlers:
    """Writers whose transactions stay open between two writes, as those of people do."""

    def __init__(self, dsn: str, dice: random.Random) -> None:
        self.slowest_s = 0.0
        self.writes = 0
        self.broken: list[str] = []
        self._dsn = dsn
        self._ended = threading.Event()
        self._threads = [threading.Thread(target=self._write, args=(dice, hand)) for hand in range(5)]

    def _write(self, dice: random.Random, hand: int) -> None:
        with psycopg.connect(self._dsn, autocommit=True) as conn:
            while not self._ended.is_set():
                try:
                    with conn.transaction():
                        # Every other one comes to the log by its second write only.
                        self._timed(conn, f"update projects set name = name where key = 'key-{hand}'")
                        if dice.random() < 0.5:
                            self._timed(conn, "insert into projects (name) values ('first')")
                        time.sleep(dice.random() * 0.3)  # what keeps it open
                        self._timed(conn, "insert into projects (name) values ('last')")
                except psycopg.Error as exc:
                    self.broken.append(f"{type(exc).__name__}: {exc}")

    def _timed(self, conn: psycopg.Connection[Any], statement: str) -> None:
        started = time.perf_counter()
        conn.execute(statement.encode())
        self.writes += 1
        self.slowest_s = max(self.slowest_s, time.perf_counter() - started)

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_exc: object) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join()


@pytest.mark.campaign
def test_install_and_uninstall_harm_no_writer_whose_transaction_is_open(
    place: Place, dice: random.Random, evidence: Evidence, monkeypatch: pytest.MonkeyPatch, pace: Pace
) -> None:
    """P4: an upgrade that alters the log made PostgreSQL call off CMP's writes by the dozen, as deadlocks."""
    later = sql.Migration(
        9999, sql.Script("9999_later.sql", "alter table omnicdc.change alter op set not null")
    )
    known = [*sql.migrations(), later]
    monkeypatch.setattr(sql, "migrations", lambda: known)
    place.cmp.fill(PROJECTS)
    busy = 0
    times = 20
    with Dawdlers(place.writer_dsn, dice) as writers, db.connect(place.cmp.dsn) as conn:
        for number in range(times):
            if conn.execute("select to_regclass('omnicdc.migration') as installed").fetchone() != {
                "installed": None
            }:
                conn.execute("delete from omnicdc.migration where version = 9999")
                conn.execute(EDIT.format("log_update").encode())
            try:
                if number % 4 == 3:
                    install.uninstall(conn)
                install.install(conn, "projects", WATCHED)
            except LockBusy:
                busy += 1

    assert writers.broken == []
    assert writers.slowest_s < pace.allows(LONGEST_WRITE_S)
    assert busy < times / 2
    evidence(
        "P4",
        "`omnicdc install` with a migration that alters the log and triggers to renew, and `omnicdc "
        "uninstall`, while five writers keep "
        "transactions open",
        times=times,
        found=f"{writers.writes:,} writes of CMP meanwhile: 0 failed, the slowest waited "
        f"{writers.slowest_s * 1000:.0f} ms for a lock; "
        f"{busy} gave up as another session's lock could not be had",
    )


BY_TYPE = """
create table by_type (like projects including defaults) partition by list (type);
insert into by_type select * from projects where false;
drop table projects;
alter table by_type rename to projects;
create table services partition of projects for values in ('SERVICE');
create table others partition of projects default;
grant select, insert, update, delete on projects to WRITER
"""
ATTACH = "alter table projects attach partition apps for values in ('APP')"
PARTITIONS: list[tuple[str, str]] = [
    ("", "insert into services (name, type) values ('straight', 'SERVICE'), ('straight', 'SERVICE')"),
    ("", "update services set status = 'straight' where key like '%1'"),
    ("", "delete from services where name = 'straight'"),
    ("", "update projects set type = 'TOOL' where key like '%2'"),
    (
        "",
        (
            "set session_replication_role = replica; "
            "update services set status = 'replica' where key like '%4'; reset session_replication_role"
        ),
    ),
    (
        "create table libraries partition of projects for values in ('LIBRARY')",
        "insert into libraries (name, type) values ('late', 'LIBRARY')",
    ),
    ("", "update projects set type = 'LIBRARY' where key like '%3'"),
    ("", "truncate libraries"),
    (
        (
            "create table apps (like projects including defaults); "
            "insert into apps (name, type) values ('brought along', 'APP'); ATTACH"
        ),
        "",
    ),
    ("", "update apps set status = 'attached'"),
    ("alter table projects detach partition apps", "update apps set status = 'nobody cares'"),
    ("ATTACH", "insert into projects (name, type) values ('again', 'APP')"),
    ("drop table apps", ""),
    ("truncate others", ""),
    (
        (
            "alter table projects rename to before; "
            "create table projects (like before including defaults) partition by list (type); INSTALL"
        ),
        "",
    ),
    (
        "alter table projects attach partition before default",
        "insert into before (name, type) values ('below two', 'SERVICE')",
    ),
]  # fmt: skip
"""One after the other: what CMP's owner does, then what is written."""


@pytest.mark.campaign
@pytest.mark.timeout(240)
def test_partitions_come_and_go_with_their_rows(place: Place, evidence: Evidence) -> None:
    """P1, P5: partitions are created later, attached with rows in them, detached, emptied, dropped, nested.

    They are also written to directly.
    """
    place.execute(BY_TYPE)
    assert place.host.run("install", OMNICDC_DSN=place.cmp.dsn).returncode == 0
    place.serve()
    took = []
    for deed, write in PARTITIONS:
        with place.cmp.transaction() as (conn, token):
            for statement in (deed.removesuffix("; INSTALL").replace("ATTACH", ATTACH), write):
                conn.execute(statement.encode())
        if deed.endswith("INSTALL"):
            assert place.mend().startswith(
                "capture is broken: trigger omnicdc_log_row is missing on public.projects"
            )
        took.append(honest(place, token))
        honest(place, None)
        assert place.faults() == [], (deed, write)
    with place.cmp.conn.cursor().copy("copy before (name, type) from stdin") as copy:
        for number in range(300):
            copy.write_row((f"copied {number}", "SERVICE" if number % 2 else "OTHER"))
    honest(place, None)
    place.right()

    assert "copied 299" in str(place.host.canonical())
    evidence(
        "P1 P5",
        "a partitioned projects: partitions written to straight, by COPY, and with session_replication_role "
        "= replica; created later, attached with rows in them, "
        "detached, emptied, dropped; the whole renamed, and attached below its successor",
        times=len(PARTITIONS) + 1,
        found=f"every row arrived or left; `wait` never said so before; the slowest took {max(took):.1f} s",
    )


@pytest.mark.timeout(300)
@pytest.mark.campaign
def test_a_long_lock_on_cmp_s_table_is_named_and_holds_up_nobody_who_asks(
    place: Place, evidence: Evidence, pace: Pace
) -> None:
    """P4, P5: the daemon queues behind it and so does CMP.

    `status` and `wait` answer in time, and name who holds it.
    """
    place.execute(BY_TYPE)
    assert place.host.run("install", OMNICDC_DSN=place.cmp.dsn).returncode == 0
    place.serve()
    answered, slowest = [], []
    for table, held_s in (("projects", 1.0), ("services", 1.0), ("projects", 33.0)):
        locker = place.cmp.connect()
        with Writers(place.writer_dsn) as writers, closing(locker):
            locker.execute(f"begin; lock table {table} in access exclusive mode".encode())
            place.cmp.conn.execute("select omnicdc.request_rebuild()")
            pid = locker.info.backend_pid
            until(partial(place.names, f"backend {pid} "), "named")
            started = time.monotonic()
            verdict = place.wait(timeout_s=0.5)
            answered.append(time.monotonic() - started)
            time.sleep(held_s)  # how long it lasts is the fault: longer than the daemon waits for a lock
            if held_s < 30:
                place.mend()  # ends it, as it says
            else:
                locker.rollback()
            with writers.resting():
                writers.slowest_s = 0.0  # what waited until now waited for that lock
            place.well()
            with writers.resting():
                honest(place, None)
        slowest.append(writers.slowest_s)

        assert verdict.status == "timeout"
        assert writers.broken == []
    place.right()

    assert max(answered) < pace.allows(1.5)
    evidence(
        "P4 P5",
        "an ACCESS EXCLUSIVE lock on projects, and on one of its partitions, for a second and for half a "
        "minute",
        times=3,
        found=f"`status` named the backend that held it; `wait` answered within {max(answered) - 0.5:.1f} s "
        f"of its time-out; "
        f"afterwards all arrived, the slowest write took {max(slowest) * 1000:.0f} ms",
    )


@pytest.mark.campaign
@pytest.mark.parametrize("whole", [True, False], ids=["whole", "by name"])
def test_a_daemon_that_hangs_in_a_reading_holds_up_whoever_alters_the_table_for_ten_seconds(
    place: Place, tmp_path: Path, evidence: Evidence, pace: Pace, *, whole: bool
) -> None:
    """P4: CMP's ALTER TABLE waits for every reader, and CMP's writers for ALTER TABLE.

    They waited for ever.
    """
    faults = tmp_path / "faults"
    place.host.program, place.host.env[FAULTS] = PROGRAM, str(faults)
    if not whole:
        place.serve()
    faults.write_text("scanned cmp_projects: hang\n")
    if whole:
        place.daemon = place.host.starting()
    with Writers(place.writer_dsn) as writers:
        until(lambda: place.cmp.value(IN_READING), "the daemon hangs in its reading")
        quick = writers.slowest_s
        started = time.monotonic()
        place.execute("set lock_timeout = '30s'; alter table projects add column extra text")
        altered_s = time.monotonic() - started
    faults.unlink()
    place.daemon.kill()
    place.daemon = place.host.daemon()
    place.arrived()
    place.right()

    assert writers.broken == []
    assert quick < pace.allows(LONGEST_WRITE_S)
    assert max(altered_s, writers.slowest_s) < pace.allows(13)
    evidence(
        "P4",
        f"the daemon stopped for ever in the middle of a reading of "
        f"{'everything' if whole else 'what changed'}, "
        "while CMP's owner adds a column",
        times=1,
        found=f"ALTER TABLE waited {altered_s:.1f} s and the writers behind it as long: then the server "
        f"ends the daemon's session; 0 writes failed",
    )


ANEW = (
    "alter table projects alter status type text using status || '!'",
    (
        "create temp table kept as select * from projects; truncate projects; insert into projects select * "
        "from kept; drop table kept"
    ),
    REPLACED,
)


@pytest.mark.campaign
def test_a_table_written_anew_while_a_scan_waits_for_it_is_not_taken_for_empty(
    place: Place, evidence: Evidence
) -> None:
    """P2: PostgreSQL shows it empty to whoever took his snapshot before; the guard is off here."""
    daemon = place.serve()
    fewest = PROJECTS
    times = 0
    for deed in ANEW:
        for whole in (True, False):
            place.arrived()
            freeze(daemon, place.cmp)
            token = place.write("update projects set key = key || '.' where key like 'key-5%'")
            if whole:
                place.cmp.conn.execute("select omnicdc.request_rebuild()")
            with place.cmp.connect() as owner, owner.transaction():
                owner.execute("lock table projects")
                daemon.process.send_signal(signal.SIGCONT)
                until(lambda: place.cmp.value("select count(*) from pg_locks where not granted"), "it waits")
                owner.execute(deed.replace("WRITER", place.writer).encode())
            while not place.says("published", token):
                fewest = min(fewest, len(place.host.canonical()))
                if place.names("capture is broken"):
                    place.mend()
            times += 1
            honest(place, None)
    place.right()

    assert fewest == PROJECTS
    evidence(
        "P2",
        "the table written anew (ALTER TYPE, TRUNCATE and filled again, dropped and made again) while a "
        "scan, full or of some projects, waits for its lock",
        times=times,
        found="noticed before anything was written: no file ever lost an entry",
    )


IN_READING: LiteralString = """
select exists (select from pg_locks l join pg_stat_activity a using (pid)
                where l.relation = 'projects'::regclass and l.mode = 'AccessShareLock'
                  and a.state = 'idle in transaction')
"""


MAINTENANCE = [
    "vacuum full projects", "cluster projects using projects_pkey", "reindex table concurrently projects",
    "analyze projects", "create statistics some_statistics on name, key from projects",
    "alter table projects alter name set statistics 500",
    "create index concurrently projects_name on projects (name)", "drop index concurrently projects_name",
    "alter table projects set unlogged", "alter table projects set logged",
    "alter table projects replica identity full", "alter table projects set (fillfactor = 70)",
    "alter table projects alter name set storage external", "vacuum (freeze) projects",
    "alter table projects add constraint named check (name <> '')", "alter table projects owner to WRITER",
    "vacuum full omnicdc.change", "reindex table omnicdc.change", "vacuum full pg_trigger",
    "vacuum full pg_proc",
]  # fmt: skip


@pytest.mark.campaign
def test_maintenance_loses_nothing_and_is_not_held_up(place: Place, evidence: Evidence, pace: Pace) -> None:
    """P1, P4, P5: whatever writes a table anew, or only looks at it, leaves capture and registries alone."""
    place.serve()
    took = []
    with Writers(place.writer_dsn) as writers:
        for deed in MAINTENANCE:
            token = place.write(*CHANGE)
            started = time.monotonic()
            place.execute(deed)
            took.append(time.monotonic() - started)
            place.arrived(token)
            with writers.resting():
                honest(place, None)
                assert place.faults() == [], deed
    place.execute("alter table projects owner to current_user")
    place.right()

    assert writers.broken == []
    assert writers.slowest_s < pace.allows(LONGEST_WRITE_S)
    assert max(took) < pace.allows(10)
    evidence(
        "P1 P4 P5",
        "VACUUM FULL, CLUSTER, REINDEX and indexes CONCURRENTLY, UNLOGGED and back, statistics, a "
        "constraint, another owner; VACUUM FULL of the log",
        times=len(MAINTENANCE),
        found=f"nothing was lost, named broken or held up (the slowest took {max(took):.1f} s); "
        f"{writers.told}",
    )


@pytest.fixture
def origin(server: str, cmp: Cmp) -> Iterator[Cmp]:
    """Another CMP, with a publication."""
    if cmp.value("select current_setting('wal_level')") != "logical":
        pytest.skip("the server's wal_level is not logical")
    name = f"omnicdc_publisher_{os.getpid()}"
    with psycopg.connect(server, autocommit=True) as admin:
        admin.execute(pgsql.SQL("create database {}").format(pgsql.Identifier(name)))
        with Cmp(psycopg.conninfo.make_conninfo(server, dbname=name)) as origin:
            origin.conn.execute(TABLE)
            origin.fill(PROJECTS)
            origin.conn.execute("create publication everything for all tables")
            # In one server, creating the subscription would wait for itself to create the slot.
            origin.conn.execute("select pg_create_logical_replication_slot(%s, 'pgoutput')", [name])
            yield origin
            origin.conn.execute("select pg_drop_replication_slot(%s)", [name])
        admin.execute(pgsql.SQL("drop database {} with (force)").format(pgsql.Identifier(name)))


@pytest.mark.campaign
def test_a_logical_subscriber_is_a_cmp_like_any_other(place: Place, origin: Cmp, evidence: Evidence) -> None:
    """P1, P5, P8: the first copy and the stream after it are captured.

    With triggers that are not ALWAYS, it is told.
    """
    place.daemon = place.host.daemon()
    name = origin.conn.info.dbname
    times = 3

    def replicated() -> bool:
        everything: LiteralString = "select coalesce(array_agg(p::text order by id), '{}') from projects p"
        return bool(place.cmp.value(everything) == origin.value(everything))

    place.cmp.conn.execute(
        pgsql.SQL(
            "create subscription {} connection {} publication everything with (create_slot = false)"
        ).format(pgsql.Identifier(name), origin.dsn)
    )
    try:
        until(replicated, "the first copy")
        honest(place, None)
        copied = len(place.host.canonical())
        for number in range(times):
            for statement in (
                (
                    "insert into projects (name, status) "
                    "select 'streamed', i::text from generate_series(1, 50) i"
                ),
                "update projects set status = clock_timestamp()::text where status like '%1'",
                "delete from projects where key like '%7' or status like '%8'",
                "update projects set id = gen_random_uuid() where key like '%5'",
                *(["truncate projects"] if number else []),
            ):
                origin.conn.execute(statement)
                until(replicated, statement)
                honest(place, None)
        place.cmp.conn.execute("alter table projects enable trigger user")
        origin.conn.execute("insert into projects (name) values ('not seen')")
        until(replicated, "the last of it")
        verdict = place.wait()
        said = place.mend()
        honest(place, None)
    finally:
        place.cmp.conn.execute(
            pgsql.SQL(
                "alter subscription {0} disable; alter subscription {0} set (slot_name = none); drop "
                "subscription {0}"
            ).format(pgsql.Identifier(name))
        )
        until(
            lambda: not origin.value("select count(*) from pg_replication_slots where active"),
            "the slot is free",
        )
    place.right()

    assert copied == PROJECTS
    assert verdict.status == "capture_broken"
    assert "does not fire always" in said
    evidence(
        "P1 P5 P8",
        "CMP is a logical subscriber: first copy, streamed inserts, updates, deletes, other ids, TRUNCATE; "
        "then its triggers demoted by ENABLE TRIGGER USER",
        times=1 + 4 * times + times - 1 + 1,
        found=f"{copied} copied rows and every streamed change arrived; the demotion was named, and what it "
        f"hid was published after `omnicdc install`",
    )
