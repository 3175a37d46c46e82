"""What is read of the log is bounded, however long it is; and a live log says what was published."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from omnicdc import db
from omnicdc.answers.log import Follower, Question, read_log
from omnicdc.answers.log.entries import transactions, visible
from omnicdc.db import sql

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import LiteralString

    from support.cmp import Cmp

LONG = 20_000
PARAMS: dict[str, object] = {
    "key": None,
    "sources": [],
    "consumer": None,
    "since": None,
    "search": 100,
    "most": 10,
}


def rows_read(conn: db.Connection, name: str, **params: object) -> int:
    """Return how many rows the scans of a query read, by PostgreSQL's own count."""
    statement = "explain (analyze, timing off, format json) " + sql.query(name)
    found = conn.execute(statement.encode(), PARAMS | params).fetchone()
    assert found
    [plan] = found["QUERY PLAN"]
    return int(sum(_rows(node) for node in _nodes(plan["Plan"]) if node.get("Relation Name") == "change"))


def _nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for child in plan.get("Plans", ()):
        yield from _nodes(child)


def _rows(node: dict[str, Any]) -> float:
    return float((node["Actual Rows"] + node.get("Rows Removed by Filter", 0)) * node["Actual Loops"])


def test_of_a_long_log_only_the_newest_rows_are_read(cmp: Cmp) -> None:
    """One transaction of many rows, and ten of one row each."""
    cmp.fill(LONG)
    for number in range(10):
        cmp.upsert(f"later-{number}")
    cmp.conn.execute("analyze omnicdc.change")
    with db.connect(cmp.dsn) as conn:
        newest = rows_read(conn, "log_newest", most=12)
        of = rows_read(conn, "log_of", key="none", sources=["projects"])
        changes_of = rows_read(conn, "changes_of", key="none", sources=["projects"])
        found = read_log(conn, Question(most=20))
        part = read_log(conn, Question(most=5))
        searched = read_log(conn, Question("project", "x", "none", ("projects",), search=100))

    assert newest < 100
    assert of == changes_of == 100
    assert [it["rows"][0]["op"] for it in found["transactions"]] == ["insert"] * 11
    assert [it["complete"] for it in found["transactions"]] == [True] * 10 + [False]
    assert (len(part["transactions"]), part["more"], found["more"]) == (5, True, False)
    assert searched["searched_back_to"] is not None
    assert found["searched_back_to"] is None


def test_a_transaction_that_commits_late_is_followed_and_one_that_is_rolled_back_is_not(cmp: Cmp) -> None:
    with db.connect(cmp.dsn) as conn, cmp.connect() as late, cmp.connect() as undone:
        for other in (late, undone):
            other.execute("begin")
        cmp.upsert("late", conn=late)
        cmp.upsert("undone", conn=undone)
        follower = Follower(conn, Question())
        cmp.upsert("first")
        early = [*follower.new()]
        late.execute("commit")
        undone.execute("rollback")
        then = [*follower.new()]
        nothing = [*follower.new()]

    names = [[key["name"] for row in it["rows"] for key in row["keys"]] for it in (*early, *then)]  # type: ignore[typeddict-item]
    assert names == [["first"], ["late"]]
    assert nothing == []


@pytest.mark.parametrize("snapshot", ["10:10:", "10:20:12,15", "10:13:11"])
def test_visibility_is_judged_as_postgresql_does(cmp: Cmp, snapshot: str) -> None:
    tokens = [str(number) for number in range(8, 22)]
    query: LiteralString = (
        "select array_agg(pg_visible_in_snapshot(t::xid8, %s::pg_snapshot) order by n) "
        "from unnest(%s::text[]) with ordinality as u (t, n)"
    )

    assert [visible(token, snapshot) for token in tokens] == cmp.value(query, snapshot, tokens)


def test_groups_that_differ_only_in_their_writer_are_one() -> None:
    at = datetime(2026, 11, 27, 8, tzinfo=UTC)
    row = {
        "token": "7",
        "source": "projects",
        "op": "update",
        "fields": ["status"],
        "at": at,
        "every_row": False,
    }
    rows = [
        row | {"changes": 2, "keys": ["a", "a"], "writer": ["genesis", None, None]},
        row | {"changes": 1, "keys": ["b"], "writer": ["alice", "psql", None]},
    ]

    [found] = transactions(rows, [], {"a": "apollo"})

    assert found["changes"] == 3
    assert [writer["role"] for writer in found["writers"]] == ["genesis", "alice"]
    assert found["rows"] == [
        {
            "source": "projects", "op": "update", "fields": ["status"], "changes": 3, "every_row": False,
            "keys": [{"key": "a", "name": "apollo"}, {"key": "b", "name": None}],
        }
    ]  # fmt: skip
    assert json.loads(json.dumps(found)) == found
