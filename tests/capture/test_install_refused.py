"""What cannot be captured is refused with one clear error, and leaves nothing behind.

Who may install, and who may not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import psycopg
import pytest
from psycopg import sql as pgsql
from support.cmp import TABLE
from support.evidence import every
from support.sessions import People

from omnicdc import db
from omnicdc.capture import install
from omnicdc.errors import ConfigError, OmnicdcError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import LiteralString

    from support.cmp import Cmp

# Its server is started once, also when several processes share the tests.
pytestmark = pytest.mark.xdist_group("small server")

REFUSED: dict[LiteralString, tuple[str, str]] = {
    "drop table projects": ("table projects does not exist", "--table"),
    "alter table projects set schema information_schema": ("table projects does not exist", "--table"),
    "alter table projects drop id": ('needs a column "id" of type uuid', "--table"),
    "alter table projects alter id drop default, alter id type text": (
        'needs a column "id" of type uuid',
        "--table",
    ),
    "alter table projects drop name, drop status": ("has no column name, status", "--table"),
    "alter table projects rename to p; create view projects as select * from p": (
        "is not an ordinary table",
        "--table",
    ),
    "drop table projects; create temp table projects (id uuid, name text, status text)": (
        "is not an ordinary table",
        "--table",
    ),
    "drop table projects; create sequence projects": ("is not an ordinary table", "--table"),
    "drop table projects; create table base (id uuid, name text, status text); create materialized view "
    "projects as table base": (
        "is not an ordinary table",
        "--table",
    ),
    "create schema omnicdc": ("schema omnicdc belongs to", ""),
}


@pytest.mark.parametrize("deed", every(2, REFUSED))
def test_what_cannot_be_captured_is_refused_and_leaves_nothing(bare: Cmp, deed: LiteralString) -> None:
    said, hint = REFUSED[deed]
    with db.connect(bare.dsn) as conn:
        conn.execute(deed)
        with pytest.raises(ConfigError) as refused:
            install.install(conn, "projects", ("name", "status"))

        assert said in refused.value.message
        assert hint in refused.value.hint
        assert bare.value("select count(*) from pg_proc where pronamespace = to_regnamespace('omnicdc')") == 0


@pytest.fixture
def people(bare: Cmp) -> Iterator[People]:
    """Who can log in to `bare`. That omnicdc's roles exist, other databases of the cluster have seen to."""
    people = People(bare)
    yield people
    people.close()


RIGHTS: dict[str, tuple[LiteralString, LiteralString]] = {
    "may do nothing": ("", ""),
    "is not the table's owner": (
        "grant omnicdc_owner to {who}; grant create on database {database} to {who}",
        "permission denied for table projects",
    ),
    "may not create in the database": (
        "grant omnicdc_owner to {who}; alter table projects owner to {who}",
        "permission denied for database",
    ),
    "may not use omnicdc_owner": (
        "grant create on database {database} to {who}; alter table projects owner to {who}",
        "",
    ),
}


@pytest.mark.parametrize("who", RIGHTS)
def test_whoever_lacks_a_right_is_told_which_ones_it_takes(bare: Cmp, people: People, who: str) -> None:
    grants, said = RIGHTS[who]
    name = people.add()
    if grants:
        bare.conn.execute(
            pgsql.SQL(grants).format(
                who=pgsql.Identifier(name), database=pgsql.Identifier(bare.conn.info.dbname)
            )
        )
    with db.connect(people.dsn(name)) as conn, pytest.raises(ConfigError) as refused:
        install.install(conn, "projects", ("name", "status"))

    assert said in refused.value.message
    assert "CREATEROLE" in refused.value.hint
    assert bare.value("select to_regnamespace('omnicdc')") is None


def test_who_owns_the_table_and_uses_omnicdc_owner_may_install_and_uninstall(
    bare: Cmp, people: People
) -> None:
    name = people.add("omnicdc_owner")
    bare.conn.execute(
        pgsql.SQL("grant create on database {} to {who}; alter table projects owner to {who}").format(
            pgsql.Identifier(bare.conn.info.dbname), who=pgsql.Identifier(name)
        )
    )
    with db.connect(people.dsn(name)) as conn:
        installed = [install.install(conn, "projects", ("name", "status")) for _ in range(2)]
        fault = db.fetch_one(conn, "capture_fault")["fault"]
        project = bare.upsert("apollo")
        logged = bare.log()
        install.uninstall(conn)

    assert installed == [True, False]
    assert fault is None
    assert logged == [(project, "insert", None)]
    assert bare.value("select to_regnamespace('omnicdc')") is None


def test_a_schema_that_the_daemon_may_not_enter_is_refused(bare: Cmp, people: People) -> None:
    """Its owner alone can open it; the daemon would fail at its start."""
    name = people.add("omnicdc_owner")
    bare.conn.execute(
        pgsql.SQL(
            """grant create on database {} to {who}; create schema cms; grant usage on schema cms to {who};
               create table cms.projects (like projects including all);
               alter table cms.projects owner to {who}"""
        ).format(pgsql.Identifier(bare.conn.info.dbname), who=pgsql.Identifier(name))
    )
    with db.connect(people.dsn(name)) as conn:
        with pytest.raises(ConfigError, match="schema cms is closed to omnicdc_daemon"):
            install.install(conn, "cms.projects", ("name", "status"))
        bare.conn.execute("grant usage on schema cms to omnicdc_daemon, omnicdc_client")

        assert install.install(conn, "cms.projects", ("name", "status"))


def test_in_a_fresh_cluster_createrole_and_create_on_the_database_suffice(small_server: str) -> None:
    """From PostgreSQL 16 on, who creates a role does not by that become able to use it."""
    with psycopg.connect(small_server, autocommit=True) as admin:
        admin.execute("create role cmp_owner login createrole")
        admin.execute("create database cms_db owner cmp_owner")
    dsn = psycopg.conninfo.make_conninfo(small_server, dbname="cms_db", user="cmp_owner")
    with db.connect(dsn) as conn:
        conn.execute(TABLE)
        installed = [install.install(conn, "projects", ("name", "status")) for _ in range(2)]
        conn.execute("insert into projects (name) values ('apollo')")
        logged = db.fetch_one(conn, "log_size")["changes"]
        install.uninstall(conn)
        installed.append(install.install(conn, "projects", ("name", "status")))

    assert installed == [True, False, True]
    assert logged == 1


def test_a_wrong_name_is_refused_before_anything_is_sent(bare: Cmp) -> None:
    with db.connect(bare.dsn) as conn:
        for name in ("", "a.b.c", "projects; drop table projects", '"projects', "1x"):
            with pytest.raises(OmnicdcError, match="not a table's name"):
                install.install(conn, name, ("name",))
