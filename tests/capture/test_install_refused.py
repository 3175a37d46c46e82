"""A table that cannot be captured is refused with one clear error, and nothing is installed.

Also: the roles that may install, and those that may not.
"""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import psycopg
import pytest
from psycopg import sql as pgsql
from support.cmp import TABLE
from support.evidence import every
from support.host import COMMAND
from support.sessions import People
from support.sources import projects

from omnicdc import db
from omnicdc.capture import install
from omnicdc.errors import ConfigError, OmnicdcError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import LiteralString

    from support.cmp import Cmp

# One process runs these tests, so that their server is started once.
pytestmark = pytest.mark.xdist_group("small server")

REFUSED: dict[LiteralString, tuple[str, str]] = {
    "drop table projects": ("table projects does not exist", "`tables:"),
    "alter table projects set schema information_schema": ("table projects does not exist", "`tables:"),
    "alter table projects drop id": ('needs a column "id" of type uuid', "`tables:"),
    "alter table projects alter id drop default, alter id type text": (
        'needs a column "id" of type uuid',
        "`tables:",
    ),
    "alter table projects drop name, drop status": ("has no column name, status", "`tables:"),
    "alter table projects rename to p; create view projects as select * from p": (
        "is not an ordinary table",
        "`tables:",
    ),
    "drop table projects; create temp table projects (id uuid, name text, status text)": (
        "is not an ordinary table",
        "`tables:",
    ),
    "drop table projects; create sequence projects": ("is not an ordinary table", "`tables:"),
    "drop table projects; create table base (id uuid, name text, status text); create materialized view "
    "projects as table base": (
        "is not an ordinary table",
        "`tables:",
    ),
    "create schema omnicdc": ("schema omnicdc belongs to", ""),
}


@pytest.mark.parametrize("statement", every(2, REFUSED))
def test_a_table_that_cannot_be_captured_is_refused(bare: Cmp, statement: LiteralString) -> None:
    expected, hint = REFUSED[statement]
    with db.connect(bare.dsn) as conn:
        conn.execute(statement)
        with pytest.raises(ConfigError) as refused:
            install.install(conn, projects("projects", ("name", "status")))

        assert expected in refused.value.message
        assert hint in refused.value.hint
        assert bare.value("select count(*) from pg_proc where pronamespace = to_regnamespace('omnicdc')") == 0


@pytest.fixture
def people(bare: Cmp) -> Iterator[People]:
    """Login roles for `bare`. omnicdc's roles exist, because other databases of the cluster use them."""
    people = People(bare)
    yield people
    people.close()


RIGHTS: dict[str, tuple[LiteralString, LiteralString]] = {
    "may do nothing": ("", "omnicdc_owner"),
    "is not the table's owner": (
        "grant omnicdc_owner to {role}; grant create on database {database} to {role}",
        "permission denied for table projects",
    ),
    "may not create in the database": (
        "grant omnicdc_owner to {role}; alter table projects owner to {role}",
        "permission denied for database",
    ),
    "may not use omnicdc_owner": (
        "grant create on database {database} to {role}; alter table projects owner to {role}",
        "omnicdc_owner",
    ),
}


@pytest.mark.parametrize("kind", RIGHTS)
def test_a_role_that_lacks_a_right_is_refused_with_the_rights_it_needs(
    bare: Cmp, people: People, kind: str
) -> None:
    grants, expected = RIGHTS[kind]
    name = people.add()
    if grants:
        bare.conn.execute(
            pgsql.SQL(grants).format(
                role=pgsql.Identifier(name), database=pgsql.Identifier(bare.conn.info.dbname)
            )
        )
    with db.connect(people.dsn(name)) as conn, pytest.raises(ConfigError) as refused:
        install.install(conn, projects("projects", ("name", "status")))

    assert expected in refused.value.message
    assert "CREATEROLE" in refused.value.hint
    assert f"port={bare.conn.info.port} dbname={bare.conn.info.dbname} user=OWNER'`" in refused.value.hint
    assert bare.value("select to_regnamespace('omnicdc')") is None


def test_the_table_s_owner_may_install_and_uninstall_with_omnicdc_owner(bare: Cmp, people: People) -> None:
    name = people.add("omnicdc_owner")
    bare.conn.execute(
        pgsql.SQL("grant create on database {} to {role}; alter table projects owner to {role}").format(
            pgsql.Identifier(bare.conn.info.dbname), role=pgsql.Identifier(name)
        )
    )
    with db.connect(people.dsn(name)) as conn:
        installed = [install.install(conn, projects("projects", ("name", "status"))) for _ in range(2)]
        fault = db.fetch_one(conn, "capture_fault")["fault"]
        project = bare.upsert("apollo")
        logged = bare.log()
        install.uninstall(conn)

    assert installed == [True, False]
    assert fault is None
    assert logged == [(project, "insert", None)]
    assert bare.value("select to_regnamespace('omnicdc')") is None


def test_a_schema_that_the_daemon_may_not_enter_is_refused(bare: Cmp, people: People) -> None:
    """Only the schema's owner can grant its use. Without it, the daemon would fail at its start."""
    name = people.add("omnicdc_owner")
    bare.conn.execute(
        pgsql.SQL(
            """grant create on database {} to {role}; create schema cms; grant usage on schema cms to {role};
               create table cms.projects (like projects including all);
               alter table cms.projects owner to {role}"""
        ).format(pgsql.Identifier(bare.conn.info.dbname), role=pgsql.Identifier(name))
    )
    with db.connect(people.dsn(name)) as conn:
        with pytest.raises(ConfigError, match="schema cms is closed to omnicdc_daemon"):
            install.install(conn, projects("cms.projects", ("name", "status")))
        bare.conn.execute("grant usage on schema cms to omnicdc_daemon, omnicdc_client")

        assert install.install(conn, projects("cms.projects", ("name", "status")))


def test_createrole_and_create_on_the_database_suffice_in_a_new_cluster(small_server: str) -> None:
    """From PostgreSQL 16 on, a role that creates another role may not use it automatically."""
    with psycopg.connect(small_server, autocommit=True) as admin:
        admin.execute("create role cmp_owner login createrole")
        admin.execute("create database cms_db owner cmp_owner")
    dsn = psycopg.conninfo.make_conninfo(small_server, dbname="cms_db", user="cmp_owner")
    with db.connect(dsn) as conn:
        conn.execute(TABLE)
        installed = [install.install(conn, projects("projects", ("name", "status"))) for _ in range(2)]
        conn.execute("insert into projects (name) values ('apollo')")
        logged = db.fetch_one(conn, "log_size")["changes"]
        install.uninstall(conn)
        installed.append(install.install(conn, projects("projects", ("name", "status"))))

    assert installed == [True, False, True]
    assert logged == 1


def test_an_invalid_table_name_is_refused(bare: Cmp) -> None:
    with db.connect(bare.dsn) as conn:
        for name in ("", "a.b.c", "projects; drop table projects", '"projects', "1x"):
            with pytest.raises(OmnicdcError, match="not a table's name"):
                install.install(conn, projects(name, ("name",)))


def test_another_table_named_agents_is_named_with_the_setting_that_leaves_it_out(bare: Cmp) -> None:
    bare.conn.execute("create table agents (id uuid primary key, name text)")
    environ = {"OMNICDC_DSN": bare.dsn, "PATH": "/usr/bin:/bin"}
    refused = subprocess.run([COMMAND, "install"], env=environ, capture_output=True, text=True, check=False)
    done = subprocess.run([COMMAND, "install"], env=environ | {"OMNICDC_TABLES": "agents="}, check=False)

    assert refused.returncode == 2
    assert "(or OMNICDC_TABLES=agents=)" in refused.stderr
    assert done.returncode == 0
