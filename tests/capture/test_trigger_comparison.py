"""P1 and P4: the trigger compares the text that a registry shows, whatever the column's type."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from support.sources import projects

from omnicdc import db
from omnicdc.capture import install
from omnicdc.errors import ConfigError

if TYPE_CHECKING:
    from typing import LiteralString

    from support.cmp import Cmp


def watch(cmp: Cmp, *watched: str) -> None:
    """Install the capture for these columns."""
    with db.connect(cmp.dsn) as conn:
        install.install(conn, projects("projects", watched))


def fields_after(cmp: Cmp, change: LiteralString) -> list[Any]:
    """Update every project. Return the changed fields of each row in the log."""
    cmp.conn.execute("truncate omnicdc.change")
    cmp.conn.execute(f"update projects set {change}")
    return [fields for _project, _op, fields in cmp.log()]


VALUES: dict[LiteralString, tuple[LiteralString, LiteralString]] = {
    "numeric": ("1.0", "1.00"),
    "interval": ("1 day", "24:00:00"),
    "json": ('{"a":1}', '{"a": 1}'),
    "point": ("(0,0)", "(0,1)"),
    "bytea": (r"\x00", r"\x01"),
    "text[]": ("{}", "{null}"),
    "char(8)": ("a", "A"),
    '"char"': ("a", "b"),
    "int4range": ("[1,2)", "empty"),
}


def test_a_column_of_any_type_is_compared_as_its_text(bare: Cmp) -> None:
    """For numeric and interval, two spellings are equal. json and point have no equality operator."""
    kinds = {f"kind_{at}": kind for at, kind in enumerate(VALUES)}
    for column, kind in kinds.items():
        bare.conn.execute(f"alter table projects add {column} {kind} default '{VALUES[kind][0]}'")
    watch(bare, *kinds)
    bare.upsert("apollo")

    for column, kind in kinds.items():
        assert fields_after(bare, f"{column} = '{VALUES[kind][1]}'") == [(column,)], kind
        assert fields_after(bare, f"{column} = '{VALUES[kind][1]}'") == [], kind
        assert fields_after(bare, f"{column} = null") == [(column,)], kind


@pytest.mark.parametrize("kind", ["json", "xml", "point"])
def test_an_unwatched_column_without_equality_makes_no_write_fail(bare: Cmp, kind: LiteralString) -> None:
    bare.conn.execute(f"alter table projects add column odd {kind}")
    watch(bare, "name", "status")
    project = bare.upsert("apollo")

    bare.upsert("apollo", id=project)

    assert bare.log() == [(project, "insert", None)]


def test_a_json_column_is_compared_like_jsonb(bare: Cmp) -> None:
    bare.conn.execute("alter table projects alter metadata_ type json")
    watch(bare, "metadata_.github_url")
    bare.conn.execute(
        """insert into projects (name, metadata_) values ('a', '{"github_url": "x", "domain": "y"}')"""
    )

    assert fields_after(bare, """metadata_ = '{"domain":"z","github_url":"x"}'""") == []
    assert fields_after(bare, """metadata_ = '{"github_url": "X"}'""") == [("metadata_.github_url",)]


def test_a_change_of_case_in_citext_is_logged(bare: Cmp) -> None:
    if not bare.value("select exists (select from pg_available_extensions where name = 'citext')"):
        pytest.skip("this PostgreSQL comes without citext")
    bare.conn.execute("create extension citext; alter table projects alter name type citext")
    watch(bare, "name")
    bare.upsert("apollo")

    assert fields_after(bare, "name = 'Apollo'") == [("name",)]


def test_a_change_that_the_collation_ignores_is_logged(bare: Cmp) -> None:
    try:
        bare.conn.execute(
            "create collation blind (provider = icu, locale = 'und-u-ks-level1', deterministic = false)"
        )
    except psycopg.errors.FeatureNotSupported:
        pytest.skip("this PostgreSQL comes without ICU")
    bare.conn.execute("alter table projects alter name type text collate blind")
    watch(bare, "name")
    bare.upsert("resume")

    assert fields_after(bare, "name = 'Résumé'") == [("name",)]


def test_a_large_value_that_is_stored_out_of_line_is_compared_in_full(bare: Cmp) -> None:
    watch(bare, "name", "status")
    bare.conn.execute("alter table projects alter status set storage external")
    bare.upsert("apollo", status="x" * 100_000)

    assert fields_after(bare, "name = 'artemis'") == [("name",)]
    assert fields_after(bare, "status = repeat('x', 99999) || 'y'") == [("status",)]
    assert fields_after(bare, "status = status") == []


def test_a_stored_generated_column_is_watched_like_any_other(bare: Cmp) -> None:
    bare.conn.execute(
        "alter table projects drop column status, add status text generated always as (lower(name)) stored"
    )
    watch(bare, "status")
    bare.conn.execute("insert into projects (name) values ('Apollo')")

    assert fields_after(bare, "name = 'APOLLO'") == []
    assert fields_after(bare, "name = 'artemis'") == [("status",)]


def test_a_watched_virtual_column_is_refused(bare: Cmp) -> None:
    """PostgreSQL 18 computes a virtual column only for readers. A trigger would miss its changes."""
    if bare.conn.info.server_version < 180000:
        pytest.skip("virtual columns came with PostgreSQL 18")
    bare.conn.execute(
        "alter table projects drop column status, add status text generated always as (lower(name)) virtual"
    )

    with pytest.raises(ConfigError, match=r"status.*virtual"):
        watch(bare, "name", "status")


def test_an_unwatched_virtual_column_makes_no_write_fail(bare: Cmp) -> None:
    if bare.conn.info.server_version < 180000:
        pytest.skip("virtual columns came with PostgreSQL 18")
    bare.conn.execute("alter table projects add loud text generated always as (upper(name)) virtual")
    watch(bare, "name", "status")
    bare.upsert("apollo")

    assert fields_after(bare, "name = 'artemis'") == [("name",)]


def test_a_json_key_may_contain_any_character(bare: Cmp) -> None:
    keys = ["it's", 'a"b', "a.b", "%s", "%1$s", "$note$", "back\\slash", "ключ", " "]
    watch(bare, *(f"metadata_.{key}" for key in keys))
    for key in keys:
        bare.conn.execute("truncate projects, omnicdc.change")
        bare.upsert("apollo")
        bare.conn.execute("truncate omnicdc.change")
        bare.conn.execute("update projects set metadata_ = jsonb_build_object(%s::text, 1)", [key])

        assert [fields for _, _, fields in bare.log()] == [(f"metadata_.{key}",)]
