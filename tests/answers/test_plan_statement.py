"""What the text of a statement says: what it writes, what registries read of it, and what is refused."""

from __future__ import annotations

import pytest

from omnicdc.answers.plan.reading import plan_static
from omnicdc.answers.plan.statement import statements_of
from omnicdc.config.settings import Config
from omnicdc.errors import ConfigError

CANONICAL, PROJECT, INVENTORY = (
    "canonical_projects_uuids.json", "PROJECT_REGISTRY_V1.yaml", "repo_inventory.json"
)  # fmt: skip
EVERY = [CANONICAL, PROJECT, INVENTORY]


@pytest.mark.parametrize(
    ("sql", "writes"),
    [
        ("update p set a = 1, b = 2", [("update", "p", ("a", "b"))]),
        ("update only s.p as x set (a, b) = (select 1, 2)", [("update", "s.p", ("a", "b"))]),
        ("insert into p (a) values (1)", [("insert", "p", None)]),
        (
            "insert into p (a) values (1) on conflict (a) do update set b = 2",
            [("insert", "p", None), ("update", "p", ("b",))],
        ),
        ("insert into p default values on conflict do nothing", [("insert", "p", None)]),
        ("truncate p, q", [("truncate", "p", None), ("truncate", "q", None)]),
        (
            """merge into p using q on true when matched and a then update set b = 1 when matched then delete
               when not matched then insert values (1)""",
            [("update", "p", ("b",)), ("delete", "p", None), ("insert", "p", None)],
        ),
        (
            "with d as (delete from q returning *) insert into p table d; -- ;\n/* ; */ delete from p;",
            [("insert", "p", None), ("delete", "q", None), ("delete", "p", None)],
        ),
        ("with d as (delete from q returning *) select * from d", [("delete", "q", None)]),
        ("update p set m['a'] = '1', m['b']['c'] = '2'", [("update", "p", ("m.a", "m.b"))]),
        ("update p set m = m || '{\"a\": 1, \"b\": 2}'::jsonb - 'c'", [("update", "p", ("m",))]),
        ("update p set m = (m || '{\"a\": 1}') - 'c'", [("update", "p", ("m.a", "m.c"))]),
        (
            "update p set m = jsonb_set(coalesce(m, '{}'), '{a,b}', '1') || jsonb_build_object('c', name)",
            [("update", "p", ("m.a", "m.c"))],
        ),
        ("update p set m = m || x, n = other || '{\"a\": 1}'", [("update", "p", ("m", "n"))]),
        ("update p set m = m - '{a,b}', n = n || '[1]'", [("update", "p", ("m", "n"))]),
    ],
)
def test_what_a_statement_writes(sql: str, writes: list[tuple[str, str, tuple[str, ...] | None]]) -> None:
    found = [write for one in statements_of(sql) for write in one.writes]

    assert sorted((it.operation, ".".join(it.table), it.fields) for it in found) == sorted(writes)


@pytest.mark.parametrize(
    ("sql", "named"),
    [
        ("create table a ()", "character 1: CREATE cannot be planned"),
        ("update a set b = 1; commit", "character 21: COMMIT cannot be planned"),
        ("update a set ä = 'ü';\n\n  copy a from stdin", "line 3, character 3: COPY cannot be planned"),
        ("/* x */ do $$ begin end $$", "character 9: DO cannot be planned"),
        ("call p()", "CALL cannot be planned"),
        ("set role x", "SET cannot be planned"),
        ("lock a", "LOCK cannot be planned"),
        ("explain analyze delete from a", "EXPLAIN cannot be planned"),
        ("prepare x as delete from a", "PREPARE cannot be planned"),
        ("notify x", "NOTIFY cannot be planned"),
        ("select nextval('x')", "this SELECT writes no table"),
        ("with d as (delete from q returning *) select * into x from d", "SELECT INTO creates a table"),
        ("update a set", "the SQL does not parse: syntax error at end of input, character 13"),
        ("update \0", "a NUL character"),
        (f"update a set m = m {'- $$b$$' * 2000}", "nested too deeply"),
        (" ;; -- x", "there is no statement"),
    ],
)
def test_what_cannot_be_planned_is_refused_with_its_place(sql: str, named: str) -> None:
    with pytest.raises(ConfigError) as raised:
        statements_of(sql)

    assert named in str(raised.value)
    assert raised.value.hint or "parse" in named


@pytest.mark.parametrize(
    ("sql", "watched", "unwatched", "registries"),
    [
        ("update projects set status = 'x', updated_at = now()", ["status"], ["updated_at"], EVERY[:2]),
        ("update public.projects set description = 'x'", [], ["description"], []),
        ("update projects set metadata_['domain'] = '1'", ["metadata_.domain"], [], EVERY[:2]),
        ("update projects set metadata_['other'] = '1'", [], ["metadata_.other"], []),
        (
            "update projects set metadata_ = '{}'",
            ["metadata_.domain", "metadata_.github_url"], [], EVERY,
        ),
        ("update projects set id = gen_random_uuid()", None, [], EVERY),
        ("delete from projects", None, [], EVERY),
        ("update other set status = 'x'", [], ["status"], []),
        ("update other.projects set status = 'x'", ["status"], [], EVERY[:2]),
    ],
)  # fmt: skip
def test_which_registries_read_what_is_written(
    sql: str, watched: list[str] | None, unwatched: list[str], registries: list[str]
) -> None:
    found = plan_static(Config(), statements_of(sql)).as_dict()
    [write] = found["statements"][0]["writes"]

    assert (write["watched"], write["unwatched"]) == (watched, unwatched)
    assert found["would_change"] == registries == write["registries"]
