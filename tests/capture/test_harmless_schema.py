"""P4: CMP's writes succeed, whatever CMP's owners change in their schema or in omnicdc's.

A row that cannot be compared is logged as a whole.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import psycopg
import pytest
from support.cmp import Cmp
from support.sources import projects

from omnicdc import db
from omnicdc.capture import install

if TYPE_CHECKING:
    from typing import LiteralString

WHOLE_ROW = None
A = "00000000-0000-0000-0000-00000000000a"

SCHEMA_CHANGES: dict[LiteralString, tuple[LiteralString, object]] = {
    "alter table projects drop column status": ("name = 'x'", WHOLE_ROW),
    "alter table projects rename status to state": ("state = 'x'", WHOLE_ROW),
    "alter table projects rename metadata_ to metadata": ("name = 'x'", WHOLE_ROW),
    "alter table projects alter metadata_ type text": ("name = 'x'", WHOLE_ROW),
    "alter table projects alter metadata_ type json": ("name = 'x'", ["name"]),
    "alter table projects alter status type varchar(20)": ("name = 'x'", ["name"]),
    "alter table projects alter key type bytea using key::bytea": ("name = 'x'", ["name"]),
    "alter table projects add column extra text default 'x'": ("name = 'x'", ["name"]),
    "alter table projects drop column description": ("name = 'x'", ["name"]),
    "alter table projects rename to ventures": ("name = 'x'", ["name"]),
    "alter table projects set schema pg_catalog": ("name = 'x'", ["name"]),
    "create type state as enum ('active', 'x'); alter table projects alter status type state using "
    "status::state": (
        "status = 'x'",
        ["status"],
    ),
}


def test_a_changed_column_makes_no_write_fail(cmp: Cmp) -> None:
    cmp.upsert("apollo")
    for statement, (change, fields) in SCHEMA_CHANGES.items():
        with Cmp(cmp.dsn) as session, session.conn.transaction(force_rollback=True):
            session.conn.execute("truncate omnicdc.change; set local allow_system_table_mods = on")
            session.conn.execute(statement)
            table: LiteralString = "ventures" if "ventures" in statement else "projects"
            session.conn.execute(f"update {table} set {change}")
            logged = session.value("select to_jsonb(fields) from omnicdc.change")
            session.conn.execute(f"delete from {table}")
            session.conn.execute(f"insert into {table} (id, name) values (%s, 'a')", [A])

            assert logged == fields, statement


def test_a_write_without_the_id_column_means_every_project(cmp: Cmp) -> None:
    cmp.upsert("apollo")
    cmp.conn.execute("truncate omnicdc.change; alter table projects rename id to uuid")

    cmp.conn.execute("update projects set status = 'x'")
    cmp.conn.execute("delete from projects")
    cmp.conn.execute("insert into projects (name) values ('artemis')")

    assert cmp.log() == [(None, "update", None), (None, "delete", None), (None, "insert", None)]


@pytest.mark.parametrize("kind", ["text", "bigint"])
def test_an_id_of_another_type_makes_no_write_fail(cmp: Cmp, kind: LiteralString) -> None:
    cmp.upsert("apollo")
    cmp.conn.execute(
        f"""truncate omnicdc.change; alter table projects alter id drop default,
            alter id type {kind} using '7'::{kind}"""
    )
    cmp.conn.execute("update projects set status = 'x'")
    cmp.conn.execute("delete from projects")

    assert cmp.log() == [(None, "update", None), (None, "delete", None)]


REMOVALS: list[LiteralString] = [
    "drop schema omnicdc cascade",
    "drop table omnicdc.change cascade",
    "drop function omnicdc.log_row_1() cascade",
    "drop owned by omnicdc_owner cascade",
    "drop trigger omnicdc_log_row on projects",
]


def test_a_manual_removal_of_omnicdc_makes_no_write_fail(cmp: Cmp) -> None:
    cmp.upsert("apollo")
    for statement in REMOVALS:
        with cmp.conn.transaction(force_rollback=True):
            cmp.conn.execute(statement)
            project = cmp.upsert("artemis")
            cmp.upsert("artemis", id=project, status="archived")
            cmp.conn.execute("truncate projects")
            cmp.upsert("apollo")

            assert cmp.value("select count(*) from projects") == 1, statement


def test_postgresql_refuses_to_drop_what_the_triggers_need(cmp: Cmp) -> None:
    """The text of a trigger function alone does not stop a user from dropping the log that it writes."""
    refused: list[LiteralString] = [
        "drop schema omnicdc",
        "drop table omnicdc.change",
        "drop role omnicdc_owner",
    ]
    for statement in refused:
        with pytest.raises(psycopg.errors.DependentObjectsStillExist):
            cmp.conn.execute(statement)


def test_the_log_s_table_can_still_be_altered(cmp: Cmp) -> None:
    """A later migration will alter it."""
    cmp.conn.execute("alter table omnicdc.change add extra text; alter table omnicdc.change drop extra")
    project = cmp.upsert("apollo")

    assert cmp.log() == [(project, "insert", None)]


def test_the_log_s_table_can_be_rewritten_by_a_migration_that_drops_the_triggers_first(cmp: Cmp) -> None:
    """The minor releases of 2026 (15.20) refuse to rewrite a table whose row type a trigger uses."""
    names = ("omnicdc_log_row", "omnicdc_log_update", "omnicdc_log_truncate")
    cmp.conn.execute("\n".join(f"drop trigger {name} on projects;" for name in names).encode())
    cmp.conn.execute("alter table omnicdc.change alter op type varchar(10)")
    with db.connect(cmp.dsn) as conn:
        install.install(conn, projects())
    project = cmp.upsert("apollo")

    assert cmp.log() == [(project, "insert", None)]


def test_cmp_s_table_can_be_dropped(cmp: Cmp) -> None:
    cmp.upsert("apollo")
    cmp.conn.execute("drop table projects")

    assert cmp.value("select count(*) from omnicdc.change") == 1


def test_a_session_with_an_outdated_plan_logs_whole_rows(cmp: Cmp) -> None:
    """PL/pgSQL keeps its plan and raises an error for the new type. The trigger catches that error, too."""
    with cmp.connect() as writer:
        project = cmp.upsert("apollo", conn=writer)
        cmp.upsert("artemis", id=project, conn=writer)
        cmp.conn.execute(
            "alter table projects alter key type varchar(40); alter table projects drop column type"
        )
        writer.execute("update projects set status = 'x'")

    assert cmp.log() == [
        (project, "insert", None),
        (project, "update", ("name",)),
        (project, "update", WHOLE_ROW),
    ]
