"""P5: a schema change that gives CMP's rows other values alters the capture's fingerprint.

Such a change writes no row. A change that alters no value keeps the fingerprint.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from omnicdc import db
from omnicdc.capture.fingerprint import fingerprint

if TYPE_CHECKING:
    from typing import LiteralString

    from support.cmp import Cmp

ALTERING_CHANGES: dict[str, tuple[LiteralString, LiteralString]] = {
    "an enum's label": (
        (
            "create type label as enum ('active', 'frozen'); "
            "alter table projects alter status type label using 'active'"
        ),
        "alter type label rename value 'active' to 'live'",
    ),
    "an enum's label, renamed and renamed back": (
        (
            "create type label as enum ('active', 'frozen'); "
            "alter table projects alter status type label using 'active'"
        ),
        "alter type label rename value 'active' to 'live'; alter type label rename value 'live' to 'active'",
    ),
    "the enum below two domains": (
        """create type label as enum ('active', 'frozen'); create domain inner_status as label;
           create domain outer_status as inner_status;
           alter table projects alter status type outer_status using 'active'""",
        "alter type label rename value 'active' to 'live'",
    ),
    "the enum in an array": (
        (
            "create type label as enum ('active', 'frozen'); alter table projects alter status type label[] "
            "using '{active}'"
        ),
        "alter type label rename value 'active' to 'live'",
    ),
    "the enum in a composite type in an array": (
        """create type label as enum ('active', 'frozen'); create type pair as (a label, b text);
           alter table projects alter status type pair[] using array['(active,x)'::pair]""",
        "alter type label rename value 'active' to 'live'",
    ),
    "the enum in a range": (
        """create type label as enum ('active', 'frozen'); create type span as range (subtype = label);
           alter table projects alter status type span using '[active,frozen]'""",
        "alter type label rename value 'active' to 'live'",
    ),
    "the enum in a multirange": (
        """create type label as enum ('active', 'frozen');
           create type span as range (subtype = label, multirange_type_name = spans);
           alter table projects alter status type spans using '{[active,frozen]}'""",
        "alter type label rename value 'active' to 'live'",
    ),
    "the row type of another table": (
        "create table other (a text); alter table projects alter status type other using row('x')::other",
        "alter table other rename a to b",
    ),
    "a cast to text that is added": (
        """create type label as enum ('active', 'frozen');
           alter table projects alter status type label using 'active';
           create function spelled(label) returns text language sql immutable as $$ select 'x' $$""",
        "create cast (label as text) with function spelled (label)",
    ),
    "the function of a cast": (
        """create type label as enum ('active', 'frozen');
           alter table projects alter status type label using 'active';
           create function spelled(label) returns text language sql immutable as $$ select 'x' $$;
           create cast (label as text) with function spelled (label)""",
        "create or replace function spelled(label) returns text language sql immutable as $$ select 'y' $$",
    ),
    "a function below the function of a cast": (
        """create type label as enum ('active', 'frozen');
           alter table projects alter status type label using 'active';
           create function deepest() returns text language sql immutable as $$ select 'x' $$;
           create function deep(label, text) returns text language sql immutable
             begin atomic select deepest(); end;
           create operator public.@@@ (leftarg = label, rightarg = text, function = deep);
           create function spelled(it label) returns text language sql immutable
             begin atomic select it operator(public.@@@) 'x'; end;
           create cast (label as text) with function spelled (label)""",
        "create or replace function deepest() returns text language sql immutable as $$ select 'y' $$",
    ),
    "a cast of one of PostgreSQL's own types": (
        """alter table projects alter status type uuid using id;
           create function spelled(uuid) returns text language sql immutable as $$ select 'x' $$""",
        "create cast (uuid as text) with function spelled (uuid)",
    ),
    "a column's modifier": ("select", "alter table projects alter status type varchar(40)"),
    "a column's collation": ("select", 'alter table projects alter status type text collate "C"'),
    "a stored column's expression": (
        """alter table projects drop status, add status text generated always as (name || '!') stored""",
        "alter table projects alter status drop expression",
    ),
}

HARMLESS_CHANGES: tuple[LiteralString, ...] = (
    "insert into projects (name) values ('atlas'); update projects set name = 'gemini'; delete from projects",
    "analyze projects",
    "create type other as enum ('a'); alter type other rename value 'a' to 'b'",
    "alter table projects add column budget integer default 5",
    "create index on projects (name)",
    "comment on table projects is 'x'",
    "create table another (status label); drop table another",
)


def capture_fingerprint(cmp: Cmp) -> str:
    with db.connect(cmp.dsn) as conn:
        return fingerprint(conn)


@pytest.mark.parametrize("case", ALTERING_CHANGES)
def test_a_schema_change_that_alters_values_alters_the_fingerprint(cmp: Cmp, case: str) -> None:
    setup, statement = ALTERING_CHANGES[case]
    cmp.upsert("atlas")
    cmp.conn.execute(setup)
    before = capture_fingerprint(cmp)
    again = capture_fingerprint(cmp)
    cmp.conn.execute(statement)

    assert again == before
    assert capture_fingerprint(cmp) != before


def test_a_new_expression_of_a_virtual_column_alters_the_fingerprint(cmp: Cmp) -> None:
    """`install` refuses a virtual column, but a user may add one later."""
    if cmp.conn.info.server_version < 180000:
        pytest.skip("virtual columns came with PostgreSQL 18")
    cmp.conn.execute(
        "alter table projects drop status, add status text generated always as (name || '!') virtual"
    )
    before = capture_fingerprint(cmp)
    cmp.conn.execute("alter table projects alter status set expression as (name || '?')")

    assert capture_fingerprint(cmp) != before


def test_a_change_that_alters_no_value_keeps_the_fingerprint(cmp: Cmp) -> None:
    cmp.conn.execute(
        "create type label as enum ('active'); alter table projects alter status type label using null"
    )
    before = capture_fingerprint(cmp)
    for statement in HARMLESS_CHANGES:
        cmp.conn.execute(statement)

        assert capture_fingerprint(cmp) == before, statement


def test_the_fingerprint_is_read_in_the_session_s_snapshot(cmp: Cmp) -> None:
    """So a scan in one snapshot must read the fingerprint outside of that snapshot."""
    cmp.conn.execute(
        "create type label as enum ('active'); alter table projects alter status type label using null"
    )
    with db.connect(cmp.dsn) as conn:
        before = fingerprint(conn)
        with db.one_snapshot(conn):
            first = fingerprint(conn)
            cmp.conn.execute("alter type label rename value 'active' to 'live'")
            inside = fingerprint(conn)
        after = fingerprint(conn)

    assert before == first == inside != after
