"""A user who may create objects in CMP's database cannot run code as omnicdc_owner or as the installer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from psycopg import errors as pg
from psycopg import sql as pgsql
from support.sources import projects

from omnicdc import db
from omnicdc.capture import install
from omnicdc.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import LiteralString

    import psycopg
    from support.cmp import Cmp
    from support.sessions import People


NAMESAKES: list[LiteralString] = [
    # PostgreSQL would prefer these to its own, for the calls that omnicdc's SQL makes.
    "create function public.format(text, text) returns text language plpgsql as {trap}",
    "create function public.format(text, name) returns text language plpgsql as {trap}",
    "create function public.to_regrole(name) returns regrole language plpgsql as {trap}",
    "create function public.pg_has_role(name, text, text) returns boolean language plpgsql as {trap}",
    "create function public.set_config(text, text, boolean) returns text language plpgsql as {trap}",
    "create function public.current_setting(text, boolean) returns text language plpgsql as {trap}",
    "create function public.lower(name) returns text language plpgsql as {trap}",
    "create function public.pg_try_advisory_lock(bigint) returns boolean language plpgsql as {trap}",
    "create function public.parse_ident(text) returns text[] language plpgsql as {trap}",
    "create function public.md5(text) returns text language plpgsql as {trap}",
    "create function public.distinct_uuid(uuid, uuid) returns boolean language plpgsql as {trap}",
    "create function public.distinct_text(text, text) returns boolean language plpgsql as {trap}",
    "create function public.key_of(jsonb, text) returns text language plpgsql as {trap}",
    "create operator public.<> (leftarg = uuid, rightarg = uuid, function = public.distinct_uuid)",
    "create operator public.= (leftarg = uuid, rightarg = uuid, function = public.distinct_uuid)",
    "create operator public.= (leftarg = text, rightarg = text, function = public.distinct_text)",
    "create operator public.->> (leftarg = jsonb, rightarg = text, function = public.key_of)",
]
TRAP = """begin
  perform pg_catalog.nextval('public.trap_calls');
  raise exception 'a trap was called';
end"""
"""A trigger may catch the exception, which undoes every write. The sequence still counts the call."""
CALLED: LiteralString = "select is_called from public.trap_calls"


@pytest.fixture
def untrusted_writer(cmp: Cmp, people: People) -> Iterator[psycopg.Connection[Any]]:
    """A session of a CMP writer that has created every trap in `public` and in pg_temp."""
    name = people.writer()
    cmp.conn.execute(pgsql.SQL("grant create, usage on schema public to {}").format(pgsql.Identifier(name)))
    cmp.conn.execute("create sequence public.trap_calls; grant usage on sequence public.trap_calls to public")
    with people.connect(name) as conn:
        for namesake in NAMESAKES:
            for schema in ("public", "pg_temp"):
                trap = namesake.replace("public.", f"{schema}.").replace("{trap}", "$trap$" + TRAP + "$trap$")
                conn.execute(trap.encode())
        conn.execute("create temp table change (source smallint, key text, op text, fields text[])")
        conn.execute("create temp table source (id smallint, target text, watched text[], source_hash text)")
        conn.execute("create temp table projects (id uuid)")
        conn.execute("create temp table pg_class (oid oid)")
        yield conn


def traps_work(cmp: Cmp, untrusted_writer: psycopg.Connection[Any]) -> bool:
    """Call a trap. Return whether the call was counted."""
    with pytest.raises(pg.RaiseException):
        untrusted_writer.execute("select public.md5('x')")
    return bool(cmp.value(CALLED))


def test_the_triggers_call_no_namesake_of_a_writer(
    cmp: Cmp, untrusted_writer: psycopg.Connection[Any]
) -> None:
    for path in ("public, pg_catalog", "pg_temp, public, pg_catalog", ""):
        untrusted_writer.execute("select pg_catalog.set_config('search_path', %s, false)", [path])
        untrusted_writer.execute("insert into public.projects (name) values ('apollo')")
        untrusted_writer.execute(
            "update public.projects set name = 'artemis', metadata_ = '{\"domain\": \"moon\"}'"
        )
        untrusted_writer.execute("update public.projects set id = '00000000-0000-0000-0000-00000000000a'")
        untrusted_writer.execute("truncate public.projects")

    assert not cmp.value(CALLED)
    assert len(cmp.log()) == 3 * 5


@pytest.mark.parametrize("path", ["public", "public, pg_catalog"])
def test_the_installer_calls_no_namesake_of_a_writer(
    cmp: Cmp, untrusted_writer: psycopg.Connection[Any], path: LiteralString
) -> None:
    """The installer is often a superuser, and every role may often create objects in `public`."""
    with db.connect(cmp.dsn) as conn:
        conn.execute("select set_config('search_path', %s, false)", [path])
        install.install(conn, projects())
        install.uninstall(conn)
        install.install(conn, projects())
    cmp.upsert("apollo")
    cmp.conn.execute("truncate projects")

    assert not cmp.value(CALLED)
    assert traps_work(cmp, untrusted_writer)


def test_the_functions_of_daemon_and_client_call_no_namesake_of_a_writer(
    cmp: Cmp, untrusted_writer: psycopg.Connection[Any]
) -> None:
    cmp.conn.execute("set search_path = public, pg_catalog")
    cmp.conn.execute(
        """select omnicdc.capture_fault(), omnicdc.capture_fingerprint(), omnicdc.capture_remedy('x'),
                  omnicdc.is_alive('x'), omnicdc.request_rebuild(), omnicdc.request_look(),
                  omnicdc.request_accept(), omnicdc.prune('1 day', '1 day'),
                  omnicdc.forget_other_cluster()"""
    )

    assert not cmp.value(CALLED)
    assert traps_work(cmp, untrusted_writer)


def test_install_refuses_a_schema_of_another_owner(bare: Cmp) -> None:
    """Its owner could drop and replace every object in it."""
    bare.conn.execute("create schema omnicdc")
    with db.connect(bare.dsn) as conn, pytest.raises(ConfigError, match="schema omnicdc belongs to"):
        install.install(conn, projects())
