"""Security.

What a role that was once a member of omnicdc_owner left behind is never run by the next installer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support.evidence import every
from support.sessions import psql

from omnicdc import db
from omnicdc.capture import install, script
from omnicdc.capture.watch_list import derive
from omnicdc.errors import ConfigError
from omnicdc.registries.scanners import scanners

if TYPE_CHECKING:
    from typing import LiteralString

    from support.cmp import Cmp
    from support.sessions import People

WATCHED = derive(scanners().values()).fields

TRAP: LiteralString = """
create sequence public.sprung;
create function public.trap() returns trigger language plpgsql as
  $$ begin perform nextval('public.sprung'); return new; end $$;
create function public.snare() returns boolean language plpgsql immutable as
  $$ begin perform nextval('public.sprung'); return true; end $$;
create function public.snare(text) returns boolean language sql immutable as 'select public.snare()';
grant usage on sequence public.sprung to public
"""
"""A sequence keeps what a rollback would undo."""

LEFT: dict[LiteralString, str] = {
    "create trigger mine after insert on omnicdc.migration for each row execute function public.trap()": (
        "trigger mine on omnicdc.migration"
    ),
    "create constraint trigger mine after insert on omnicdc.source for each row execute function "
    "public.trap()": ("trigger mine on omnicdc.source"),
    "create or replace trigger omnicdc_log_row after insert on omnicdc.canary for each row execute function "
    "public.trap()": ("trigger omnicdc_log_row on omnicdc.canary"),
    "create rule mine as on insert to omnicdc.migration do also select public.snare()": (
        "rule mine on omnicdc.migration"
    ),
    "create policy mine on omnicdc.source using (public.snare())": "policy mine on omnicdc.source",
    "alter policy omnicdc_all on omnicdc.source using (public.snare())": "policy omnicdc_all on "
    "omnicdc.source",
    "alter table omnicdc.migration alter name set default public.snare()::text": (
        "the default of column name of omnicdc.migration"
    ),
    "alter table omnicdc.change alter at set default (query_to_xml('select public.snare()', true, true, '') "
    "is null)::text::timestamptz": ("the default of column at of omnicdc.change"),
    "alter table omnicdc.migration add check (public.snare(name))": "constraint migration_name_check of "
    "omnicdc.migration",
    "alter table omnicdc.migration add check (table_to_xml('public.projects', true, true, '') is not null) "
    "not valid": ("constraint migration_check of omnicdc.migration"),
    "create index mine on omnicdc.migration (public.snare(name))": "index omnicdc.mine",
    "create index mine on omnicdc.migration (name) where public.snare(name)": "index omnicdc.mine",
    "create table omnicdc.mine () inherits (omnicdc.source)": "omnicdc.mine, which inherits from "
    "omnicdc.source",
    "alter table omnicdc.migration rename to gone; create view omnicdc.migration as select version, name "
    "from omnicdc.gone where public.snare()": ("omnicdc.migration, which is no table"),
    "create function omnicdc.watch(regclass, name[]) returns boolean language sql as 'select "
    "public.snare()'": ("function omnicdc.watch(regclass,name[]), which has the name of one of omnicdc's"),
    "create function omnicdc.capture_fault(what text default '') returns text language sql as 'select "
    "public.snare()::text'": ("function omnicdc.capture_fault(text), which has the name of one of omnicdc's"),
    "create function omnicdc.same(text, text) returns boolean language sql as 'select public.snare()'; "
    "create operator omnicdc.= (leftarg = text, rightarg = text, function = omnicdc.same)": (
        "operator omnicdc.=(text,text)"
    ),
    "create cast (omnicdc.change as text) with inout": "cast (omnicdc.change as text)",
    "create domain public.mine as text check (public.snare()); alter table omnicdc.migration add more "
    "public.mine": ("column more of omnicdc.migration, whose type is public.mine"),
    "grant trigger on omnicdc.change to public": "the right TRIGGER on omnicdc.change, which PUBLIC has",
    "grant create on schema omnicdc to public": "the right to create in schema omnicdc, which PUBLIC has",
    "create table public.mine (name text references omnicdc.consumer on delete cascade)": "constraint "
    "mine_name_fkey of "
    "public.mine",
}


@pytest.mark.parametrize("deed", every(3, LEFT))
def test_it_is_refused_by_name_and_nothing_of_it_is_run(
    cmp: Cmp, people: People, deed: LiteralString
) -> None:
    cmp.conn.execute(TRAP)
    cmp.conn.execute("grant create on schema public to public")
    once = people.add("omnicdc_owner")
    with people.connect(once) as conn:
        conn.execute("set role omnicdc_owner")
        conn.execute(deed)
    cmp.conn.execute("select setval('public.sprung', 1, false)")  # by their own session
    refused = []
    for attempt in (install_again, uninstall):
        with pytest.raises(ConfigError) as told:
            attempt(cmp)
        refused.append(told.value)
    sprung = cmp.value("select is_called from public.sprung")

    assert all(f"not omnicdc's: {LEFT[deed]}" in exc.message for exc in refused), refused[0]
    assert not sprung
    remedy = refused[0].hint.split(";")[0]
    with db.connect(cmp.dsn) as conn_:
        conn_.execute(remedy.encode())
        if "rename" in deed:
            conn_.execute("alter table omnicdc.gone rename to migration")
    install_again(cmp)
    assert not cmp.value("select is_called from public.sprung")


def test_the_printed_script_refuses_it_as_well(cmp: Cmp) -> None:
    cmp.conn.execute("create view omnicdc.mine as select 1")
    said = psql(cmp.dsn, script.script("projects", WATCHED))

    assert said.returncode == 3
    assert "not omnicdc's: omnicdc.mine, which is no table" in said.stderr


def test_a_function_that_was_replaced_is_not_run(cmp: Cmp, people: People) -> None:
    cmp.conn.execute(TRAP)
    with people.connect(people.add("omnicdc_owner")) as conn:
        conn.execute("set role omnicdc_owner")
        for function, result in (
            ("watch(target regclass, watched text[])", "boolean"),
            ("unwatch(target regclass)", "void"),
            ("watched_relations(out relation regclass, out whole boolean)", "setof record"),
            ("capture_fault()", "text"),
            ("hash_of(content text)", "text"),
        ):
            conn.execute(
                f"create or replace function omnicdc.{function} returns {result} language plpgsql "
                "as $$ begin perform nextval('public.sprung'); end $$".encode()
            )
    install_again(cmp)
    sprung = cmp.value("select is_called from public.sprung")
    with people.connect(people.add("omnicdc_owner")) as conn:
        conn.execute("set role omnicdc_owner")
        conn.execute(
            "create or replace function omnicdc.unwatch(target regclass) returns void language plpgsql "
            "as $$ begin perform nextval('public.sprung'); end $$"
        )
    uninstall(cmp)

    assert not sprung
    assert not cmp.value("select is_called from public.sprung")
    assert cmp.value("select count(*) from pg_trigger where tgrelid = 'projects'::regclass") == 0


def test_what_belongs_to_somebody_else_is_refused(cmp: Cmp) -> None:
    for deed, thing in (
        ("alter table omnicdc.source owner to current_user", "omnicdc.source, which belongs to"),
        (
            "alter function omnicdc.relation_identity() owner to current_user",
            "function omnicdc.relation_identity(), which belongs to",
        ),
    ):
        cmp.conn.execute(deed.encode())
        with pytest.raises(ConfigError) as told:
            install_again(cmp)
        cmp.conn.execute(told.value.hint.split(";")[0].encode())

        assert thing in told.value.message
        install_again(cmp)


def install_again(cmp: Cmp) -> None:
    with db.connect(cmp.dsn) as conn:
        install.install(conn, "projects", WATCHED)


def uninstall(cmp: Cmp) -> None:
    with db.connect(cmp.dsn) as conn:
        install.uninstall(conn)
