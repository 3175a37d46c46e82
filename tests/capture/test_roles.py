"""Who may do what in omnicdc's schema, tried from the outside by people who log in.

CMP's writers need no rights there.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from psycopg import errors as pg
from psycopg import sql as pgsql

from omnicdc import db
from omnicdc.capture import install
from omnicdc.errors import DatabaseUnavailable, RegistryError, SchemaMismatch
from omnicdc.model import ALL
from omnicdc.registries.rows import readable
from omnicdc.registries.scanners import scanners

if TYPE_CHECKING:
    from typing import LiteralString

    from support.cmp import Cmp
    from support.sessions import People

CONSUMER: LiteralString = """insert into omnicdc.consumer (name, snapshot, system_identifier, timeline,
    generation, host, root, version) values ('x', '1:1:', 1, 1, 1, 'h', 'r', 'v')"""

NOBODY: LiteralString = ""
DAEMON: LiteralString = "daemon"
BOTH: LiteralString = "daemon client"

MAY: dict[LiteralString, LiteralString] = {
    # CMP
    "select id, name, key, type, status, metadata_ from projects": BOTH,
    "select description from projects": NOBODY,
    "select * from projects": NOBODY,
    "update projects set name = 'x'": NOBODY,
    "insert into projects (name) values ('x')": NOBODY,
    "delete from projects": NOBODY,
    "truncate projects": NOBODY,
    "lock table projects in share mode": NOBODY,
    "alter table projects disable trigger user": NOBODY,
    "drop trigger omnicdc_log_row on projects": NOBODY,
    # the log
    "select * from omnicdc.change": BOTH,
    "insert into omnicdc.change (op) values ('truncate')": NOBODY,
    "update omnicdc.change set op = 'truncate'": NOBODY,
    "delete from omnicdc.change": NOBODY,
    "truncate omnicdc.change": NOBODY,
    "lock table omnicdc.change in access exclusive mode": NOBODY,
    # what is captured
    "select * from omnicdc.source": BOTH,
    "update omnicdc.source set target = 'x'": NOBODY,
    "select * from omnicdc.migration": BOTH,
    "insert into omnicdc.migration values (99, 'x')": NOBODY,
    # the consumers
    "select * from omnicdc.consumer": BOTH,
    CONSUMER: DAEMON,
    "update omnicdc.consumer set generation = 2": DAEMON,
    "delete from omnicdc.consumer": NOBODY,
    "select * from omnicdc.history": BOTH,
    """insert into omnicdc.history (consumer, generation, snapshot, changes, registries)
       values ('here', 1, '1:1:', 0, '{}')""": DAEMON,
    "delete from omnicdc.history": NOBODY,
    # the functions
    "select omnicdc.capture_fault()": BOTH,
    "select omnicdc.capture_fingerprint()": BOTH,
    "select omnicdc.capture_remedy('x')": BOTH,
    "select omnicdc.triggered_table()": NOBODY,
    "select omnicdc.grant_reading('projects', '{name}')": NOBODY,
    "select omnicdc.is_alive('x')": BOTH,
    "select omnicdc.consumer_pid('x')": BOTH,
    "select omnicdc.consumer_lock('x')": BOTH,
    "select omnicdc.sleeper_lock()": DAEMON,
    "select omnicdc.writer_lock()": DAEMON,
    "select omnicdc.identity()": BOTH,
    "select omnicdc.lacking_functions()": NOBODY,
    "select omnicdc.relation_identity()": BOTH,
    "select omnicdc.table_rewritten()": DAEMON,
    "select omnicdc.watched_relations()": DAEMON,
    "select omnicdc.request_rebuild()": BOTH,
    "select omnicdc.request_look()": BOTH,
    "select omnicdc.request_accept()": DAEMON,
    "select changes from omnicdc.prune('1 day', '1 day')": DAEMON,
    "select omnicdc.forget_other_cluster()": DAEMON,
    "select omnicdc.notify_consumers()": NOBODY,
    "select omnicdc.watch('projects', '{name}')": NOBODY,
    "select omnicdc.unwatch('projects')": NOBODY,
    "select omnicdc.watch_source('{name}')": NOBODY,
    "create trigger mine after insert on pg_temp.mine for each row execute function "
    "omnicdc.log_row()": NOBODY,
    # the schema
    "create table omnicdc.mine (a integer)": NOBODY,
    "create function omnicdc.mine() returns integer language sql as 'select 1'": NOBODY,
    "drop schema omnicdc cascade": NOBODY,
    "set role omnicdc_owner": NOBODY,
    # cluster-wide facts that a daemon and a client read
    "select system_identifier from pg_control_system()": BOTH,
}


@pytest.mark.parametrize("group", ["daemon", "client", "nobody", "writer"])
def test_each_may_do_what_it_is_for_and_nothing_else(cmp: Cmp, people: People, group: LiteralString) -> None:
    cmp.upsert("apollo")
    cmp.conn.execute(CONSUMER.replace("'x'", "'here'"))
    members = {"daemon": ["omnicdc_daemon"], "client": ["omnicdc_client"]}.get(group, [])
    name = people.writer() if group == "writer" else people.add(*members)

    with people.connect(name) as conn:
        conn.execute("create temp table mine (a integer)")
        allowed = {deed for deed in MAY if may(conn, deed)}

    writes = ("select", "insert into p", "update p", "delete from p", "truncate p", "lock table p")
    cmps = {deed for deed in MAY if "projects" in deed and deed.startswith(writes) and "omnicdc" not in deed}
    expected = cmps if group == "writer" else {deed for deed, groups in MAY.items() if group in groups}
    assert allowed - PUBLICLY == expected - PUBLICLY


PUBLICLY = {"select system_identifier from pg_control_system()"}
"""PostgreSQL lets everybody ask."""


def may(conn: psycopg.Connection[Any], deed: LiteralString) -> bool:
    """Whether it is allowed; it is undone in any case."""
    with conn.transaction(force_rollback=True):
        try:
            conn.execute(deed)
        except pg.InsufficientPrivilege:
            return False
    return True


def test_a_writer_without_any_right_on_omnicdc_is_logged(cmp: Cmp, people: People) -> None:
    with people.connect(people.writer()) as conn:
        project = cmp.upsert("apollo", conn=conn)
        cmp.upsert("artemis", id=project, conn=conn)
        conn.execute("truncate projects")

    assert cmp.log() == [(project, "insert", None), (project, "update", ("name",)), (None, "truncate", None)]


def test_a_writer_who_inherits_nothing_and_sees_no_schema_is_logged(cmp: Cmp, people: People) -> None:
    with people.connect(people.writer()) as conn:
        conn.execute("set search_path = ''; set row_security = off; set check_function_bodies = off")
        conn.execute("insert into public.projects (name) values ('apollo')")

    assert [op for _, op, _ in cmp.log()] == ["insert"]


def test_none_of_the_roles_can_log_in(cmp: Cmp) -> None:
    can = cmp.value(
        "select count(*) from pg_roles where starts_with(rolname, 'omnicdc_') and (rolcanlogin or rolsuper "
        "or rolcreaterole)"
    )

    assert can == 0


def test_the_owner_of_everything_that_runs_as_its_owner_cannot_log_in(cmp: Cmp) -> None:
    owners = cmp.value(
        """select array_agg(distinct pg_get_userbyid(p.proowner)) from pg_proc p
            where p.pronamespace = 'omnicdc'::regnamespace"""
    )
    tables = cmp.value(
        """select array_agg(distinct pg_get_userbyid(c.relowner)) from pg_class c
            where c.relnamespace = 'omnicdc'::regnamespace"""
    )

    assert (owners, tables) == (["omnicdc_owner"], ["omnicdc_owner"])


def test_everything_that_runs_as_its_owner_has_its_search_path_pinned(cmp: Cmp) -> None:
    loose = cmp.value(
        """select array_agg(p.proname) from pg_proc p
            where p.pronamespace = 'omnicdc'::regnamespace
              and (p.prosecdef or p.prolang = (select l.oid from pg_language l where l.lanname = 'plpgsql'))
              and 'search_path=pg_catalog, pg_temp' <> all (coalesce(p.proconfig, '{}'))"""
    )

    assert loose is None


def test_an_expression_that_stands_in_for_its_call_names_the_schema_of_all_it_uses(cmp: Cmp) -> None:
    """The others are inlined into callers that pin the path; by themselves they look nowhere else either."""
    bodies = cmp.value(
        """select array_agg(p.prosrc) from pg_proc p
            where p.pronamespace = 'omnicdc'::regnamespace and p.proconfig is null"""
    )
    used = {call for body in bodies for call in re.findall(r"([\w.]+)\(", body)} - {"coalesce", "array"}

    assert used
    assert all(call.startswith(("pg_catalog.", "operator", "omnicdc.")) for call in used)


def test_no_function_is_left_to_everybody(cmp: Cmp) -> None:
    public = cmp.value(
        """select array_agg(p.proname)
             from pg_proc p, aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a
            where p.pronamespace = 'omnicdc'::regnamespace and a.grantee = 0"""
    )

    assert public is None


def test_who_may_not_ask_is_told_which_group_it_takes(people: People) -> None:
    """P5: not that omnicdc is missing, which is another mend."""
    person = people.add()
    with db.connect(people.dsn(person)) as conn, pytest.raises(SchemaMismatch) as caught:
        db.check_schema(conn)

    assert "permission denied for schema omnicdc" in caught.value.message
    assert caught.value.hint.startswith(f"grant omnicdc_daemon (or omnicdc_client) to {person};")


@pytest.mark.parametrize(
    ("parameter", "value", "deed"),
    [
        ("default_transaction_read_only", "on", "select omnicdc.request_rebuild()"),
        ("statement_timeout", "50ms", "select pg_sleep(10)"),
    ],
)
def test_a_remedy_names_the_role_that_is_logged_in(
    cmp: Cmp, people: People, parameter: LiteralString, value: LiteralString, deed: LiteralString
) -> None:
    person = people.add("omnicdc_client")
    cmp.conn.execute(
        pgsql.SQL("alter role {} set {} = {}").format(pgsql.Identifier(person), pgsql.SQL(parameter), value)
    )
    with (
        db.connect(people.dsn(person)) as conn,
        pytest.raises(DatabaseUnavailable) as told,
        db.translated("asking"),
    ):
        conn.execute(deed)

    assert f"`alter role {person} set {parameter} = " in told.value.hint


@pytest.mark.parametrize("deed", ["install", "uninstall"])
def test_install_by_a_role_that_may_only_read_names_the_setting(cmp: Cmp, deed: str) -> None:
    cmp.conn.execute(f"alter database {cmp.conn.info.dbname} set default_transaction_read_only = on".encode())
    with db.connect(cmp.dsn) as conn, pytest.raises(DatabaseUnavailable) as told:
        install.uninstall(conn) if deed == "uninstall" else install.install(conn, "projects", ("name",))

    assert f"`alter role {cmp.conn.info.user} set default_transaction_read_only = off`" in told.value.hint


def test_a_role_whose_sessions_want_a_library_that_is_not_there_is_told_the_setting(
    cmp: Cmp, people: People
) -> None:
    person = people.add("omnicdc_client")
    cmp.conn.execute(
        pgsql.SQL("alter role {} set session_preload_libraries = 'nowhere'").format(pgsql.Identifier(person))
    )
    with pytest.raises(DatabaseUnavailable) as told:
        db.connect(people.dsn(person))

    assert told.value.context["sqlstate"] == "58P01"
    assert "session_preload_libraries" in told.value.hint


def test_a_daemon_whose_grants_are_gone_is_told_what_renews_them(cmp: Cmp, people: People) -> None:
    """P6: as after the table was made anew by whoever knows nothing of omnicdc."""
    reader = people.add("omnicdc_daemon")
    cmp.conn.execute(
        "revoke select (id, name, key, type, status, metadata_) on projects from omnicdc_client, "
        "omnicdc_daemon"
    )
    with db.connect(people.dsn(reader)) as conn, pytest.raises(RegistryError) as caught:
        readable(conn, scanners()["project"], "public.projects", ALL)

    assert "permission denied for table projects" in caught.value.message
    assert caught.value.hint == "run `omnicdc install` as the table's owner: it renews the grants"
