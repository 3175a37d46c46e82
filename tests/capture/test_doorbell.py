"""The doorbell's promises, one at a time: it rings once for a sleeper, and never for nobody."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest
from support.sessions import prepared

from omnicdc import db
from omnicdc.capture.doorbell import Doorbell
from omnicdc.capture.reader import reading
from omnicdc.daemon.signals import SignalFlags

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from support.cmp import Cmp
    from support.sessions import Ear

NEVER_S = 120.0


class Acting:
    """Acts once the sleeper has parked and looked: that is when it first asks whether to sleep on."""

    def __init__(self, act: Callable[[], object]) -> None:
        self._acts = [act]

    def going_on(self) -> bool:
        while self._acts:
            self._acts.pop()()
        return True


def sleep(conn: db.Connection, last: str, signals: SignalFlags | Acting) -> None:
    """Sleep until something wakes; fail if nothing did."""
    started = time.monotonic()
    Doorbell(conn).wait(last, signals, NEVER_S)

    assert time.monotonic() - started < NEVER_S


def now(conn: db.Connection) -> str:
    """Return what is visible now."""
    return str(db.fetch_one(conn, "snapshot")["snapshot"])


@pytest.fixture
def parked(cmp: Cmp) -> Iterator[None]:
    """Somebody sleeps: S is held, shared."""
    with db.connect(cmp.dsn) as conn:
        db.execute(conn, "park")
        yield


def test_nobody_is_rung_for_while_nobody_sleeps(cmp: Cmp, ear: Ear) -> None:
    for _ in range(20):
        cmp.upsert("apollo")
    cmp.conn.execute("truncate projects; select omnicdc.request_rebuild()")

    assert ear.rings() == 0


@pytest.mark.usefixtures("parked")
def test_a_transaction_rings_once_however_much_it_writes(cmp: Cmp, ear: Ear) -> None:
    with cmp.conn.transaction():
        cmp.fill(100)
        project = cmp.upsert("apollo")
        cmp.upsert("artemis", id=project)
        cmp.conn.execute("truncate projects; select omnicdc.request_rebuild()")

    assert ear.rings() == 1


@pytest.mark.usefixtures("parked")
def test_each_transaction_rings(cmp: Cmp, ear: Ear) -> None:
    for _ in range(5):
        cmp.upsert("apollo")

    assert ear.rings() == 5


@pytest.mark.usefixtures("parked")
def test_a_write_that_is_not_logged_does_not_ring(cmp: Cmp, ear: Ear) -> None:
    project = cmp.upsert("apollo")
    assert ear.rings() == 1

    cmp.upsert("apollo", id=project)
    with cmp.conn.transaction(force_rollback=True):
        cmp.upsert("artemis")

    assert ear.rings() == 0


@pytest.mark.usefixtures("parked")
def test_a_savepoint_that_takes_the_first_ring_back_does_not_silence_the_second(cmp: Cmp, ear: Ear) -> None:
    with cmp.conn.transaction():
        with cmp.conn.transaction(force_rollback=True):
            cmp.upsert("undone")
        cmp.upsert("kept")

    assert ear.rings() == 1


def test_after_such_a_savepoint_the_writer_is_seen_again_by_who_parks(cmp: Cmp) -> None:
    """The rollback releases W, so the second write must take it again."""
    with cmp.connect() as writer, db.connect(cmp.dsn) as consumer, writer.transaction():
        with writer.transaction(force_rollback=True):
            cmp.upsert("undone", conn=writer)
        assert not db.fetch_one(consumer, "writers")["writing"]
        cmp.upsert("kept", conn=writer)
        assert db.fetch_one(consumer, "writers")["writing"]

    with db.connect(cmp.dsn) as consumer:
        assert not db.fetch_one(consumer, "writers")["writing"]


@pytest.mark.usefixtures("parked")
def test_the_setting_omnicdc_notified_is_trusted_only_for_this_transaction(cmp: Cmp, ear: Ear) -> None:
    """Anyone may set `omnicdc.notified`: to nonsense, or as another transaction left it."""
    old = str(cmp.value("select pg_current_xact_id()::text"))
    for nonsense in ("", "0", "18446744073709551616", "'; drop table projects", old):
        cmp.conn.execute("select set_config('omnicdc.notified', %s, false)", [nonsense])
        cmp.upsert("apollo")

        assert ear.rings() == 1, nonsense


def test_who_claims_to_have_rung_already_is_logged_all_the_same(cmp: Cmp) -> None:
    with cmp.conn.transaction():
        cmp.conn.execute("select set_config('omnicdc.notified', pg_current_xact_id()::text, true)")
        project = cmp.upsert("apollo")

    assert cmp.log() == [(project, "insert", None)]


def test_the_reading_after_a_sleep_leaves_no_lock_behind(cmp: Cmp) -> None:
    with db.connect(cmp.dsn) as conn:
        last = now(conn)
        _, parked = Doorbell(conn).wait(last, SignalFlags(), 0.0)
        during = locks(cmp)
        with reading(conn, last, parked=parked):
            after = locks(cmp)

        assert (during, after) == (1, 0)


def test_looking_for_writers_leaves_no_lock_behind(cmp: Cmp) -> None:
    with db.connect(cmp.dsn) as conn, cmp.connect() as writer, writer.transaction():
        before = db.fetch_one(conn, "writers")["writing"], locks(cmp)
        cmp.upsert("apollo", conn=writer)
        beside = db.fetch_one(conn, "writers")["writing"], locks(cmp)

        assert (before, beside) == ((False, 0), (True, 1))


def test_a_sleeper_returns_at_once_if_the_log_already_holds_something(cmp: Cmp) -> None:
    with db.connect(cmp.dsn) as conn:
        last = now(conn)
        cmp.upsert("apollo")

        sleep(conn, last, SignalFlags())


def test_a_sleeper_wakes_when_a_transaction_commits(cmp: Cmp) -> None:
    with db.connect(cmp.dsn) as conn:
        last = now(conn)
        sleep(conn, last, Acting(lambda: cmp.upsert("apollo")))

        assert db.fetch_one(conn, "changes_waiting", {"last": last})["waiting"]


def test_a_stop_ends_a_sleep(cmp: Cmp) -> None:
    signals = SignalFlags()
    signals.stop()
    with db.connect(cmp.dsn) as conn:
        sleep(conn, now(conn), signals)


def test_a_sleeper_beside_an_open_writer_comes_back_by_itself(cmp: Cmp) -> None:
    """That writer checked the sleeper lock before the sleeper took it, and will not notify."""
    with cmp.connect() as writer, writer.transaction(), db.connect(cmp.dsn) as conn:
        cmp.upsert("apollo", conn=writer)

        sleep(conn, now(conn), SignalFlags())


def test_a_sleeper_beside_a_prepared_writer_comes_back_by_itself(cmp: Cmp) -> None:
    with prepared(cmp), db.connect(cmp.dsn) as conn:
        sleep(conn, now(conn), SignalFlags())


def test_writers_never_wait_for_a_lock_of_the_bell(cmp: Cmp) -> None:
    """P4: anybody may take an advisory lock, also ours, and exclusively."""
    with cmp.connect() as meddler:
        meddler.execute(
            "select pg_advisory_lock(omnicdc.writer_lock()), pg_advisory_lock(omnicdc.sleeper_lock())"
        )
        cmp.conn.execute("set statement_timeout = '5s'")

        cmp.upsert("apollo")

    assert len(cmp.log()) == 1


def test_a_sleep_ends_in_time_though_somebody_keeps_the_lock_to_park_with(cmp: Cmp) -> None:
    """P1: the backstop must hold whoever holds S."""
    with cmp.connect() as meddler, db.connect(cmp.dsn) as conn:
        meddler.execute("select pg_advisory_lock(omnicdc.sleeper_lock())")
        conn.execute("set statement_timeout = '2s'")  # so that the test ends

        Doorbell(conn).wait(now(conn), SignalFlags(), 0.1)


def locks(cmp: Cmp) -> int:
    """Return how many advisory locks are held in this database."""
    return int(
        cmp.value(
            """select count(*) from pg_locks l join pg_database d on d.oid = l.database
                where l.locktype = 'advisory' and d.datname = current_database()"""
        )
    )
