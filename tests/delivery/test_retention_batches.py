"""Retention works in batches: a new change does not wait for it, and no statement reads the whole log."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support.session import opened

from omnicdc import db
from omnicdc.answers.status import status
from omnicdc.daemon.periodic import PeriodicTasks
from omnicdc.delivery.retention import FEWEST, MOST, Retention, next_size

if TYPE_CHECKING:
    from support.cmp import Cmp
    from support.host import Host

OLD = "8 days"


def old_log(cmp: Cmp, rows: int, transactions: int = 1) -> None:
    """Put changes of a week ago into the log."""
    for _ in range(transactions):
        cmp.conn.execute(
            """insert into omnicdc.change (source, key, op, at)
               select 1, gen_random_uuid()::text, 'insert', clock_timestamp() - interval '8 days'
                 from generate_series(1, %s)""",
            [rows // transactions],
        )


def count(cmp: Cmp) -> int:
    return int(cmp.value("select count(*) from omnicdc.change"))


def read(cmp: Cmp, table: str, query: str) -> tuple[int, int]:
    """Run a query.

    Return its number of sequential scans of a table, and the number of rows fetched by an index.
    """
    with cmp.connect() as conn, conn.transaction():
        conn.execute(query.encode())
        row = conn.execute(
            """select coalesce(seq_scan, 0), coalesce(idx_tup_fetch, 0) from pg_stat_xact_all_tables
                where relid = ('omnicdc.' || %s)::regclass""",
            [table],
        ).fetchone()
    assert row
    return row[0], row[1]


def test_a_batch_deletes_the_given_number_of_the_oldest_changes(cmp: Cmp) -> None:
    old_log(cmp, 1000, transactions=10)
    deleted = cmp.value("select changes from omnicdc.prune('7 days', '1 day', 250)")
    oldest_left = cmp.value("select min(xid::text::bigint) from omnicdc.change")
    pruned_below = cmp.value("select pruned_below::text::bigint from omnicdc.source")

    assert (deleted, count(cmp)) == (250, 750)
    # The batch ended within a transaction. Consumers that read this transaction learn that rows are missing.
    assert pruned_below == oldest_left + 1


def test_pruning_does_not_scan_the_whole_log(cmp: Cmp) -> None:
    """Regression: each minute cost a full scan."""
    old_log(cmp, 20_000, transactions=4)
    cmp.fill(5_000)
    cmp.conn.execute("analyze omnicdc.change")
    whole, fetched = read(cmp, "change", "select changes from omnicdc.prune('7 days', '1 day', 100)")
    cmp.conn.execute("delete from omnicdc.change where at < clock_timestamp() - interval '1 day'")
    idle_whole, idle_fetched = read(
        cmp, "change", "select changes from omnicdc.prune('7 days', '1 day', 100)"
    )

    assert whole == idle_whole == 0
    assert fetched <= 200
    assert idle_fetched <= 100


def test_a_change_is_published_before_the_round_ends(cmp: Cmp, host: Host) -> None:
    """Regression: a change waited for one DELETE of the whole backlog."""
    old_log(cmp, 12_000)
    with opened(host) as one:
        one.publish()
        tasks = PeriodicTasks(one.conn, one.state, one.inputs, one.canary)
        tasks._retention.begin()
        tasks.run()
        apollo = cmp.upsert("apollo")
        generation = one.publish()
        unfinished, left = tasks._retention.due_in_s < float("inf"), count(cmp)
        tasks._retention.finish(60)

    assert generation
    assert (generation.changes, unfinished, left > 1) == (1, True, True)
    assert cmp.log() == [(apollo, "insert", None)]


def test_a_round_ends_when_few_old_changes_are_left(cmp: Cmp) -> None:
    """While CMP is written, a few rows become old enough all the time.

    A round that went on for them would never start again at the oldest row.
    """
    old_log(cmp, 10)
    cmp.fill(200)
    few, more = (
        cmp.conn.execute("select changes, more from omnicdc.prune('7 days', '1 day', 100)").fetchone() or ()
    )
    old_log(cmp, 100)
    cmp.conn.execute("delete from omnicdc.change where at > clock_timestamp() - interval '1 day'")
    many, on = (
        cmp.conn.execute("select changes, more from omnicdc.prune('7 days', '1 day', 100)").fetchone() or ()
    )

    assert (few, more) == (10, False)
    assert (many, on) == (100, True)


def test_a_short_statement_timeout_does_not_stop_pruning(cmp: Cmp, host: Host) -> None:
    """Regression: one large DELETE hit the timeout, and cost a session and a full scan each minute."""
    old_log(cmp, 60_000)
    with opened(host) as one:
        one.publish()
        one.conn.execute("set statement_timeout = '200ms'")
        retention = Retention(one.conn, one.state)
        retention.finish(60)

        assert count(cmp) == 0
        assert one.state.pruning is None


def test_a_lock_that_prevents_pruning_is_reported_until_it_is_released(cmp: Cmp, host: Host) -> None:
    """Another session locks the log: the daemon does not wait, and reports the cause."""
    old_log(cmp, 100)
    with opened(host) as one:
        one.publish()
        retention = Retention(one.conn, one.state)
        with cmp.connect() as other, other.transaction():
            other.execute("lock table omnicdc.change in share mode")
            retention.finish(60)
            fault = one.state.pruning
            one.publish()
            with db.connect(cmp.dsn) as conn:
                faults = status(conn)["faults"]
        retention.finish(60)
        one.publish()

        assert fault
        assert any(fault.reason in line for line in faults)
        assert one.state.pruning is None
        assert count(cmp) == 0
    assert cmp.consumer("host")["last_error"] is None


def test_a_publication_with_a_column_list_that_prevents_pruning_is_reported(cmp: Cmp, host: Host) -> None:
    if cmp.conn.info.server_version < 150000:
        pytest.skip("column lists came with PostgreSQL 15")
    old_log(cmp, 100)
    with opened(host) as one:
        one.publish()
        cmp.conn.execute("create publication narrow for table omnicdc.change (xid)")
        retention = Retention(one.conn, one.state)
        retention.finish(60)

        assert one.state.pruning
        assert "column list" in one.state.pruning.hint


def test_concurrent_pruning_does_not_wait(cmp: Cmp) -> None:
    old_log(cmp, 100)
    with cmp.connect() as first, cmp.connect() as second:
        first.execute("begin")
        first.execute("select changes from omnicdc.prune('7 days', '1 day', 10)")
        second.execute("set lock_timeout = '1s'")
        found = second.execute("select changes, more from omnicdc.prune('7 days', '1 day', 10)").fetchone()
        first.execute("commit")

    assert found == (0, False)


def test_run_once_prunes_the_log(cmp: Cmp, host: Host) -> None:
    old_log(cmp, 1000)
    host.once()

    assert count(cmp) == 0


@pytest.mark.parametrize(
    ("size", "took_s", "expected"),
    [
        (500, 0.001, 1000),
        (500, 0.02, 500),
        (500, 0.5, 250),
        (500, None, 250),
        (FEWEST, 9.0, FEWEST),
        (MOST, 0.0, MOST),
    ],
)
def test_the_size_of_a_batch_follows_the_time_that_it_takes(
    size: int, took_s: float | None, expected: int
) -> None:
    assert next_size(size, took_s) == expected


def generations(cmp: Cmp, number: int) -> list[tuple[int, str]]:
    """Insert acknowledged generations, each after its own transaction; return each number and consumer."""
    cmp.conn.execute(
        """insert into omnicdc.consumer (name, snapshot, system_identifier, timeline, generation, host, root,
                                         version)
           values ('here', '1:1:', 1, 1, 1, 'h', 'r', 'v'), ('there', '1:1:', 1, 1, 1, 'h', 'r', 'v')"""
    )
    rows = cmp.conn.execute(
        """insert into omnicdc.history (consumer, generation, snapshot, changes, registries)
           select case when i % 3 = 0 then 'there' else 'here' end, i,
                  format('%%s:%%s:', 1000 + i, 1000 + i)::pg_snapshot, 1, '{}'
             from generate_series(1, %s) i returning consumer, generation""".replace("i % 3", "i %% 3"),
        [number],
    ).fetchall()
    return [(int(generation), consumer) for consumer, generation in rows]


def test_the_first_generation_that_shows_a_transaction_is_found(cmp: Cmp) -> None:
    """Regression: the search read a week of generations, the oldest first."""
    generations(cmp, 2000)
    with db.connect(cmp.dsn) as conn:
        for token in (5, 1000, 1001, 1002, 1003, 1500, 2997, 2998, 2999, 3000):
            [expected] = cmp.conn.execute(
                """select min(h.id) from omnicdc.history h where h.consumer = 'here'
                      and pg_visible_in_snapshot(%s::text::xid8, h.snapshot)""",
                [str(token)],
            ).fetchall()
            found = conn.execute(
                "select min(id) as id from omnicdc.delivery('here', %s::text::xid8)", [str(token)]
            ).fetchone()
            assert found
            assert found["id"] == expected[0], token


def test_the_search_for_a_generation_reads_few_rows(cmp: Cmp) -> None:
    generations(cmp, 20_000)
    cmp.conn.execute("analyze omnicdc.history")
    newest = read(cmp, "history", "select omnicdc.delivery('here', '20999')")
    oldest = read(cmp, "history", "select omnicdc.delivery('here', '1500')")

    assert newest[0] == oldest[0] == 0
    assert newest[1] < 10
    assert oldest[1] < 60


def test_pruning_the_history_uses_an_index(cmp: Cmp) -> None:
    generations(cmp, 20_000)
    cmp.conn.execute(
        "update omnicdc.history set at = at - interval '8 days' where id <= 30; analyze omnicdc.history"
    )
    whole, fetched = read(cmp, "history", "select changes from omnicdc.prune('7 days', '100 years', 100)")

    assert cmp.value("select count(*) from omnicdc.history") == 19_970
    assert whole == 0
    assert fetched < 500


def test_status_estimates_a_long_log_and_limits_the_count(cmp: Cmp, host: Host) -> None:
    """Regression: `status` and `wait` counted the whole log."""
    host.once()
    cmp.fill(9_999)
    with db.connect(cmp.dsn) as conn:
        exact = status(conn)
        old_log(cmp, 11_000)
        cmp.conn.execute("analyze omnicdc.change")
        estimated = status(conn)

    assert (exact["log"]["changes"], exact["log"]["estimated"]) == (9_999, False)
    assert exact["consumers"][0]["behind"] == 9_999
    assert estimated["log"]["changes"] == pytest.approx(20_999, rel=0.2)
    assert estimated["log"]["estimated"]
    assert estimated["consumers"][0]["behind"] == 10_000
    assert estimated["consumers"][0]["lag_s"] > 0
