"""A table of any name, in any schema, is captured, read by the daemon, and uninstalled."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from psycopg import sql as pgsql
from support.sessions import People
from support.sources import projects

from omnicdc import db
from omnicdc.capture import install
from omnicdc.errors import ConfigError
from omnicdc.registries.tables import qualified

if TYPE_CHECKING:
    from support.cmp import Cmp


NAMES = [
    '"Cms"."Projects"',
    '"it\'s ""quoted"""."dotted.name"',
    '"проекты"."プロジェクト"',
    '"%s"."%1$I %"',
    '"select"."table"',
    '" "."$$"',
    '"back\\slash"."new\nline"',
    f'"{"s" * 63}"."{"t" * 63}"',
    "CMS.Projects",
]


def test_a_table_of_any_name_is_captured_and_uninstalled(bare: Cmp) -> None:
    people = People(bare)
    daemon = people.add()
    try:
        for name in NAMES:
            capture_and_uninstall(bare, people, daemon, name)
    finally:
        people.close()


def capture_and_uninstall(bare: Cmp, people: People, daemon: str, name: str) -> None:
    """Install for this table, write to it, read it as the daemon, and uninstall."""
    table = qualified(name)
    bare.conn.execute(pgsql.SQL("create schema {}").format(pgsql.Identifier(table._obj[0])))
    bare.conn.execute(pgsql.SQL("create table {} (like projects including all)").format(table))
    with db.connect(bare.dsn) as conn:
        changed = [install.install(conn, projects(name)) for _ in range(2)]
        fault = db.fetch_one(conn, "capture_fault")["fault"]
        target = db.fetch_one(conn, "sources")["target"]
        bare.conn.execute(pgsql.SQL("grant omnicdc_daemon to {}").format(pgsql.Identifier(daemon)))
        bare.conn.execute(pgsql.SQL("insert into {} (name) values ('apollo')").format(table))
        with people.connect(daemon) as reader:
            found = reader.execute(pgsql.SQL("select name, metadata_ from {}").format(table)).fetchall()
            daemon_fault = reader.execute("select omnicdc.capture_fault()").fetchall()
        resolved = db.fetch_one(conn, "resolve", {"table": table.as_string()})["target"]
        logged = bare.log()
        install.uninstall(conn)

    assert (changed, fault, daemon_fault) == ([True, False], None, [(None,)]), name
    assert target == resolved, name
    assert found == [("apollo", None)], name
    assert [op for _, op, _ in logged] == ["insert"], name
    assert bare.value("select count(*) from pg_trigger where starts_with(tgname, 'omnicdc')") == 0, name


def test_watched_columns_of_any_name_are_compared(bare: Cmp) -> None:
    columns = ['it\'s "quoted"', "Upper", "%s", "select", "имя", "$body$", " "]
    for column in columns:
        bare.conn.execute(pgsql.SQL("alter table projects add {} text").format(pgsql.Identifier(column)))
    with db.connect(bare.dsn) as conn:
        install.install(conn, projects("projects", tuple(columns)))
    bare.upsert("apollo")
    for column in columns:
        bare.conn.execute(pgsql.SQL("update projects set {} = 'x'").format(pgsql.Identifier(column)))

    assert [fields for _, op, fields in bare.log() if op == "update"] == [(column,) for column in columns]


def test_a_table_found_through_the_search_path_is_captured_by_its_full_name(bare: Cmp) -> None:
    bare.conn.execute("create schema cms; create table cms.projects (like public.projects including all)")
    with db.connect(bare.dsn) as conn:
        conn.execute("set search_path = cms, public")
        install.install(conn, projects("projects", ("name",)))
        target = db.fetch_one(conn, "sources")["target"]
    bare.conn.execute("insert into public.projects (name) values ('not watched')")
    bare.conn.execute("insert into cms.projects (name) values ('watched')")

    assert target == "cms.projects"
    assert len(bare.log()) == 1


def test_another_table_is_watched_once_the_first_one_is_released(bare: Cmp) -> None:
    """A second host with another setting must not end the capture of the first one's table."""
    bare.conn.execute("create schema cms; create table cms.projects (like public.projects including all)")
    with db.connect(bare.dsn) as conn:
        install.install(conn, projects("public.projects", ("name",)))
        with pytest.raises(ConfigError, match=r"source projects is table public\.projects already"):
            install.install(conn, projects("cms.projects", ("name",)))
        assert db.fetch_one(conn, "capture_fault")["fault"] is None
        install.release(conn, "projects")
        install.install(conn, projects("cms.projects", ("name",)))
    bare.conn.execute("insert into public.projects (name) values ('no longer watched')")
    bare.conn.execute("insert into cms.projects (name) values ('watched')")

    assert [op for _, op, _ in bare.log()] == ["rebuild", "insert"]
    assert bare.value(
        "select attacl is null from pg_attribute where attrelid = 'projects'::regclass and attname = 'name'"
    )
