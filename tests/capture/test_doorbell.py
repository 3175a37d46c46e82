"""The doorbell: a writer notifies once if a consumer sleeps, and otherwise never."""

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


class ActionWhileParked:
    """Runs an action once, after the consumer has parked and looked at the log.

    That is when the doorbell first calls `going_on`.
    """

    def __init__(self, action: Callable[[], object]) -> None:
        self._actions = [action]

    def going_on(self) -> bool:
        while self._actions:
            self._actions.pop()()
        return True


def sleep(conn: db.Connection, last: str, signals: SignalFlags | ActionWhileParked) -> None:
    """Sleep. Fail if only the time limit ended the sleep."""
    started = time.monotonic()
    Doorbell(conn).wait(last, signals, NEVER_S)

    assert time.monotonic() - started < NEVER_S


def current_snapshot(conn: db.Connection) -> str:
    """Return the snapshot of this moment."""
    return str(db.fetch_one(conn, "snapshot")["snapshot"])


@pytest.fixture
def parked(cmp: Cmp) -> Iterator[None]:
    """A consumer sleeps: it holds the sleeper lock S in shared mode."""
    with db.connect(cmp.dsn) as conn:
        db.execute(conn, "park")
        yield


def test_writers_do_not_notify_while_no_consumer_sleeps(cmp: Cmp, ear: Ear) -> None:
    for _ in range(20):
        cmp.upsert("apollo")
    cmp.conn.execute("truncate projects; select omnicdc.request_rebuild()")

    assert ear.rings() == 0


@pytest.mark.usefixtures("parked")
def test_a_transaction_notifies_once_however_much_it_writes(cmp: Cmp, ear: Ear) -> None:
    with cmp.conn.transaction():
        cmp.fill(100)
        project = cmp.upsert("apollo")
        cmp.upsert("artemis", id=project)
        cmp.conn.execute("truncate projects; select omnicdc.request_rebuild()")

    assert ear.rings() == 1


@pytest.mark.usefixtures("parked")
def test_each_transaction_notifies(cmp: Cmp, ear: Ear) -> None:
    for _ in range(5):
        cmp.upsert("apollo")

    assert ear.rings() == 5


@pytest.mark.usefixtures("parked")
def test_a_write_that_is_not_logged_does_not_notify(cmp: Cmp, ear: Ear) -> None:
    project = cmp.upsert("apollo")
    assert ear.rings() == 1

    cmp.upsert("apollo", id=project)
    with cmp.conn.transaction(force_rollback=True):
        cmp.upsert("artemis")

    assert ear.rings() == 0


@pytest.mark.usefixtures("parked")
def test_a_transaction_notifies_again_after_a_savepoint_is_rolled_back(cmp: Cmp, ear: Ear) -> None:
    with cmp.conn.transaction():
        with cmp.conn.transaction(force_rollback=True):
            cmp.upsert("undone")
        cmp.upsert("kept")

    assert ear.rings() == 1


def test_a_writer_is_seen_again_after_a_savepoint_is_rolled_back(cmp: Cmp) -> None:
    """The rollback releases the writer lock W, so the second write must take it again."""
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
    """Every user may set `omnicdc.notified`: to an invalid value, or to the id of an earlier transaction."""
    old = str(cmp.value("select pg_current_xact_id()::text"))
    for value in ("", "0", "18446744073709551616", "'; drop table projects", old):
        cmp.conn.execute("select set_config('omnicdc.notified', %s, false)", [value])
        cmp.upsert("apollo")

        assert ear.rings() == 1, value


def test_a_writer_that_forges_omnicdc_notified_is_logged(cmp: Cmp) -> None:
    with cmp.conn.transaction():
        cmp.conn.execute("select set_config('omnicdc.notified', pg_current_xact_id()::text, true)")
        project = cmp.upsert("apollo")

    assert cmp.log() == [(project, "insert", None)]


def test_the_read_after_a_sleep_leaves_no_lock(cmp: Cmp) -> None:
    with db.connect(cmp.dsn) as conn:
        last = current_snapshot(conn)
        _, parked = Doorbell(conn).wait(last, SignalFlags(), 0.0)
        during = advisory_locks(cmp)
        with reading(conn, last, parked=parked):
            after = advisory_locks(cmp)

        assert (during, after) == (1, 0)


def test_a_check_for_writers_leaves_no_lock(cmp: Cmp) -> None:
    with db.connect(cmp.dsn) as conn, cmp.connect() as writer, writer.transaction():
        before = db.fetch_one(conn, "writers")["writing"], advisory_locks(cmp)
        cmp.upsert("apollo", conn=writer)
        during = db.fetch_one(conn, "writers")["writing"], advisory_locks(cmp)

        assert (before, during) == ((False, 0), (True, 1))


def test_a_consumer_does_not_sleep_if_the_log_already_holds_a_change(cmp: Cmp) -> None:
    with db.connect(cmp.dsn) as conn:
        last = current_snapshot(conn)
        cmp.upsert("apollo")

        sleep(conn, last, SignalFlags())


def test_a_commit_ends_a_sleep(cmp: Cmp) -> None:
    with db.connect(cmp.dsn) as conn:
        last = current_snapshot(conn)
        sleep(conn, last, ActionWhileParked(lambda: cmp.upsert("apollo")))

        assert db.fetch_one(conn, "changes_waiting", {"last": last})["waiting"]


def test_a_stop_ends_a_sleep(cmp: Cmp) -> None:
    signals = SignalFlags()
    signals.stop()
    with db.connect(cmp.dsn) as conn:
        sleep(conn, current_snapshot(conn), signals)


def test_a_sleep_beside_an_open_writer_ends_without_a_notification(cmp: Cmp) -> None:
    """That writer checked the sleeper lock before the consumer took it, so it will not notify."""
    with cmp.connect() as writer, writer.transaction(), db.connect(cmp.dsn) as conn:
        cmp.upsert("apollo", conn=writer)

        sleep(conn, current_snapshot(conn), SignalFlags())


def test_a_sleep_beside_a_prepared_transaction_ends_without_a_notification(cmp: Cmp) -> None:
    with prepared(cmp), db.connect(cmp.dsn) as conn:
        sleep(conn, current_snapshot(conn), SignalFlags())


def test_writers_never_wait_for_the_doorbell_locks(cmp: Cmp) -> None:
    """P4: every user may take an advisory lock, also the two of omnicdc, and exclusively."""
    with cmp.connect() as other:
        other.execute(
            "select pg_advisory_lock(omnicdc.writer_lock()), pg_advisory_lock(omnicdc.sleeper_lock())"
        )
        cmp.conn.execute("set statement_timeout = '5s'")

        cmp.upsert("apollo")

    assert len(cmp.log()) == 1


def test_a_sleep_ends_in_time_while_another_session_holds_the_sleeper_lock(cmp: Cmp) -> None:
    """P1: the time limit of a sleep must hold, whichever session holds the sleeper lock S."""
    with cmp.connect() as other, db.connect(cmp.dsn) as conn:
        other.execute("select pg_advisory_lock(omnicdc.sleeper_lock())")
        conn.execute("set statement_timeout = '2s'")  # a sleep that hangs fails the test

        Doorbell(conn).wait(current_snapshot(conn), SignalFlags(), 0.1)


def advisory_locks(cmp: Cmp) -> int:
    """Return the number of advisory locks in this database."""
    return int(
        cmp.value(
            """select count(*) from pg_locks l join pg_database d on d.oid = l.database
                where l.locktype = 'advisory' and d.datname = current_database()"""
        )
    )
