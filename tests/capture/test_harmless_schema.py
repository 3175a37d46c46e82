"""P4: whatever CMP's owners do to their schema, or to ours, CMP's writes go on.

What is unclear is logged whole.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import psycopg
import pytest
from support.cmp import Cmp

if TYPE_CHECKING:
    from typing import LiteralString

WHOLE = None
A = "00000000-0000-0000-0000-00000000000a"

DEEDS: dict[LiteralString, tuple[LiteralString, object]] = {
    "alter table projects drop column status": ("name = 'x'", WHOLE),
    "alter table projects rename status to state": ("state = 'x'", WHOLE),
    "alter table projects rename metadata_ to metadata": ("name = 'x'", WHOLE),
    "alter table projects alter metadata_ type text": ("name = 'x'", WHOLE),
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


def test_a_column_that_is_dropped_renamed_or_retyped_breaks_no_write(cmp: Cmp) -> None:
    cmp.upsert("apollo")
    for deed, (change, fields) in DEEDS.items():
        with Cmp(cmp.dsn) as session, session.conn.transaction(force_rollback=True):
            session.conn.execute("truncate omnicdc.change; set local allow_system_table_mods = on")
            session.conn.execute(deed)
            table: LiteralString = "ventures" if "ventures" in deed else "projects"
            session.conn.execute(f"update {table} set {change}")
            logged = session.value("select to_jsonb(fields) from omnicdc.change")
            session.conn.execute(f"delete from {table}")
            session.conn.execute(f"insert into {table} (id, name) values (%s, 'a')", [A])

            assert logged == fields, deed


def test_an_id_that_is_renamed_means_every_project(cmp: Cmp) -> None:
    cmp.upsert("apollo")
    cmp.conn.execute("truncate omnicdc.change; alter table projects rename id to uuid")

    cmp.conn.execute("update projects set status = 'x'")
    cmp.conn.execute("delete from projects")
    cmp.conn.execute("insert into projects (name) values ('artemis')")

    assert cmp.log() == [(None, "update", None), (None, "delete", None), (None, "insert", None)]


@pytest.mark.parametrize("kind", ["text", "bigint"])
def test_an_id_of_another_type_breaks_no_write(cmp: Cmp, kind: LiteralString) -> None:
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
    "drop function omnicdc.log_row() cascade",
    "drop owned by omnicdc_owner cascade",
    "drop trigger omnicdc_log_row on projects",
]


def test_omnicdc_taken_out_by_hand_breaks_no_write(cmp: Cmp) -> None:
    cmp.upsert("apollo")
    for deed in REMOVALS:
        with cmp.conn.transaction(force_rollback=True):
            cmp.conn.execute(deed)
            project = cmp.upsert("artemis")
            cmp.upsert("artemis", id=project, status="archived")
            cmp.conn.execute("truncate projects")
            cmp.upsert("apollo")

            assert cmp.value("select count(*) from projects") == 1, deed


def test_what_would_break_cmp_s_writes_is_refused(cmp: Cmp) -> None:
    """The trigger functions' text alone would not keep anybody from dropping the log under them."""
    refused: list[LiteralString] = [
        "drop schema omnicdc",
        "drop table omnicdc.change",
        "drop role omnicdc_owner",
    ]
    for deed in refused:
        with pytest.raises(psycopg.errors.DependentObjectsStillExist):
            cmp.conn.execute(deed)


def test_the_log_s_table_can_still_be_altered(cmp: Cmp) -> None:
    """A later migration will."""
    cmp.conn.execute(
        """alter table omnicdc.change add extra text;
           alter table omnicdc.change alter extra type uuid using null;
           alter table omnicdc.change drop extra; alter table omnicdc.change alter op type varchar(10)"""
    )
    project = cmp.upsert("apollo")

    assert cmp.log() == [(project, "insert", None)]


def test_the_table_itself_can_be_dropped(cmp: Cmp) -> None:
    cmp.upsert("apollo")
    cmp.conn.execute("drop table projects")

    assert cmp.value("select count(*) from omnicdc.change") == 1


def test_a_session_that_planned_the_comparison_for_another_type_logs_whole_rows(cmp: Cmp) -> None:
    """PL/pgSQL keeps the plan, and refuses the new type: that is caught, too."""
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
        (project, "update", WHOLE),
    ]
