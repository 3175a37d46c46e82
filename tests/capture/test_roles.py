"""The rights of each role on CMP and on omnicdc's schema, tried by users who log in.

CMP's writers need no rights there.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from psycopg import errors as pg
from psycopg import sql as pgsql
from support.sources import projects

from omnicdc import db
from omnicdc.capture import install
from omnicdc.errors import DatabaseUnavailable, RegistryError, SchemaMismatch
from omnicdc.model import ALL
from omnicdc.registries.rows import readable
from omnicdc.registries.scanners import scanners

if TYPE_CHECKING:
    from typing import LiteralString

    from support.cmp import Cmp
    from support.host import Host
    from support.sessions import People

CONSUMER: LiteralString = """insert into omnicdc.consumer (name, snapshot, system_identifier, timeline,
    generation, host, root, version) values ('x', '1:1:', 1, 1, 1, 'h', 'r', 'v')"""

NO_ROLE: LiteralString = ""
DAEMON: LiteralString = "daemon"
BOTH: LiteralString = "daemon client"

ALLOWED: dict[LiteralString, LiteralString] = {
    # CMP
    "select id, name, key, type, status, metadata_ from projects": BOTH,
    "select description from projects": NO_ROLE,
    "select * from projects": NO_ROLE,
    "update projects set name = 'x'": NO_ROLE,
    "insert into projects (name) values ('x')": NO_ROLE,
    "delete from projects": NO_ROLE,
    "truncate projects": NO_ROLE,
    "lock table projects in share mode": NO_ROLE,
    "alter table projects disable trigger user": NO_ROLE,
    "drop trigger omnicdc_log_row on projects": NO_ROLE,
    # the log
    "select * from omnicdc.change": BOTH,
    "insert into omnicdc.change (op) values ('truncate')": NO_ROLE,
    "update omnicdc.change set op = 'truncate'": NO_ROLE,
    "delete from omnicdc.change": NO_ROLE,
    "truncate omnicdc.change": NO_ROLE,
    "lock table omnicdc.change in access exclusive mode": NO_ROLE,
    # what is captured
    "select * from omnicdc.source": BOTH,
    "update omnicdc.source set target = 'x'": NO_ROLE,
    "select * from omnicdc.migration": BOTH,
    "insert into omnicdc.migration values (99, 'x')": NO_ROLE,
    # the consumers
    "select * from omnicdc.consumer": BOTH,
    CONSUMER: DAEMON,
    "update omnicdc.consumer set generation = 2": DAEMON,
    "delete from omnicdc.consumer": NO_ROLE,
    "select * from omnicdc.history": BOTH,
    """insert into omnicdc.history (consumer, generation, snapshot, changes, registries)
       values ('here', 1, '1:1:', 0, '{}')""": DAEMON,
    "delete from omnicdc.history": NO_ROLE,
    # the functions
    "select omnicdc.capture_fault()": BOTH,
    "select omnicdc.capture_fingerprint()": BOTH,
    "select omnicdc.capture_remedy('x')": BOTH,
    "select omnicdc.triggered_table(1::smallint)": NO_ROLE,
    "select omnicdc.grant_reading('projects', '{name}', 'omnicdc_daemon')": NO_ROLE,
    "select omnicdc.is_alive('x')": BOTH,
    "select omnicdc.consumer_pid('x')": BOTH,
    "select omnicdc.consumer_lock('x')": BOTH,
    "select omnicdc.sleeper_lock()": DAEMON,
    "select omnicdc.writer_lock()": DAEMON,
    "select omnicdc.identity()": BOTH,
    "select omnicdc.lacking_functions()": NO_ROLE,
    "select omnicdc.relation_identity()": BOTH,
    "select omnicdc.table_rewritten()": DAEMON,
    "select omnicdc.watched_relations()": DAEMON,
    "select omnicdc.request_rebuild()": BOTH,
    "select omnicdc.request_look()": BOTH,
    "select omnicdc.request_accept()": DAEMON,
    "select changes from omnicdc.prune('1 day', '1 day')": DAEMON,
    "select omnicdc.forget_other_cluster()": DAEMON,
    "select omnicdc.notify_consumers()": NO_ROLE,
    "select omnicdc.watch('projects', 'projects', 'id', '{name}', '{}', true)": NO_ROLE,
    "select omnicdc.release_source('projects')": NO_ROLE,
    "select omnicdc.unwatch('projects')": NO_ROLE,
    "create trigger mine after insert on pg_temp.mine for each row execute function "
    "omnicdc.log_row_1()": NO_ROLE,
    # the schema
    "create table omnicdc.mine (a integer)": NO_ROLE,
    "create function omnicdc.mine() returns integer language sql as 'select 1'": NO_ROLE,
    "drop schema omnicdc cascade": NO_ROLE,
    "set role omnicdc_owner": NO_ROLE,
    # cluster-wide facts that a daemon and a client read
    "select system_identifier from pg_control_system()": BOTH,
}


@pytest.mark.parametrize("group", ["daemon", "client", "no role", "writer"])
def test_each_role_may_do_exactly_what_it_needs(cmp: Cmp, people: People, group: LiteralString) -> None:
    cmp.upsert("apollo")
    cmp.conn.execute(CONSUMER.replace("'x'", "'here'"))
    members = {"daemon": ["omnicdc_daemon"], "client": ["omnicdc_client"]}.get(group, [])
    name = people.writer() if group == "writer" else people.add(*members)

    with people.connect(name) as conn:
        conn.execute("create temp table mine (a integer)")
        allowed = {statement for statement in ALLOWED if is_allowed(conn, statement)}

    writes = ("select", "insert into p", "update p", "delete from p", "truncate p", "lock table p")
    on_cmp = {
        statement
        for statement in ALLOWED
        if "projects" in statement and statement.startswith(writes) and "omnicdc" not in statement
    }
    expected = (
        on_cmp
        if group == "writer"
        else {statement for statement, groups in ALLOWED.items() if group in groups}
    )
    assert allowed - PUBLIC == expected - PUBLIC


PUBLIC = {"select system_identifier from pg_control_system()"}
"""PostgreSQL allows this to every role."""


def is_allowed(conn: psycopg.Connection[Any], statement: LiteralString) -> bool:
    """Return whether the statement is allowed. It is always rolled back."""
    with conn.transaction(force_rollback=True):
        try:
            conn.execute(statement)
        except pg.InsufficientPrivilege:
            return False
    return True


def test_a_writer_without_any_right_on_omnicdc_is_logged(cmp: Cmp, people: People) -> None:
    with people.connect(people.writer()) as conn:
        project = cmp.upsert("apollo", conn=conn)
        cmp.upsert("artemis", id=project, conn=conn)
        conn.execute("truncate projects")

    assert cmp.log() == [(project, "insert", None), (project, "update", ("name",)), (None, "truncate", None)]


def test_a_writer_with_an_empty_search_path_is_logged(cmp: Cmp, people: People) -> None:
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


def test_omnicdc_owner_owns_every_function_and_table(cmp: Cmp) -> None:
    owners = cmp.value(
        """select array_agg(distinct pg_get_userbyid(p.proowner)) from pg_proc p
            where p.pronamespace = 'omnicdc'::regnamespace"""
    )
    tables = cmp.value(
        """select array_agg(distinct pg_get_userbyid(c.relowner)) from pg_class c
            where c.relnamespace = 'omnicdc'::regnamespace"""
    )

    assert (owners, tables) == (["omnicdc_owner"], ["omnicdc_owner"])


def test_security_definer_and_plpgsql_functions_fix_their_search_path(cmp: Cmp) -> None:
    not_fixed = cmp.value(
        """select array_agg(p.proname) from pg_proc p
            where p.pronamespace = 'omnicdc'::regnamespace
              and (p.prosecdef or p.prolang = (select l.oid from pg_language l where l.lanname = 'plpgsql'))
              and 'search_path=pg_catalog, pg_temp' <> all (coalesce(p.proconfig, '{}'))"""
    )

    assert not_fixed is None


def test_a_function_without_a_fixed_search_path_names_every_schema(cmp: Cmp) -> None:
    """PostgreSQL inlines such a function into its callers. Its own text must not need a search path."""
    bodies = cmp.value(
        """select array_agg(p.prosrc) from pg_proc p
            where p.pronamespace = 'omnicdc'::regnamespace and p.proconfig is null"""
    )
    used = {call for body in bodies for call in re.findall(r"([\w.]+)\(", body)} - {"coalesce", "array"}

    assert used
    assert all(call.startswith(("pg_catalog.", "operator", "omnicdc.")) for call in used)


def test_public_may_execute_no_function(cmp: Cmp) -> None:
    public = cmp.value(
        """select array_agg(p.proname)
             from pg_proc p, aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a
            where p.pronamespace = 'omnicdc'::regnamespace and a.grantee = 0"""
    )

    assert public is None


def test_a_role_without_rights_gets_the_grant_as_its_remedy(people: People) -> None:
    """P5: the error must not say that omnicdc is missing, because that has another remedy."""
    role = people.add()
    with db.connect(people.dsn(role)) as conn, pytest.raises(SchemaMismatch) as caught:
        db.check_schema(conn)

    assert "permission denied for schema omnicdc" in caught.value.message
    assert caught.value.hint.startswith(f"`grant omnicdc_client to {role}` (omnicdc_daemon for ")


@pytest.mark.parametrize(
    ("parameter", "value", "statement"),
    [
        ("default_transaction_read_only", "on", "select omnicdc.request_rebuild()"),
        ("statement_timeout", "50ms", "select pg_sleep(10)"),
    ],
)
def test_a_remedy_names_the_role_that_is_logged_in(
    cmp: Cmp, people: People, parameter: LiteralString, value: LiteralString, statement: LiteralString
) -> None:
    role = people.add("omnicdc_client")
    cmp.conn.execute(
        pgsql.SQL("alter role {} set {} = {}").format(pgsql.Identifier(role), pgsql.SQL(parameter), value)
    )
    with (
        db.connect(people.dsn(role)) as conn,
        pytest.raises(DatabaseUnavailable) as refused,
        db.translated("asking"),
    ):
        conn.execute(statement)

    assert f"alter role {role} set {parameter} = " in refused.value.hint


@pytest.mark.parametrize("command", ["install", "uninstall --yes", "source release projects"])
def test_the_daemon_s_role_is_told_how_the_owner_changes_the_capture(
    cmp: Cmp, host: Host, people: People, command: str
) -> None:
    """On a registry host the DSN is the daemon's, and remedies that say `omnicdc install` are typed there."""
    done = host.run(*command.split(), OMNICDC_DSN=people.dsn(people.add("omnicdc_daemon")))

    login = f"dbname={cmp.conn.info.dbname} user={cmp.conn.info.user}"
    assert done.returncode == 2
    assert re.search(f"`omnicdc {command.removesuffix(' --yes')} --dsn 'host=.* {login}'`", done.stderr)


@pytest.mark.parametrize("command", ["install", "uninstall"])
def test_install_in_a_read_only_database_names_the_setting(cmp: Cmp, command: str) -> None:
    cmp.conn.execute(f"alter database {cmp.conn.info.dbname} set default_transaction_read_only = on".encode())
    with db.connect(cmp.dsn) as conn, pytest.raises(DatabaseUnavailable) as refused:
        install.uninstall(conn) if command == "uninstall" else install.install(
            conn, projects("projects", ("name",))
        )

    remedy = re.search(r"`(begin read write; alter role .*; commit)` in psql", refused.value.hint)
    assert remedy
    with psycopg.connect(cmp.dsn, autocommit=True) as maintenance:
        maintenance.execute(remedy[1].encode())
    try:
        with db.connect(cmp.dsn) as conn:
            install.uninstall(conn)
    finally:
        cmp.conn.execute(remedy[1].replace("set default_transaction_read_only = off", "reset all").encode())


def test_a_missing_preload_library_is_reported_with_its_setting(cmp: Cmp, people: People) -> None:
    role = people.add("omnicdc_client")
    cmp.conn.execute(
        pgsql.SQL("alter role {} set session_preload_libraries = 'nowhere'").format(pgsql.Identifier(role))
    )
    with pytest.raises(DatabaseUnavailable) as refused:
        db.connect(people.dsn(role))

    assert refused.value.context["sqlstate"] == "58P01"
    assert "session_preload_libraries" in refused.value.hint


def test_a_daemon_without_its_grants_gets_install_as_the_remedy(cmp: Cmp, people: People) -> None:
    """P6: this happens when another program creates the table again, without omnicdc's grants."""
    reader = people.add("omnicdc_daemon")
    cmp.conn.execute(
        "revoke select (id, name, key, type, status, metadata_) on projects from omnicdc_client, "
        "omnicdc_daemon"
    )
    with db.connect(people.dsn(reader)) as conn, pytest.raises(RegistryError) as caught:
        readable(conn, scanners()["project"], {"projects": "public.projects"}, ALL)

    assert "permission denied for table projects" in caught.value.message
    assert caught.value.hint == "run `omnicdc install` as the table's owner: it renews the grants"
