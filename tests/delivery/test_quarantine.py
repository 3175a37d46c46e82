"""The quarantine: only differences are logged and stored. `wait` knows every entry, even of a long list."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support.session import opened

from omnicdc import db
from omnicdc.answers.status import status
from omnicdc.delivery import wait as waits
from omnicdc.delivery.quarantine import LISTED, Difference, differences, listed

if TYPE_CHECKING:
    from support.cmp import Cmp
    from support.host import Host

REGISTRY = "PROJECT_REGISTRY_V1.yaml"


def nameless(cmp: Cmp, number: int) -> list[str]:
    """Insert projects that the project registry cannot show; return their ids."""
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


def test_the_acknowledgement_lists_some_entries_and_counts_all(cmp: Cmp, host: Host) -> None:
    """Regression: each generation wrote and logged the whole quarantine."""
    held = nameless(cmp, 250)
    with opened(host) as one:
        one.publish()
        row = cmp.consumer("host")
        with db.connect(cmp.dsn) as conn:
            answer = status(conn)
        fault = [line for line in answer["faults"] if "more projects are held back" in line]

    assert len(row["quarantined"][REGISTRY]) == LISTED
    assert row["quarantined_counts"] == {REGISTRY: 250}
    assert set(stored(cmp)) == set(held)
    assert ["150 more projects" in line for line in fault] == [True]


def test_a_wait_for_an_entry_that_is_not_listed_ends_as_quarantined(cmp: Cmp, host: Host) -> None:
    """P5: the wait for a project that can be shown ends with `published`."""
    nameless(cmp, 250)
    with opened(host) as one:
        one.publish()
        listed_projects = set(cmp.consumer("host")["quarantined"][REGISTRY])
        beyond = next(project for project in stored(cmp) if project not in listed_projects)
        with cmp.transaction() as (conn, bad):
            conn.execute("update projects set status = 'snapshot' where id = %s", [beyond])
        with cmp.transaction() as (conn, good):
            cmp.upsert("apollo", conn=conn)
        one.publish()
        verdicts = [cmp.wait(token, timeout_s=0) for token in (bad, good, None)]
        with db.connect(cmp.dsn) as client:
            seen = waits.observe(client, waits.Goal(good, "1:1:"))

    assert [verdict.status for verdict in verdicts] == ["quarantined", "published", "quarantined"]
    assert beyond in verdicts[0].detail
    assert seen.consumers[0].quarantined == {}


def test_only_changed_entries_are_stored(cmp: Cmp, host: Host) -> None:
    held = nameless(cmp, 5)
    with opened(host) as one:
        one.publish()
        before = cmp.conn.execute("select key, xmin::text from omnicdc.quarantine").fetchall()
        cmp.conn.execute("update projects set name = 'named' where id = %s", [held[0]])
        one.publish()
        after = cmp.conn.execute("select key, xmin::text from omnicdc.quarantine").fetchall()

    assert set(after) == {(project, xmin) for project, xmin in before if project != held[0]}


def test_a_new_session_corrects_the_stored_quarantine(cmp: Cmp, host: Host) -> None:
    held = nameless(cmp, 3)
    with opened(host) as one:
        one.publish()
    cmp.conn.execute("update projects set name = 'named' where id = %s", [held[0]])
    with opened(host) as one:
        one.publish()

    assert set(stored(cmp)) == set(held[1:])


def test_entries_that_were_deleted_with_the_consumer_are_stored_again(cmp: Cmp, host: Host) -> None:
    held = nameless(cmp, 3)
    with opened(host) as one:
        one.publish()
        cmp.conn.execute("delete from omnicdc.consumer")
        cmp.upsert("apollo")
        one.publish()

        assert set(stored(cmp)) == set(held)


def test_each_entry_is_logged_once_when_added_and_once_when_released(cmp: Cmp, host: Host) -> None:
    """Neither a generation nor a reconnect logs the whole quarantine again."""
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
def test_differences_of_two_quarantines(
    before: dict[str, dict[str, str]], now: dict[str, dict[str, str]], expected: list[Difference]
) -> None:
    assert differences(before, now) == expected


def test_the_list_is_limited_for_each_registry() -> None:
    many = {str(number): "why" for number in range(LISTED + 1)}

    assert [len(held) for held in listed({"a": many, "b": {"1": "x"}}).values()] == [LISTED, 1]
