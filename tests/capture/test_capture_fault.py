"""P5: a capture that is switched off or changed is reported, and the next install repairs it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support.sources import projects

from omnicdc import db
from omnicdc.capture import install
from omnicdc.errors import ConfigError, SchemaMismatch

if TYPE_CHECKING:
    from typing import LiteralString

    from support.cmp import Cmp

NO_FAULT = None

FAULTS: dict[LiteralString, str] = {
    "alter table projects disable trigger omnicdc_log_row": "trigger omnicdc_log_row is disabled on "
    "public.projects",
    "alter table projects disable trigger user": "trigger omnicdc_log_row is disabled on public.projects",
    "alter table projects disable trigger all": "trigger omnicdc_log_row is disabled on public.projects",
    # A restore with --disable-triggers ends with this. Replicated writes would then be missed.
    "alter table projects enable trigger user": "trigger omnicdc_log_row on public.projects does not fire "
    "always",
    "alter table projects enable replica trigger omnicdc_log_update": (
        "trigger omnicdc_log_update on public.projects does not fire always"
    ),
    "drop trigger omnicdc_log_update on projects": "trigger omnicdc_log_update is missing on public.projects",
    "drop trigger omnicdc_log_truncate on projects": "trigger omnicdc_log_truncate is missing on "
    "public.projects",
    """create function mine() returns trigger language plpgsql as 'begin return null; end';
       create or replace trigger omnicdc_log_row after insert on projects
         for each row execute function mine();
       alter table projects enable always trigger omnicdc_log_row""": (
        "trigger omnicdc_log_row on public.projects calls another function"
    ),
    """create or replace trigger omnicdc_log_row after insert or delete on projects
         for each row execute function omnicdc.log_row_1(0);
       alter table projects enable always trigger omnicdc_log_row""": (
        "trigger omnicdc_log_row on public.projects logs another source"
    ),
    """create or replace function omnicdc.log_row_1() returns trigger language plpgsql
       security definer set search_path = pg_catalog, pg_temp as 'begin return null; end'""": (
        "function omnicdc.log_row_1() was edited"
    ),
    """create or replace function omnicdc.log_update_1() returns trigger language plpgsql
       security definer set search_path = pg_catalog, pg_temp as 'begin return null; end'""": (
        "function omnicdc.log_update_1() was edited"
    ),
    "alter function omnicdc.log_row_1() security invoker": "function omnicdc.log_row_1() was edited",
    "alter function omnicdc.log_update_1() reset search_path": "function omnicdc.log_update_1() was edited",
    "alter function omnicdc.log_update_1() owner to current_user": (
        "function omnicdc.log_update_1() was edited"
    ),
    "drop function omnicdc.log_row_1() cascade": "trigger omnicdc_log_row is missing on public.projects",
    "drop function omnicdc.log_update_1() cascade": (
        "trigger omnicdc_log_update is missing on public.projects"
    ),
    "truncate omnicdc.source": "no table is watched",
    "create table fresh (like projects including all); drop table projects; alter table fresh rename to "
    "projects": ("trigger omnicdc_log_row is missing on public.projects"),
}


def test_a_new_capture_has_no_fault(cmp: Cmp) -> None:
    assert capture_fault(cmp) is NO_FAULT


def test_every_fault_is_reported_and_repaired_by_install(cmp: Cmp) -> None:
    for statement, expected in FAULTS.items():
        cmp.conn.execute(statement)
        reported = capture_fault(cmp)
        with db.connect(cmp.dsn) as conn:
            changed = install.install(conn, projects())
        cmp.upsert("apollo")

        assert reported == expected, statement
        assert changed, statement
        assert capture_fault(cmp) is NO_FAULT, statement
        assert [op for _, op, _ in cmp.log()] == ["insert"], statement
        cmp.conn.execute("truncate omnicdc.change")


def test_a_renamed_table_is_reported_by_both_names(cmp: Cmp) -> None:
    cmp.conn.execute("alter table projects rename to ventures")

    assert capture_fault(cmp) == "table public.projects does not exist; its triggers are on public.ventures"


def test_a_dropped_table_is_the_only_reported_fault(cmp: Cmp) -> None:
    cmp.conn.execute("drop table projects")

    assert capture_fault(cmp) == "table public.projects does not exist"


NAME_TYPES: dict[LiteralString, str] = {
    "alter table projects alter status type regrole using 'pg_monitor'": "regrole",
    "alter table projects alter status type regclass[] using '{pg_class}'": "regclass",
    "create domain kind as regtype; alter table projects alter status type kind using 'text'": "regtype",
    "create type pair as (a text, b regnamespace); alter table projects alter status type pair using "
    "null": "regnamespace",
    "alter table projects alter status type aclitem[] using null": "aclitem",
}


@pytest.mark.parametrize("statement", NAME_TYPES)
def test_a_column_that_shows_names_of_other_objects_is_refused(cmp: Cmp, statement: LiteralString) -> None:
    """A rename of the other object changes the column's text, but writes no row."""
    cmp.conn.execute(statement)
    reported = capture_fault(cmp)
    with db.connect(cmp.dsn) as conn, pytest.raises(ConfigError) as refused:
        install.install(conn, projects())

    expected = f"column status of public.projects shows names of other objects (type {NAME_TYPES[statement]})"
    assert reported is not None
    assert reported.startswith(expected)
    assert expected in refused.value.message


def test_a_missing_schema_is_reported_with_the_command_to_run(cmp: Cmp) -> None:
    cmp.conn.execute("drop schema omnicdc cascade")

    with pytest.raises(SchemaMismatch, match="omnicdc install"), db.connect(cmp.dsn) as conn:
        db.check_schema(conn)


def capture_fault(cmp: Cmp) -> str | None:
    """Return what is wrong with the capture."""
    with db.connect(cmp.dsn) as conn:
        found: str | None = db.fetch_one(conn, "capture_fault")["fault"]
        return found
