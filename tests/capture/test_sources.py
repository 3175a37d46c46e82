"""Sources: tables with keys of each kind are captured, each by functions of its own; and are released."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, LiteralString

import psycopg
import pytest
from support.agents import AGENTS, add_agent
from support.sources import projects

from omnicdc import db
from omnicdc.capture import install
from omnicdc.capture.install import Wanted
from omnicdc.errors import ConfigError

if TYPE_CHECKING:
    from support.cmp import Cmp

TEAMS = Wanted("teams", "teams", ("name",))

UUID = "6f1c9a52-0000-4000-8000-000000000001"

NUMBERED: LiteralString = "create table teams (id integer primary key, name text)"

KEYS: dict[str, tuple[LiteralString, LiteralString, str | None]] = {
    "uuid": (
        "id uuid primary key",
        "'6f1c9a52-0000-4000-8000-000000000001'",
        "6f1c9a52-0000-4000-8000-000000000001",
    ),
    "smallint": ("id smallint primary key", "7", "7"),
    "integer": ("id integer primary key", "-7", "-7"),
    "bigint": ("id bigint generated always as identity primary key", "default", "1"),
    "text": ("id text primary key", "'a \"b\" \\ {c}'", 'a "b" \\ {c}'),
    "of another type": ("id date primary key", "'2026-01-01'", None),
    "of two columns": ("id integer, part integer default 1, primary key (id, part)", "7", None),
}
"""Kind of the key to the columns, a value, and what the log shows: None is every row of the table."""


def captured(cmp: Cmp, *sources: Wanted) -> bool:
    with db.connect(cmp.dsn) as conn:
        return install.install(conn, sources)


def logged(cmp: Cmp) -> list[tuple[str | None, str | None, str, list[str] | None]]:
    """Return the rows of the log, each with the name of its source, and empty the log."""
    rows = cmp.conn.execute(
        """select s.name, c.key, c.op, c.fields
             from omnicdc.change c left join omnicdc.source s on s.id = c.source
            where c.op not in ('rebuild') order by c.at"""
    ).fetchall()
    cmp.conn.execute("delete from omnicdc.change")
    return [tuple(row) for row in rows]


@pytest.mark.parametrize("kind", KEYS)
def test_a_key_of_each_kind_is_logged_as_text_or_as_every_row(cmp: Cmp, kind: str) -> None:
    columns, value, key = KEYS[kind]
    cmp.conn.execute(f"create table teams ({columns}, name text)".encode())
    captured(cmp, *projects(), TEAMS)
    cmp.conn.execute(f"insert into teams (id, name) values ({value}, 'a')".encode())
    cmp.conn.execute("update teams set name = 'b'")
    cmp.conn.execute("update teams set name = 'b'")
    cmp.conn.execute("delete from teams")

    assert logged(cmp) == [
        ("teams", key, "insert", None), ("teams", key, "update", ["name"]), ("teams", key, "delete", None),
    ]  # fmt: skip


def test_a_new_key_is_logged_with_the_old_one(cmp: Cmp) -> None:
    cmp.conn.execute(
        "create table teams (id integer primary key, name text); insert into teams values (1, 'a')"
    )
    captured(cmp, *projects(), TEAMS)
    cmp.conn.execute("update teams set id = 2")

    assert {row[1] for row in logged(cmp)} == {"1", "2"}


def test_a_truncate_is_logged_for_its_source_alone(cmp: Cmp) -> None:
    cmp.conn.execute(NUMBERED)
    captured(cmp, *projects(), TEAMS)
    cmp.conn.execute("truncate teams")
    cmp.conn.execute("truncate projects")

    assert logged(cmp) == [("teams", None, "truncate", None), ("projects", None, "truncate", None)]


@pytest.mark.parametrize(
    ("statement", "reason", "remedy"),
    [
        ("create table teams (id integer, name text)", "has no primary key", "add primary key"),
        ("create view teams as select 1 as id, 'a' as name", "is not an ordinary table", ""),
        ("create table teams (id integer primary key)", "has no column name", ""),
        (
            f"{NUMBERED}; alter table teams enable row level security",
            "has row-level security",
            "disable row level security",
        ),
    ],
)
def test_a_table_that_cannot_be_a_source_is_refused_with_the_reason(
    cmp: Cmp, statement: LiteralString, reason: str, remedy: str
) -> None:
    cmp.conn.execute(statement)
    with pytest.raises(ConfigError) as refused:
        captured(cmp, *projects(), TEAMS)

    assert reason in refused.value.message
    assert remedy in refused.value.hint
    assert cmp.value("select count(*) from omnicdc.source") == 1


def test_two_tables_in_one_transaction_have_one_token(cmp: Cmp) -> None:
    cmp.conn.execute(AGENTS)
    captured(cmp, *projects(), Wanted("agents", "agents", ("name",), "id"))
    with cmp.transaction() as (conn, token):
        cmp.upsert("apollo", conn=conn)
        add_agent(cmp, "ada", conn=conn)

    assert cmp.conn.execute("select distinct xid::text from omnicdc.change").fetchall() == [(token,)]


def test_what_another_host_reads_stays_watched(cmp: Cmp) -> None:
    """Hosts may declare different registries: `install` unites what they read."""
    cmp.conn.execute("create table teams (id integer primary key, name text, area text, size integer)")
    captured(cmp, *projects(), TEAMS)
    first = captured(cmp, *projects(), Wanted("teams", "teams", ("area",)))
    again = captured(cmp, *projects(), TEAMS)
    watched = cmp.value("select watched from omnicdc.source where name = 'teams'")

    assert (first, again) == (True, False)
    assert watched == ["area", "name"]


def test_a_dropped_column_is_no_longer_watched(cmp: Cmp) -> None:
    cmp.conn.execute("create table teams (id integer primary key, name text, area text)")
    captured(cmp, *projects(), Wanted("teams", "teams", ("name", "area")))
    cmp.conn.execute("alter table teams drop column area")
    captured(cmp, *projects(), TEAMS)

    assert cmp.value("select watched from omnicdc.source where name = 'teams'") == ["name"]
    assert cmp.value("select omnicdc.capture_fault()") is None


def test_declared_columns_are_granted_to_daemons_and_to_clients_only_on_request(cmp: Cmp) -> None:
    cmp.conn.execute("create table teams (id integer primary key, name text, secret text)")
    rights = """select has_column_privilege('omnicdc_daemon', 'teams', %s, 'select'),
                       has_column_privilege('omnicdc_client', 'teams', %s, 'select')"""

    def granted(column: str) -> tuple[bool, bool]:
        row = cmp.conn.execute(rights, [column, column]).fetchone()
        assert row
        return row

    captured(cmp, *projects(), TEAMS)
    for_the_daemon = [granted(column) for column in ("id", "name", "secret")]
    captured(cmp, *projects(), Wanted("teams", "teams", ("name",), for_clients=("name",)))
    for_both = [granted(column) for column in ("id", "name", "secret")]
    with db.connect(cmp.dsn) as conn:
        released = [install.release(conn, "teams") for _ in range(2)]

    assert for_the_daemon == [(True, False), (True, False), (False, False)]
    assert for_both == [(True, True), (True, True), (False, False)]
    assert released == [True, False]
    assert granted("name") == (False, False)


def test_a_released_source_leaves_nothing_on_its_table(cmp: Cmp) -> None:
    cmp.conn.execute(NUMBERED)
    captured(cmp, *projects(), TEAMS)
    cmp.conn.execute("insert into teams values (1, 'a')")
    with db.connect(cmp.dsn) as conn:
        install.release(conn, "teams")
    cmp.conn.execute("insert into teams values (2, 'b')")
    cmp.upsert("apollo")
    functions = cmp.value(
        "select count(*) from pg_proc where pronamespace = 'omnicdc'::regnamespace and proname ~ '_2$'"
    )

    assert [row[:1] + row[2:3] for row in logged(cmp)] == [(None, "insert"), ("projects", "insert")]
    assert cmp.value("select count(*) from pg_trigger where tgrelid = 'teams'::regclass") == 0
    assert functions == 0
    assert cmp.value("select omnicdc.capture_fault()") is None


def test_a_fault_of_any_source_is_reported_with_its_remedy(cmp: Cmp) -> None:
    cmp.conn.execute(NUMBERED)
    captured(cmp, *projects(), replace(TEAMS, required=True))
    cmp.conn.execute("alter table teams disable trigger omnicdc_log_row")
    disabled = cmp.value("select omnicdc.capture_fault()")
    cmp.conn.execute(
        "alter table teams enable always trigger omnicdc_log_row; alter table teams rename to groups"
    )
    renamed = cmp.value("select omnicdc.capture_fault()")
    remedy = cmp.value("select omnicdc.capture_remedy(omnicdc.capture_fault())")

    assert disabled == "trigger omnicdc_log_row is disabled on public.teams"
    assert renamed == "table public.teams does not exist; its triggers are on public.groups"
    assert "`tables: {teams: public.groups}`" in str(remedy)


def test_a_table_that_is_gone_breaks_the_capture_only_if_it_is_required(cmp: Cmp) -> None:
    """Nothing can be written to it, and the registries that read it are held. Others do not wait for it."""
    cmp.conn.execute(NUMBERED)
    captured(cmp, *projects(), TEAMS)
    cmp.conn.execute("drop table teams")
    gone = cmp.value("select omnicdc.capture_fault()")
    cmp.conn.execute(NUMBERED)
    another = cmp.value("select omnicdc.capture_fault()")

    assert gone is None
    assert str(another).startswith("trigger omnicdc_log_row is missing on")


@pytest.mark.parametrize("sources", [("parts", "parts_a"), ("parts_a", "parts")])
def test_a_table_and_its_partition_cannot_be_two_sources(cmp: Cmp, sources: tuple[str, str]) -> None:
    """PostgreSQL copies the triggers of the table to the partition, in place of its own."""
    cmp.conn.execute(
        "create table parts (id integer primary key, name text) partition by range (id);"
        "create table parts_a partition of parts for values from (0) to (100)"
    )
    first, second = (Wanted(name, name, ("name",)) for name in sources)
    captured(cmp, *projects(), first)
    with pytest.raises(ConfigError, match="is a partition of another source, or has one as a partition"):
        captured(cmp, *projects(), second)
    cmp.conn.execute("insert into parts values (1, 'one')")

    assert cmp.value("select omnicdc.capture_fault()") is None
    assert [row[:2] for row in logged(cmp)] == [(sources[0], "1")]


def test_row_level_security_that_came_later_does_not_stop_an_upgrade(cmp: Cmp) -> None:
    cmp.conn.execute(NUMBERED)
    captured(cmp, *projects(), TEAMS)
    cmp.conn.execute("alter table teams enable row level security")

    assert captured(cmp, *projects(), TEAMS) is False


def test_one_table_cannot_be_two_sources(cmp: Cmp) -> None:
    with pytest.raises(ConfigError, match="captured as another source already"):
        captured(cmp, *projects(), Wanted("ventures", "projects", ("name",)))


def test_a_source_whose_row_was_lost_keeps_its_number(cmp: Cmp) -> None:
    """Otherwise its trigger functions would stay, unused, beside new ones."""
    cmp.upsert("atlas")
    cmp.conn.execute("truncate omnicdc.source")

    captured(cmp, *projects())

    assert cmp.value("select id from omnicdc.source") == 1
    assert cmp.value("select count(*) from pg_proc where proname ~ '^log_(row|update)_[1-9]'") == 2


def test_uninstall_removes_every_source(cmp: Cmp) -> None:
    cmp.conn.execute(NUMBERED)
    captured(cmp, *projects(), TEAMS)
    with db.connect(cmp.dsn) as conn:
        install.uninstall(conn)
    cmp.conn.execute("insert into teams values (1, 'a')")

    assert cmp.value("select count(*) from pg_trigger where starts_with(tgname, 'omnicdc')") == 0
    with pytest.raises(psycopg.errors.UndefinedTable):
        cmp.conn.execute("select from omnicdc.change")
