"""What a SELECT over several tables reads, whether rows can be read alone, and what is refused."""

from __future__ import annotations

import pytest

from omnicdc.errors import ConfigError
from omnicdc.registries.reads import analyse

JOINED = "select p.id, a.name from projects p join agents a on a.project_id = p.id"


def fields(query: str) -> dict[str, set[str]]:
    return {source: set(found) for source, found in analyse(query, "x").fields.items()}


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        (JOINED, {"projects": {"id"}, "agents": {"name", "project_id"}}),
        (
            "select p.id, a.metadata_ ->> 'tier', p.metadata_ from projects p join agents a on a.p = p.id",
            {"projects": {"id", "metadata_"}, "agents": {"metadata_.tier", "p"}},
        ),
        (
            "select projects.id, agents.id from projects, agents where agents.p = projects.id",
            {"projects": {"id"}, "agents": {"id", "p"}},
        ),
        (
            "select p.id, (select count(*) from agents a where a.p = p.id and a.kind = 'x') from projects p",
            {"projects": {"id"}, "agents": {"p", "kind"}},
        ),
        (
            "with x as (select id, owner from agents where status = 'on') "  # noqa: ISC004
            "select p.id, x.owner from projects p join x on x.id = p.agent",
            {"projects": {"id", "agent"}, "agents": {"id", "owner", "status"}},
        ),
        (
            "select p.id, s.n from projects p join lateral "  # noqa: ISC004
            "(select count(*) as n from agents a where a.p = p.id and a.kind = p.type) s on true",
            {"projects": {"id", "type"}, "agents": {"p", "kind"}},
        ),
        ("select p.id, t.tag from projects p, unnest(p.tags) as t(tag)", {"projects": {"id", "tags"}}),
        (
            "select id, name from projects union all select id, kind from agents",
            {"projects": {"id", "name"}, "agents": {"id", "kind"}},
        ),
        (
            "select p.id, json_agg(a.name order by a.rank) filter (where a.kind = 'x') "  # noqa: ISC004
            "from projects p left join agents a on a.p = p.id group by p.id having count(a.role) > 0",
            {"projects": {"id"}, "agents": {"name", "rank", "kind", "p", "role"}},
        ),
    ],
)
def test_columns_and_keys_are_found_by_their_table(query: str, expected: dict[str, set[str]]) -> None:
    assert fields(query) == expected


@pytest.mark.parametrize(
    ("query", "main"),
    [
        (JOINED, "projects"),
        ("select a.id from agents a join projects p on p.id = a.p", "agents"),
        ("with x as (select id from agents) select p.id from projects p join x on x.id = p.id", "projects"),
        ("with x as (select id from agents) select x.id from x join projects p on x.id = p.id", "agents"),
        ("select s.id from (select id from agents) s", "agents"),
    ],
)
def test_the_first_table_of_from_is_the_main_one(query: str, main: str) -> None:
    assert analyse(query, "x").main == main


@pytest.mark.parametrize(
    ("query", "targeted"),
    [
        ("select id, name from projects", True),
        (JOINED, True),
        ("select p.id, a.id from projects p left join agents a on a.p = p.id", True),
        ("select p.id, a.id from projects p right join agents a on a.p = p.id", False),
        ("select p.id, a.id from projects p full join agents a on a.p = p.id", False),
        ("select a.id from agents b join projects p on true left join agents a on a.p = p.id", False),
        ("select p.id, json_agg(a.id) from projects p join agents a on a.p = p.id group by p.id", True),
        (
            "select p.id, p.key, max(a.id) from projects p join agents a on a.p = p.id group by p.id, p.key",
            True,
        ),
        ("select p.type, count(*) from projects p group by p.type", True),
        ("select p.type, count(*) from projects p group by p.name", False),
        ("select count(*) from projects", False),
        ("select lower(name), id from projects", False),
        ("select a.id, p.id from projects p join agents a on a.p = p.id", False),
        ("select distinct id from projects", False),
        ("select id, row_number() over (order by name) from projects", False),
        ("select id, json_arrayagg(name) over () as x from projects", False),
        ("select id, json_objectagg(key: name) from projects", False),
        ("select p.id, json_arrayagg(a.id) from projects p join agents a on a.p = p.id group by p.id", True),
        ("select id from projects limit 10", False),
        ("select id from projects union select id from agents", False),
        ("select p.id, (select count(*) from projects q where q.key = p.key) from projects p", False),
        ("select s.id from (select id from projects) s", False),
        ("select p.id, (select count(*) from agents a where a.p = p.id) from projects p", True),
    ],
)
def test_the_rows_of_some_keys_can_be_read_alone(query: str, targeted: bool) -> None:
    """A wrong yes would leave an entry stale; a wrong no costs a full scan."""
    assert analyse(query, "x").targeted is targeted


@pytest.mark.parametrize(
    ("query", "reason"),
    [
        ("select id, a.x from projects p join agents a on true", "name a column without its table"),
        ("select p.id, (select count(*) from agents where project = 1) from projects p", "without its table"),
        ("select p.id from projects p natural join agents a", "NATURAL, USING"),
        ("select p.id from projects p join agents a using (id)", "NATURAL, USING"),
        ("select p.id, p from projects p", "read a whole row"),
        ("select p.id, row_to_json(p) from projects p", "read a whole row"),
        ("select p.* from projects p", "read all columns"),
        ("select id from cms.projects", "name a schema"),
        ("select id from only projects", "read ONLY a table"),
        ("select id from projects order by name", "be ordered"),
        ("select id, current_timestamp from projects", "depend on the clock or the session"),
        ("select id, current_user from projects", "depend on the clock or the session"),
        ("select id, ' NOW '::timestamptz from projects", "depend on the clock"),
        ("select id, date 'today' - 1 as x from projects", "depend on the clock"),
        ("select id from projects where created_at > 'yesterday'", "depend on the clock"),
        ("select id from projects where created_at > 'yesterday 10:00'", "depend on the clock"),
        ("select id, public.mine(name) from projects", "use functions but those of pg_catalog"),
        ("select id, name::public.mine from projects", "use types but those of pg_catalog"),
        ("select p.id, p.kind from projects as p(id, kind, name)", "give the columns of a table other names"),
        ("select j.id from (projects p join agents a on a.p = p.id) as j", "give a join a name"),
        ("select id, name operator(public.===) any (select 'x') from projects", "use operators but those"),
        (
            "select id, array_agg(name order by name using operator(public.<)) from projects",
            "use operators but",
        ),
        ("select id, name collate evil.coll as x from projects", "use collations but those of pg_catalog"),
        ("select p.id, j.x from projects p, json_to_record('{}') as j(x public.mine)", "use types but those"),
        ("select id, name::regclass from projects", "look up objects by their names"),
        ("select id from projects where id = $1", "have parameters"),
        ("with recursive x as (select id from projects) select id from x", "be recursive"),
        ("with x as (delete from projects returning id) select id from x", "write"),
        ("select p.id, z.name from projects p", "no table is named z there"),
        ("select 1", "must read a table"),
        ("values (1)", "must read a table"),
        ("select id from projects for share", "lock rows"),
        ("select id from projects tablesample system (1)", "read from RangeTableSample"),
    ],
)
def test_what_a_query_must_not_do_is_refused_with_the_reason(query: str, reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        analyse(query, "x")


def test_a_refusal_names_scanner_and_position() -> None:
    with pytest.raises(ConfigError, match=r"scanner curious: .* at character 13"):
        analyse("select p.id, name from projects p join agents a on true", "curious")


def test_functions_are_collected_for_the_server_to_judge() -> None:
    query = "select p.id, concat(p.name, lower(p.key)), pg_catalog.md5(p.type) from projects p"

    assert analyse(query, "x").functions == {"concat", "lower", "md5"}


@pytest.mark.parametrize(
    ("expression", "watched"),
    [
        ("metadata_ ->> 'tier'", {"id", "metadata_.tier"}),
        ("metadata_ -> 'tier'", {"id", "metadata_"}),
        ("metadata_ #>> '{a,b}'", {"id", "metadata_"}),
        ("upper(metadata_ ->> 'tier')", {"id", "metadata_.tier"}),
    ],
)
def test_a_key_of_a_json_column_is_watched_only_where_its_text_is_read(
    expression: str, watched: set[str]
) -> None:
    """The json of two values may differ where their text is equal: "1" and 1."""
    assert analyse(f"select id, {expression} as x from projects", "x").fields["projects"] == watched


@pytest.mark.parametrize("text", ["'now'::text", "'nowhere'", "'it is now!?'", "'today'::varchar"])
def test_words_of_the_clock_are_welcome_where_they_are_text(text: str) -> None:
    assert analyse(f"select id, {text} as x from projects", "x").columns == ("id", "x")
