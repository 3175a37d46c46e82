"""The watch list: the columns and keys that a SELECT reads, as PostgreSQL's own parser finds them.

A query that does more than a scanner may is refused.
"""

from __future__ import annotations

import pytest

from omnicdc.capture.watch_list import derive, fields_read
from omnicdc.errors import ConfigError
from omnicdc.registries.scanners import scanners


def test_the_registries_read_these_fields_and_no_others() -> None:
    expected = ("key", "metadata_.domain", "metadata_.github_url", "name", "status", "type")

    assert derive(scanners().values()).fields == expected


@pytest.mark.parametrize(
    ("query", "fields"),
    [
        ("select id, name from projects", {"name"}),
        ("select p.id, p.name as n from cms.projects p", {"name"}),
        ("select id, metadata_ ->> 'domain' from projects", {"metadata_.domain"}),
        ("select id, (p.metadata_ -> 'a') from projects p where status = 'x'", {"metadata_.a", "status"}),
        ("select id, metadata_ from projects", {"metadata_"}),
        ("select id, metadata_ -> 0 from projects", {"metadata_"}),
        ("select id, metadata_ ->> name from projects", {"metadata_", "name"}),
        ("select id, type::text, case when key is null then name end from projects", {"type", "key", "name"}),
        ('select id, "Odd Name" from projects order by status', {"Odd Name", "status"}),
    ],
)
def test_every_column_and_key_that_a_select_reads_is_found(query: str, fields: set[str]) -> None:
    assert fields_read(query, "x") == fields


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("select id name from from projects", "does not parse"),
        ("select id from projects; drop table projects", "one SELECT"),
        ("delete from projects", "one SELECT"),
        ("select id from projects for update", "lock rows"),
        ("select id into stolen from projects", "create a table"),
        ("select id, pg_sleep(10) from projects", "call functions"),
        ("select * from projects", "read all columns"),
        ("select a.id from projects a join secrets b on true", "exactly one table"),
        ("select id, (select max(x) from secrets) from projects", "call functions"),
        ("select 1", "exactly one table"),
        ("with x as (delete from projects returning id) select id from x", "exactly one table"),
    ],
)
def test_a_query_that_does_more_is_refused_with_a_reason(query: str, expected: str) -> None:
    with pytest.raises(ConfigError, match=expected) as refused:
        fields_read(query, "curious")

    assert "scanner curious" in str(refused.value)


def test_a_query_that_does_not_parse_is_refused_with_the_position() -> None:
    with pytest.raises(ConfigError, match="at character"):
        fields_read("select id frm projects where", "x")
