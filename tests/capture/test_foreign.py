"""Security: the next installer never runs code that a member of omnicdc_owner left behind."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support.evidence import every
from support.sessions import psql
from support.sources import projects

from omnicdc import db
from omnicdc.capture import install, script
from omnicdc.errors import ConfigError

if TYPE_CHECKING:
    from typing import LiteralString

    from support.cmp import Cmp
    from support.sessions import People


TRAP: LiteralString = """
create sequence public.trap_calls;
create function public.trap() returns trigger language plpgsql as
  $$ begin perform nextval('public.trap_calls'); return new; end $$;
create function public.spy() returns boolean language plpgsql immutable as
  $$ begin perform nextval('public.trap_calls'); return true; end $$;
create function public.spy(text) returns boolean language sql immutable as 'select public.spy()';
grant usage on sequence public.trap_calls to public
"""
"""Both functions count their calls in a sequence, because a rollback does not undo that."""

LEFTOVERS: dict[LiteralString, str] = {
    "create trigger mine after insert on omnicdc.migration for each row execute function public.trap()": (
        "trigger mine on omnicdc.migration"
    ),
    "create constraint trigger mine after insert on omnicdc.source for each row execute function "
    "public.trap()": ("trigger mine on omnicdc.source"),
    "create or replace trigger omnicdc_log_row after insert on omnicdc.canary for each row execute function "
    "public.trap()": ("trigger omnicdc_log_row on omnicdc.canary"),
    "create rule mine as on insert to omnicdc.migration do also select public.spy()": (
        "rule mine on omnicdc.migration"
    ),
    "create policy mine on omnicdc.source using (public.spy())": "policy mine on omnicdc.source",
    "alter policy omnicdc_all on omnicdc.source using (public.spy())": "policy omnicdc_all on omnicdc.source",
    "alter table omnicdc.migration alter name set default public.spy()::text": (
        "the default of column name of omnicdc.migration"
    ),
    "alter table omnicdc.change alter at set default (query_to_xml('select public.spy()', true, true, '') "
    "is null)::text::timestamptz": ("the default of column at of omnicdc.change"),
    "alter table omnicdc.migration add check (public.spy(name))": "constraint migration_name_check of "
    "omnicdc.migration",
    "alter table omnicdc.migration add check (table_to_xml('public.projects', true, true, '') is not null) "
    "not valid": ("constraint migration_check of omnicdc.migration"),
    "create index mine on omnicdc.migration (public.spy(name))": "index omnicdc.mine",
    "create index mine on omnicdc.migration (name) where public.spy(name)": "index omnicdc.mine",
    "create table omnicdc.mine () inherits (omnicdc.source)": "omnicdc.mine, which inherits from "
    "omnicdc.source",
    "alter table omnicdc.migration rename to gone; create view omnicdc.migration as select version, name "
    "from omnicdc.gone where public.spy()": ("omnicdc.migration, which is no table"),
    "create function omnicdc.watch(regclass, name[]) returns boolean language sql as 'select public.spy()'": (
        "function omnicdc.watch(regclass,name[]), which has the name of one of omnicdc's"
    ),
    "create function omnicdc.capture_fault(what text default '') returns text language sql as 'select "
    "public.spy()::text'": ("function omnicdc.capture_fault(text), which has the name of one of omnicdc's"),
    "create function omnicdc.same(text, text) returns boolean language sql as 'select public.spy()'; "
    "create operator omnicdc.= (leftarg = text, rightarg = text, function = omnicdc.same)": (
        "operator omnicdc.=(text,text)"
    ),
    "create cast (omnicdc.change as text) with inout": "cast (omnicdc.change as text)",
    "create domain public.mine as text check (public.spy()); alter table omnicdc.migration add more "
    "public.mine": ("column more of omnicdc.migration, whose type is public.mine"),
    "grant trigger on omnicdc.change to public": "the right TRIGGER on omnicdc.change, which PUBLIC has",
    "grant create on schema omnicdc to public": "the right to create in schema omnicdc, which PUBLIC has",
    "create table public.mine (name text references omnicdc.consumer on delete cascade)": "constraint "
    "mine_name_fkey of "
    "public.mine",
}


@pytest.mark.parametrize("statement", every(3, LEFTOVERS))
def test_a_leftover_object_is_refused_by_name_and_never_run(
    cmp: Cmp, people: People, statement: LiteralString
) -> None:
    cmp.conn.execute(TRAP)
    cmp.conn.execute("grant create on schema public to public")
    member = people.add("omnicdc_owner")
    with people.connect(member) as conn:
        conn.execute("set role omnicdc_owner")
        conn.execute(statement)
    # The statement itself may have called a trap in the member's own session.
    cmp.conn.execute("select setval('public.trap_calls', 1, false)")
    errors = []
    for attempt in (install_again, uninstall):
        with pytest.raises(ConfigError) as refused:
            attempt(cmp)
        errors.append(refused.value)
    trap_called = cmp.value("select is_called from public.trap_calls")

    assert all(f"not omnicdc's: {LEFTOVERS[statement]}" in exc.message for exc in errors), errors[0]
    assert not trap_called
    remedy = errors[0].hint.split(";")[0]
    with db.connect(cmp.dsn) as conn_:
        conn_.execute(remedy.encode())
        if "rename" in statement:
            conn_.execute("alter table omnicdc.gone rename to migration")
    install_again(cmp)
    assert not cmp.value("select is_called from public.trap_calls")


def test_the_printed_script_refuses_a_leftover_object(cmp: Cmp) -> None:
    cmp.conn.execute("create view omnicdc.mine as select 1")
    result = psql(cmp.dsn, script.script(projects()))

    assert result.returncode == 3
    assert "not omnicdc's: omnicdc.mine, which is no table" in result.stderr


def test_a_replaced_function_is_not_run(cmp: Cmp, people: People) -> None:
    cmp.conn.execute(TRAP)
    with people.connect(people.add("omnicdc_owner")) as conn:
        conn.execute("set role omnicdc_owner")
        for function, result in (
            (
                (
                    "watch(source text, target regclass, key text, watched text[], for_clients text[], "
                    "required boolean)"
                ),
                "boolean",
            ),
            ("unwatch(target regclass)", "void"),
            (
                "watched_relations(out source smallint, out relation regclass, out whole boolean)",
                "setof record",
            ),
            ("capture_fault()", "text"),
            ("hash_of(content text)", "text"),
        ):
            conn.execute(
                f"create or replace function omnicdc.{function} returns {result} language plpgsql "
                "as $$ begin perform nextval('public.trap_calls'); end $$".encode()
            )
    install_again(cmp)
    trap_called = cmp.value("select is_called from public.trap_calls")
    with people.connect(people.add("omnicdc_owner")) as conn:
        conn.execute("set role omnicdc_owner")
        conn.execute(
            "create or replace function omnicdc.unwatch(target regclass) returns void language plpgsql "
            "as $$ begin perform nextval('public.trap_calls'); end $$"
        )
    uninstall(cmp)

    assert not trap_called
    assert not cmp.value("select is_called from public.trap_calls")
    assert cmp.value("select count(*) from pg_trigger where tgrelid = 'projects'::regclass") == 0


def test_an_object_of_another_owner_is_refused(cmp: Cmp) -> None:
    for statement, expected in (
        ("alter table omnicdc.source owner to current_user", "omnicdc.source, which belongs to"),
        (
            "alter function omnicdc.relation_identity() owner to current_user",
            "function omnicdc.relation_identity(), which belongs to",
        ),
    ):
        cmp.conn.execute(statement.encode())
        with pytest.raises(ConfigError) as refused:
            install_again(cmp)
        cmp.conn.execute(refused.value.hint.split(";")[0].encode())

        assert expected in refused.value.message
        install_again(cmp)


def install_again(cmp: Cmp) -> None:
    with db.connect(cmp.dsn) as conn:
        install.install(conn, projects())


def uninstall(cmp: Cmp) -> None:
    with db.connect(cmp.dsn) as conn:
        install.uninstall(conn)
