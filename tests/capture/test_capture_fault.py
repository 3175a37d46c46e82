"""P5: whoever switches the capture off, or changes it, is noticed, and the next install mends it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from omnicdc import db
from omnicdc.capture import install
from omnicdc.capture.watch_list import derive
from omnicdc.errors import ConfigError, SchemaMismatch
from omnicdc.registries.scanners import scanners

if TYPE_CHECKING:
    from typing import LiteralString

    from support.cmp import Cmp

SOUND = None

FAULTS: dict[LiteralString, str] = {
    "alter table projects disable trigger omnicdc_log_row": "trigger omnicdc_log_row is disabled on "
    "public.projects",
    "alter table projects disable trigger user": "trigger omnicdc_log_row is disabled on public.projects",
    "alter table projects disable trigger all": "trigger omnicdc_log_row is disabled on public.projects",
    # What a restore with --disable-triggers ends with; from then on replication's writes would be missed.
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
         for each row execute function omnicdc.log_row(0);
       alter table projects enable always trigger omnicdc_log_row""": (
        "trigger omnicdc_log_row on public.projects logs another source"
    ),
    """create or replace function omnicdc.log_row() returns trigger language plpgsql
       security definer set search_path = pg_catalog, pg_temp as 'begin return null; end'""": (
        "function omnicdc.log_row() was edited"
    ),
    """create or replace function omnicdc.log_update() returns trigger language plpgsql
       security definer set search_path = pg_catalog, pg_temp as 'begin return null; end'""": (
        "function omnicdc.log_update() was edited"
    ),
    "alter function omnicdc.log_row() security invoker": "function omnicdc.log_row() was edited",
    "alter function omnicdc.log_update() reset search_path": "function omnicdc.log_update() was edited",
    "alter function omnicdc.log_update() owner to current_user": "function omnicdc.log_update() was edited",
    "drop function omnicdc.log_row() cascade": "trigger omnicdc_log_row is missing on public.projects",
    "drop function omnicdc.log_update() cascade": "trigger omnicdc_log_update is missing on public.projects",
    "truncate omnicdc.source": "no table is watched",
    "create table fresh (like projects including all); drop table projects; alter table fresh rename to "
    "projects": ("trigger omnicdc_log_row is missing on public.projects"),
}


def test_a_fresh_capture_is_sound(cmp: Cmp) -> None:
    assert fault(cmp) is SOUND


def test_every_way_to_break_the_capture_is_told_and_mended(cmp: Cmp) -> None:
    for deed, expected in FAULTS.items():
        cmp.conn.execute(deed)
        told = fault(cmp)
        with db.connect(cmp.dsn) as conn:
            mended = install.install(conn, "projects", derive(scanners().values()).fields)
        cmp.upsert("apollo")

        assert told == expected, deed
        # The text of log_row() comes with every install: then nothing is left for watch() to mend.
        assert mended or "log_row()" in deed, deed
        assert fault(cmp) is SOUND, deed
        assert [op for _, op, _ in cmp.log()] == ["insert"], deed
        cmp.conn.execute("truncate omnicdc.change")


def test_a_table_that_is_gone_is_told_by_its_name(cmp: Cmp) -> None:
    cmp.conn.execute("alter table projects rename to ventures")

    assert fault(cmp) == "table public.projects does not exist; its triggers are on public.ventures"


def test_of_a_table_that_is_gone_for_good_only_that_is_told(cmp: Cmp) -> None:
    cmp.conn.execute("drop table projects")

    assert fault(cmp) == "table public.projects does not exist"


NAMES: dict[LiteralString, str] = {
    "alter table projects alter status type regrole using 'pg_monitor'": "regrole",
    "alter table projects alter status type regclass[] using '{pg_class}'": "regclass",
    "create domain kind as regtype; alter table projects alter status type kind using 'text'": "regtype",
    "create type pair as (a text, b regnamespace); alter table projects alter status type pair using "
    "null": "regnamespace",
    "alter table projects alter status type aclitem[] using null": "aclitem",
}


@pytest.mark.parametrize("deed", NAMES)
def test_a_column_that_shows_names_of_other_objects_is_refused(cmp: Cmp, deed: LiteralString) -> None:
    """A rename of the object changes the text, and no row is written."""
    cmp.conn.execute(deed)
    told = fault(cmp)
    with db.connect(cmp.dsn) as conn, pytest.raises(ConfigError) as refused:
        install.install(conn, "projects", derive(scanners().values()).fields)

    expected = f"column status of public.projects shows names of other objects (type {NAMES[deed]})"
    assert told is not None
    assert told.startswith(expected)
    assert expected in refused.value.message


def test_without_the_schema_it_is_said_what_to_run(cmp: Cmp) -> None:
    cmp.conn.execute("drop schema omnicdc cascade")

    with pytest.raises(SchemaMismatch, match="omnicdc install"), db.connect(cmp.dsn) as conn:
        db.check_schema(conn)


def fault(cmp: Cmp) -> str | None:
    """Return what is wrong with the capture."""
    with db.connect(cmp.dsn) as conn:
        found: str | None = db.fetch_one(conn, "capture_fault")["fault"]
        return found
