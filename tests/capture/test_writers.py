"""Who wrote a change is logged with it, if the operator wants that. It never makes a write fail (P4)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support.sessions import psql
from support.sources import projects

from omnicdc import db
from omnicdc.capture import install, script
from omnicdc.capture.writers import WritersRecorded, writers_recorded

if TYPE_CHECKING:
    from support.cmp import Cmp
    from support.sessions import People

TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
LONG = "a" * 70

SET: dict[str, tuple[str | None, str | None]] = {
    "set application_name = 'genesis-api'": ("genesis-api", None),
    "set application_name = ''": (None, None),
    f"set application_name = '{LONG}'": (LONG[:63], None),
    f"set omnicdc.traceparent = '{TRACE}'": ("", TRACE),
    f"set omnicdc.traceparent = '{TRACE.upper()}'": ("", None),
    f"set omnicdc.traceparent = '{TRACE}-more'": ("", None),
    f"set omnicdc.traceparent = '{'x' * 100_000}'": ("", None),
    "set omnicdc.traceparent = ''": ("", None),
    "set omnicdc.traceparent = E'\\'); drop table projects --'": ("", None),
}
"""What a writer sets, and the application and the traceparent that are logged. '': any application."""


def record(cmp: Cmp, choice: bool | None) -> bool:
    """Install with a choice; return whether anything was changed."""
    with db.connect(cmp.dsn) as conn:
        return install.install(conn, projects(), record_writers=choice)


def recorded(cmp: Cmp) -> WritersRecorded:
    with db.connect(cmp.dsn) as conn:
        return writers_recorded(conn)


def written(cmp: Cmp) -> list[list[str | None] | None]:
    """Return who wrote each row of the log, and empty the log."""
    rows = cmp.conn.execute(
        "with gone as (delete from omnicdc.change where op <> 'rebuild' returning writer, at) "
        "select writer from gone order by at"
    ).fetchall()
    return [row[0] for row in rows]


def test_without_it_the_triggers_hold_no_word_of_it(cmp: Cmp) -> None:
    words = "session_user|application_name|traceparent|writer :="
    found = cmp.value(
        "select count(*) from pg_proc where pronamespace = 'omnicdc'::regnamespace "
        "and proname ~ '^log_(row|update)_[0-9]+$' and prosrc ~ %s",
        words,
    )
    cmp.upsert("apollo")

    assert found == 0
    assert written(cmp) == [None]
    assert recorded(cmp) == WritersRecorded()


def test_each_change_is_logged_with_its_writer(cmp: Cmp, people: People) -> None:
    """The role is the one of SET ROLE, not omnicdc_owner, with whose rights the trigger runs."""
    record(cmp, True)
    login, other = people.add(), people.add()
    cmp.conn.execute(f"grant {other} to {login}; grant all on projects to {login}, {other}".encode())
    with people.connect(login) as conn:
        conn.execute("set application_name = 'genesis-api'")
        conn.execute(f"set omnicdc.traceparent = '{TRACE}'".encode())
        project = cmp.upsert("apollo", conn=conn)
        cmp.upsert("apollo", id=project, conn=conn)  # changes nothing
        conn.execute(f"set role {other}".encode())
        conn.execute("update projects set status = 'x'; update projects set id = gen_random_uuid()")
        conn.execute("delete from projects")
        conn.execute("truncate projects")

    by = [[role, "genesis-api", TRACE] for role in (login, *[other] * 5)]
    assert written(cmp) == by
    assert recorded(cmp) == WritersRecorded(chosen=True, recorded=True)


def test_what_a_writer_sets_never_makes_a_write_fail(cmp: Cmp) -> None:
    record(cmp, True)
    for statement, (application, trace) in SET.items():
        with cmp.connect() as conn:
            conn.execute(statement.encode())
            cmp.upsert("apollo", conn=conn)
        found = written(cmp)

        assert found[0] is not None, statement
        assert found[0][2] == trace, statement
        assert application == "" or found[0][1] == application, statement


def test_where_row_security_is_forced_the_writer_is_logged_too(cmp: Cmp) -> None:
    record(cmp, True)
    cmp.conn.execute("alter table omnicdc.change enable row level security, force row level security")
    cmp.upsert("apollo")
    cmp.conn.execute("update projects set status = 'x'; truncate projects")

    assert [writer is not None for writer in written(cmp)] == [True] * 3


def test_a_later_install_keeps_the_choice(cmp: Cmp) -> None:
    changes = [record(cmp, choice) for choice in (True, True, None)]
    with cmp.connect() as conn:
        cmp.upsert("apollo", conn=conn)
    kept = written(cmp)
    off = record(cmp, False)
    cmp.upsert("artemis")

    assert changes == [True, False, False]
    assert kept != [None]
    assert off
    assert written(cmp) == [None]


def test_the_choice_holds_for_the_tables_of_other_hosts(cmp: Cmp) -> None:
    """Another host's registries read a table that this installation does not know."""
    cmp.conn.execute("create table teams (id integer primary key, name text)")
    with db.connect(cmp.dsn) as conn:
        teams = install.Wanted("teams", "teams", ("name",))
        install.install(conn, [*projects(), teams])
    record(cmp, True)
    cmp.conn.execute("insert into teams values (1, 'one')")

    assert [writer is not None for writer in written(cmp)] == [True]
    assert recorded(cmp).fault is None
    assert record(cmp, None) is False


@pytest.mark.parametrize("choice", [True, False])
def test_the_printed_script_makes_the_same_choice(bare: Cmp, choice: bool) -> None:
    done = psql(bare.dsn, script.script(projects(), record_writers=choice))

    assert done.returncode == 0, done.stderr
    assert recorded(bare) == WritersRecorded(chosen=choice, recorded=choice)
