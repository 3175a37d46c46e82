"""What is held back is logged, stored and waited for by what changed, however much it is."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support.session import opened

from omnicdc import db
from omnicdc.delivery import wait as waits
from omnicdc.delivery.quarantine import LISTED, Difference, differences, listed
from omnicdc.delivery.status import status

if TYPE_CHECKING:
    from support.cmp import Cmp
    from support.host import Host

REGISTRY = "PROJECT_REGISTRY_V1.yaml"


def nameless(cmp: Cmp, number: int) -> list[str]:
    """Insert projects that the project registry cannot show; returns their ids."""
    cmp.conn.execute("alter table projects alter name drop not null")
    rows = cmp.conn.execute(
        "insert into projects (key) select null from generate_series(1, %s) returning id::text", [number]
    ).fetchall()
    return [str(row[0]) for row in rows]


def stored(cmp: Cmp) -> dict[str, str]:
    rows = cmp.conn.execute(
        "select key, reason from omnicdc.quarantine where registry = %s", [REGISTRY]
    ).fetchall()
    return {str(project): str(reason) for project, reason in rows}


def test_the_acknowledgement_lists_some_and_counts_all(cmp: Cmp, host: Host) -> None:
    """The whole map was written, and logged, at each generation."""
    held = nameless(cmp, 250)
    with opened(host) as one:
        one.publish()
        row = cmp.consumer("host")
        with db.connect(cmp.dsn) as conn:
            told = status(conn)
        fault = [line for line in told["faults"] if "more projects are held back" in line]

    assert len(row["quarantined"][REGISTRY]) == LISTED
    assert row["quarantined_counts"] == {REGISTRY: 250}
    assert set(stored(cmp)) == set(held)
    assert ["150 more projects" in line for line in fault] == [True]


def test_a_wait_for_one_beyond_the_list_is_told(cmp: Cmp, host: Host) -> None:
    """P5: and one for a project that can be shown is not."""
    nameless(cmp, 250)
    with opened(host) as one:
        one.publish()
        listed_ones = set(cmp.consumer("host")["quarantined"][REGISTRY])
        beyond = next(project for project in stored(cmp) if project not in listed_ones)
        with cmp.transaction() as (conn, bad):
            conn.execute("update projects set status = 'snapshot' where id = %s", [beyond])
        with cmp.transaction() as (conn, good):
            cmp.upsert("apollo", conn=conn)
        one.publish()
        verdicts = [cmp.wait(token, timeout_s=0) for token in (bad, good, None)]
        with db.connect(cmp.dsn) as asker:
            seen = waits.observe(asker, waits.Goal(good, "1:1:"))

    assert [verdict.status for verdict in verdicts] == ["quarantined", "published", "quarantined"]
    assert beyond in verdicts[0].detail
    assert seen.consumers[0].quarantined == {}


def test_only_what_changed_is_stored(cmp: Cmp, host: Host) -> None:
    held = nameless(cmp, 5)
    with opened(host) as one:
        one.publish()
        before = cmp.conn.execute("select key, xmin::text from omnicdc.quarantine").fetchall()
        cmp.conn.execute("update projects set name = 'named' where id = %s", [held[0]])
        one.publish()
        after = cmp.conn.execute("select key, xmin::text from omnicdc.quarantine").fetchall()

    assert set(after) == {(project, xmin) for project, xmin in before if project != held[0]}


def test_a_new_session_corrects_what_the_last_one_stored(cmp: Cmp, host: Host) -> None:
    held = nameless(cmp, 3)
    with opened(host) as one:
        one.publish()
    cmp.conn.execute("update projects set name = 'named' where id = %s", [held[0]])
    with opened(host) as one:
        one.publish()

    assert set(stored(cmp)) == set(held[1:])


def test_what_was_forgotten_with_the_consumer_is_stored_again(cmp: Cmp, host: Host) -> None:
    held = nameless(cmp, 3)
    with opened(host) as one:
        one.publish()
        cmp.conn.execute("delete from omnicdc.consumer")
        cmp.upsert("apollo")
        one.publish()

        assert set(stored(cmp)) == set(held)


def test_a_row_is_one_line_when_it_enters_and_when_it_leaves(cmp: Cmp, host: Host) -> None:
    """Not the whole map at each generation, nor after a reconnect."""
    daemon = host.daemon()
    [held] = nameless(cmp, 1)
    daemon.wait_for("quarantined", project=held)
    cmp.upsert("apollo")
    cmp.wait()
    cmp.value("select pg_terminate_backend(omnicdc.consumer_pid('host'))")
    daemon.wait_for("recovered")
    cmp.upsert("artemis")
    cmp.wait()
    cmp.conn.execute("update projects set name = 'named' where id = %s", [held])
    daemon.wait_for("quarantine_released", project=held)
    events = [event["event"] for event in daemon.events]
    published = [event["quarantined"] for event in daemon.events if event.get("quarantined")]

    assert (events.count("quarantined"), events.count("quarantine_released")) == (1, 1)
    assert {REGISTRY: 1} in published


@pytest.mark.parametrize(
    ("before", "now", "expected"),
    [
        ({}, {"a": {"1": "x"}}, [Difference("a", {"1": "x"}, ())]),
        ({"a": {"1": "x"}}, {"a": {"1": "y"}}, [Difference("a", {"1": "y"}, ())]),
        ({"a": {"1": "x", "2": "x"}}, {"a": {"2": "x"}}, [Difference("a", {}, ("1",))]),
        ({"a": {"1": "x"}}, {}, [Difference("a", {}, ("1",))]),
        ({"a": {"1": "x"}}, {"a": {"1": "x"}}, []),
    ],
)
def test_differences(
    before: dict[str, dict[str, str]], now: dict[str, dict[str, str]], expected: list[Difference]
) -> None:
    assert differences(before, now) == expected


def test_the_list_is_bounded_by_registry() -> None:
    many = {str(number): "why" for number in range(LISTED + 1)}

    assert [len(held) for held in listed({"a": many, "b": {"1": "x"}}).values()] == [LISTED, 1]
