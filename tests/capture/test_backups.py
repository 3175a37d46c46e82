"""P4: a role that could back up the database before `install` can still do so after it."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import pytest
from psycopg import sql as pgsql
from support.sessions import People
from support.sources import projects

from omnicdc import db
from omnicdc.capture import install
from omnicdc.testing.embedded import bundled

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from support.cmp import Cmp

PAGE = Path(__file__).parents[2] / "docs/install.md"


def install_capture(cmp: Cmp) -> None:
    with db.connect(cmp.dsn) as conn:
        install.install(conn, projects())


def pg_dump(people: People, role: str, *options: str) -> subprocess.CompletedProcess[str]:
    """Run pg_dump as a role."""
    return subprocess.run(
        [bundled() / "pg_dump", *options, people.dsn(role)], capture_output=True, text=True, check=False
    )


@pytest.fixture
def bare_people(bare: Cmp) -> Iterator[People]:
    people = People(bare)
    yield people
    # A role that owns a table cannot be dropped. The database, with its table, is dropped later.
    bare.conn.execute("alter table projects owner to current_user")
    people.close()


def table_owner(bare: Cmp, people: People) -> str:
    name = people.add()
    bare.conn.execute(pgsql.SQL("alter table projects owner to {}").format(pgsql.Identifier(name)))
    return name


def table_reader(bare: Cmp, people: People, options: str = "") -> str:
    name = people.add(options=options)
    bare.conn.execute("create sequence counter")
    for kind in ("tables", "sequences"):
        bare.conn.execute(
            pgsql.SQL("grant select on all {} in schema public to {}").format(
                pgsql.SQL(kind), pgsql.Identifier(name)
            )
        )
    return name


ROLES: dict[str, Callable[[Cmp, People], str]] = {
    "the owner of every table": table_owner,
    "a role that may read every table": table_reader,
    "a role that may read every table and bypasses row policies": lambda cmp, people: table_reader(
        cmp, people, "bypassrls"
    ),
    "a member of pg_read_all_data": lambda _cmp, people: people.add("pg_read_all_data"),
}


@pytest.mark.parametrize("kind", ROLES)
def test_a_role_that_could_back_up_still_can_after_install(bare: Cmp, bare_people: People, kind: str) -> None:
    role = ROLES[kind](bare, bare_people)
    install_capture(bare)
    bare.upsert("atlas")

    done = pg_dump(bare_people, role)

    assert (done.returncode, done.stderr) == (0, "")
    assert "COPY omnicdc.change" in done.stdout


def test_the_next_install_lets_a_new_role_back_up(bare: Cmp, bare_people: People) -> None:
    install_capture(bare)
    role = table_reader(bare, bare_people)
    before = pg_dump(bare_people, role)
    without = pg_dump(bare_people, role, "--exclude-schema=omnicdc")
    install_capture(bare)

    assert before.returncode == 1
    assert "omnicdc" in before.stderr
    assert without.returncode == 0
    assert pg_dump(bare_people, role).returncode == 0


def test_a_role_that_may_read_only_some_tables_gets_no_right(bare: Cmp, bare_people: People) -> None:
    role = table_reader(bare, bare_people)
    bare.conn.execute("create table other ()")
    install_capture(bare)

    assert not bare.value("select has_schema_privilege(%s::name, 'omnicdc', 'usage')", role)


def test_the_documented_grants_let_a_role_back_up(bare: Cmp, bare_people: People) -> None:
    role = table_reader(bare, bare_people)
    bare.conn.execute("create table other ()")
    install_capture(bare)
    lines = re.findall(r"^(grant .+ to backup_role;)$", PAGE.read_text("utf-8"), re.MULTILINE)
    for line in lines:
        bare.conn.execute(line.replace("backup_role", role).encode())
    bare.conn.execute("drop table other")

    assert lines
    assert pg_dump(bare_people, role).returncode == 0


@pytest.mark.parametrize("part", [[], ["--table=projects"]], ids=["the database", "the table"])
def test_the_documented_command_restores_without_omnicdc(
    cmp: Cmp, server: str, tmp_path: Path, part: list[str]
) -> None:
    """The target database never had omnicdc. The first error would end the command."""
    if cmp.conn.info.server_version < 170000:
        pytest.skip("the bundled pg_restore sets transaction_timeout, which came with PostgreSQL 17")
    cmp.upsert("atlas")
    dumped = tmp_path / "projects.dump"
    subprocess.run([bundled() / "pg_dump", "-Fc", *part, "-f", dumped, cmp.dsn], check=True)
    name = f"omnicdc_restored_{os.getpid()}"
    target = psycopg.conninfo.make_conninfo(server, dbname=name)
    (line,) = re.findall(r"^(pg_restore --list .+)$", PAGE.read_text("utf-8"), re.MULTILINE)
    with psycopg.connect(server, autocommit=True) as admin:
        admin.execute(pgsql.SQL("create database {}").format(pgsql.Identifier(name)))
        try:
            done = subprocess.run(
                ["bash", "-euo", "pipefail", "-c", line.replace("--dbname OTHER", '--dbname "$OTHER"')],
                cwd=tmp_path,
                env={"PATH": f"{bundled()}:{os.environ['PATH']}", "OTHER": target},
                capture_output=True,
                text=True,
                check=False,
            )
            with psycopg.connect(target) as conn:
                found = conn.execute("select name from projects").fetchall()
                schema = conn.execute("select to_regnamespace('omnicdc')").fetchone()
        finally:
            admin.execute(pgsql.SQL("drop database {} with (force)").format(pgsql.Identifier(name)))

    assert (done.returncode, done.stderr) == (0, "")
    assert (found, schema) == ([("atlas",)], (None,))
