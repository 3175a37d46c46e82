"""A change is pruned when every live consumer has read it and it is older than the retention."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from support.cmp import Cmp

from omnicdc import db

AT_ONCE = "-1 second"
"""A retention that every change exceeds, even one of this instant."""


def prune(cmp: Cmp, *, history: str = AT_ONCE, silent: str = "1 day") -> int:
    """Prune; return the number of deleted changes."""
    return int(cmp.value("select changes from omnicdc.prune(%s::interval, %s::interval)", history, silent))


def consumer(cmp: Cmp, name: str, snapshot: str | None = None, *, seen: str = "0 seconds ago") -> None:
    """Insert or move a consumer. By default its checkpoint is what is visible now."""
    cmp.conn.execute(
        """insert into omnicdc.consumer (name, snapshot, system_identifier, timeline, generation, host, root,
                                         version, seen_at)
           values (%s, coalesce(%s, pg_current_snapshot()::text)::pg_snapshot, 1, 1, 1, 'h', 'r', 'v',
                   clock_timestamp() + %s::interval)
           on conflict (name) do update set snapshot = excluded.snapshot, seen_at = excluded.seen_at""",
        [name, snapshot, seen],
    )


def snapshot(cmp: Cmp) -> str:
    """Return what is visible now."""
    return str(cmp.value("select pg_current_snapshot()::text"))


def test_changes_that_every_live_consumer_has_read_are_pruned(cmp: Cmp) -> None:
    cmp.upsert("apollo")
    consumer(cmp, "one")
    consumer(cmp, "two")

    assert prune(cmp) == 1
    assert prune(cmp) == 0


def test_changes_that_a_live_consumer_has_not_read_stay(cmp: Cmp) -> None:
    cmp.upsert("read by both")
    before = snapshot(cmp)
    kept = cmp.upsert("read by one")
    consumer(cmp, "behind", before)
    consumer(cmp, "ahead")

    assert prune(cmp) == 1
    assert cmp.log() == [(kept, "insert", None)]


def test_a_change_that_was_committed_late_stays_until_it_is_read(cmp: Cmp) -> None:
    """Its transaction id is lower than others that were read before."""
    with cmp.connect() as slow:
        with slow.transaction():
            late = cmp.upsert("late", conn=slow)
            cmp.upsert("early")
            consumer(cmp, "here")
        assert prune(cmp) == 0
        assert {project for project, _, _ in cmp.log()} > {late}

        with db.connect(cmp.dsn) as conn:
            last = cmp.value("select snapshot::text from omnicdc.consumer")
            assert [
                row["projects"] for row in db.fetch_all(conn, "changes", {"last": last, "most": None})
            ] == [[late]]


def test_an_expired_consumer_does_not_keep_the_log(cmp: Cmp) -> None:
    before = snapshot(cmp)
    cmp.upsert("apollo")
    consumer(cmp, "silent", before, seen="2 days ago")
    consumer(cmp, "alive")

    assert prune(cmp, silent="3 days") == 0
    assert prune(cmp, silent="1 day") == 1


def test_without_consumers_changes_that_all_transactions_see_are_pruned(cmp: Cmp) -> None:
    with cmp.connect() as other, other.transaction():
        other.execute("select pg_current_xact_id()")
        cmp.upsert("committed beside an older transaction")
        assert prune(cmp) == 0

    assert prune(cmp) == 1


def test_changes_younger_than_the_retention_stay(cmp: Cmp) -> None:
    cmp.upsert("old")
    cmp.conn.execute("update omnicdc.change set at = at - interval '8 days'")
    young = cmp.upsert("young")
    consumer(cmp, "here")

    assert prune(cmp, history="7 days") == 1
    assert cmp.log() == [(young, "insert", None)]


def test_age_is_measured_by_the_clock_and_not_by_now(cmp: Cmp) -> None:
    """now() is constant within a transaction. By now(), later rows would have a negative age."""
    with cmp.connect() as long, long.transaction():
        long.execute("select now()")
        before = snapshot(cmp)
        cmp.upsert("apollo")
        consumer(cmp, "alive", seen="1 second ago")
        consumer(cmp, "just silent", before, seen="2 seconds ago")
        deleted = long.execute("select changes from omnicdc.prune('0', '1.9 seconds')").fetchone()

    assert deleted == (1,)


def test_the_history_is_kept_as_long_as_the_log(cmp: Cmp) -> None:
    consumer(cmp, "here")
    for age in ("8 days", "6 days"):
        cmp.conn.execute(
            """insert into omnicdc.history (consumer, generation, snapshot, changes, registries, at)
               values ('here', 1, '1:1:', 0, '{}', clock_timestamp() - %s::interval)""",
            [age],
        )
    prune(cmp, history="7 days")

    assert cmp.value("select count(*) from omnicdc.history") == 1


def test_a_pruned_transaction_is_reported_as_pruned(cmp: Cmp) -> None:
    """Without that, a wait for an older transaction would end with `nothing_to_do`."""
    with cmp.conn.transaction():
        token = cmp.value("select pg_current_xact_id()::text")
        cmp.upsert("apollo")
    with db.connect(cmp.dsn) as conn:
        before = db.fetch_one(conn, "transaction", {"token": token})
        prune(cmp)
        after = db.fetch_one(conn, "transaction", {"token": token})

    assert (before["changes"], before["pruned"]) == (1, False)
    assert (after["changes"], after["pruned"]) == (0, True)


def test_a_snapshot_in_the_future_does_not_prune_open_transactions(cmp: Cmp) -> None:
    """P8: the snapshot came with a restored dump."""
    consumer(cmp, "restored", "9000000000000:9000000000000:")
    with cmp.connect() as slow, slow.transaction():
        slow.execute("select pg_current_xact_id()")
        cmp.upsert("early")
        assert prune(cmp) == 0
    assert prune(cmp) == 1

    assert cmp.value("select pruned_below <= pg_snapshot_xmax(pg_current_snapshot()) from omnicdc.source")


def test_concurrent_pruning_deletes_each_change_once(cmp: Cmp) -> None:
    cmp.fill(1000)

    def one() -> int:
        with Cmp(cmp.dsn) as own:
            return prune(own)

    with ThreadPoolExecutor(3) as pool:
        deleted = [done.result() for done in [pool.submit(one) for _ in range(3)]]

    assert sum(deleted) == 1000


def test_a_publication_of_all_tables_does_not_stop_pruning(cmp: Cmp) -> None:
    """PostgreSQL refuses to delete from a published table that has no replica identity."""
    cmp.conn.execute("set client_min_messages = error; create publication everything for all tables")
    cmp.upsert("apollo")
    consumer(cmp, "here")

    assert prune(cmp) == 1


def test_pruning_does_not_block_writers(cmp: Cmp) -> None:
    """P4."""
    project = cmp.upsert("apollo")
    with cmp.connect() as daemon:
        daemon.execute("begin; select changes from omnicdc.prune('-1 second', '1 day')")
        cmp.conn.execute("set lock_timeout = '1 s'")
        cmp.upsert("artemis", id=project)
        daemon.execute("commit")

    assert cmp.log() == [(project, "update", ("name",))]
