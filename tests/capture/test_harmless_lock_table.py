"""P4: if the server's lock table is full, CMP's writes need no more room in it than without omnicdc."""

from __future__ import annotations

import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import pytest
from psycopg import errors as pg
from support.cmp import TABLE, Cmp
from support.sources import projects

from omnicdc import db
from omnicdc.capture import install
from omnicdc.testing.embedded import EmbeddedServer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any, LiteralString

    Connection = psycopg.Connection[tuple[Any, ...]]

# One process runs these tests, so that their server is started once.
pytestmark = pytest.mark.xdist_group("tiny server")


WRITES: tuple[LiteralString, ...] = (
    "insert into projects (name) values ('atlas'), ('gemini')",
    "update projects set name = name || '!'",
    "delete from projects",
)


FREE = (0, 1, 2, 3, 5, 17, 24)
"""Numbers of free places. The doorbell needs 18: two locks, and the places it tests before it notifies."""


@pytest.fixture(scope="module")
def tiny_server() -> Iterator[str]:
    """A server with the smallest lock table. Autovacuum is off, so that no other process takes locks."""
    server = EmbeddedServer(
        Path(tempfile.mkdtemp(prefix="omnicdc-locks-")),
        {"fsync": "off", "autovacuum": "off", "max_connections": "12", "max_locks_per_transaction": "10"},
    )
    server.create()
    server.start()
    with psycopg.connect(server.dsn(), autocommit=True) as conn:
        conn.execute(TABLE)
    yield server.dsn()
    server.delete()


@pytest.fixture
def tiny_cmp(tiny_server: str) -> Iterator[Cmp]:
    """A CMP with the capture, on that server."""
    with db.connect(tiny_server) as conn:
        install.install(conn, projects())
        # A write that adds a page to a table needs a place for that, with and without omnicdc.
        conn.execute("truncate projects; truncate omnicdc.change")
    with Cmp(tiny_server) as cmp:
        yield cmp


def fill_lock_table(conn: Connection, free: int) -> None:
    """Take all places of the lock table except `free`."""
    with pytest.raises(pg.OutOfMemory):
        conn.execute("select pg_advisory_lock(77, generate_series(1, 100000))")
    conn.execute("select pg_advisory_unlock(77, i) from generate_series(1, %s) as i", [free])


def empty_lock_table(conn: Connection) -> None:
    conn.execute("select pg_advisory_unlock_all()")


def lock_table_is_full(conn: Connection) -> bool:
    return not succeeds(conn, "select pg_advisory_xact_lock(78, 1)")


def succeeds(conn: Connection, statement: LiteralString) -> bool:
    try:
        conn.execute(statement)
    except pg.OutOfMemory:
        return False
    return True


@contextmanager
def transaction(cmp: Cmp) -> Iterator[Connection]:
    """Open a transaction that already has its id, in a session that has already used the tables.

    Both steps need places in the lock table without omnicdc as well.
    """
    with cmp.connect() as conn:
        with conn.transaction(force_rollback=True):
            for write in WRITES:
                conn.execute(write)
            conn.execute("truncate projects")
        conn.execute("begin; select pg_current_xact_id()")
        yield conn
        conn.execute("commit")


@pytest.mark.parametrize("sleeping", [False, True], ids=["no consumer sleeps", "a consumer sleeps"])
def test_writes_succeed_however_few_places_are_left(tiny_cmp: Cmp, sleeping: bool) -> None:
    """While a consumer sleeps, the writers notify. The commit of a notification needs a place as well."""
    full = []
    with tiny_cmp.connect() as other, db.connect(tiny_cmp.dsn) as consumer:
        if sleeping:
            db.execute(consumer, "park")
        for free in FREE:
            with transaction(tiny_cmp) as writer:
                fill_lock_table(other, free)
                full.append(lock_table_is_full(tiny_cmp.conn))
                for write in WRITES:
                    writer.execute(write)
            empty_lock_table(other)

    assert full[0], full
    assert not full[-1], full
    assert [op for _, op, _ in tiny_cmp.log()] == [
        "insert",
        "insert",
        "update",
        "update",
        "delete",
        "delete",
    ] * len(FREE)


def test_a_single_write_succeeds_where_one_without_capture_does(tiny_cmp: Cmp) -> None:
    tiny_cmp.conn.execute("create table if not exists plain (like projects including all)")
    tiny_cmp.conn.execute(
        "insert into plain (name) values ('warm'); insert into projects (name) values ('warm')"
    )
    results = []
    with tiny_cmp.connect() as other, db.connect(tiny_cmp.dsn) as consumer:
        db.execute(consumer, "park")
        for free in range(8):
            fill_lock_table(other, free)
            results.append(
                (
                    succeeds(tiny_cmp.conn, "insert into plain (name) values ('atlas')"),
                    succeeds(tiny_cmp.conn, "insert into projects (name) values ('atlas')"),
                )
            )
            empty_lock_table(other)

    assert (True, True) in results
    assert (True, False) not in results


def test_many_rows_and_savepoints_succeed_without_free_places(tiny_cmp: Cmp) -> None:
    with tiny_cmp.connect() as other:
        with transaction(tiny_cmp) as writer:
            fill_lock_table(other, 0)
            writer.execute("insert into projects (name) select 'p' || i from generate_series(1, 20) as i")
            writer.execute("update projects set status = 'kept' where name = 'p1'")
        empty_lock_table(other)
        with transaction(tiny_cmp) as writer:
            writer.execute("savepoint one; update projects set status = 'undone' where name = 'p1'")
            fill_lock_table(other, 0)
            writer.execute("rollback to one; update projects set status = 'again' where name = 'p1'")
        empty_lock_table(other)
        with transaction(tiny_cmp) as writer:
            writer.execute("rollback; begin isolation level repeatable read; select pg_current_xact_id()")
            fill_lock_table(other, 0)
            writer.execute("update projects set status = 'last' where name = 'p1'; commit; begin")
        empty_lock_table(other)

    assert [fields for _, op, fields in tiny_cmp.log() if op == "update"] == [("status",)] * 3


def test_a_truncate_succeeds_where_one_without_capture_does(tiny_cmp: Cmp) -> None:
    tiny_cmp.conn.execute("create table if not exists plain (like projects including all)")
    results = []
    with tiny_cmp.connect() as other, tiny_cmp.connect() as writer:
        for free in range(12):
            writer.execute("truncate plain; truncate projects")
            fill_lock_table(other, free)
            results.append((succeeds(writer, "truncate plain"), succeeds(writer, "truncate projects")))
            empty_lock_table(other)

    assert {(True, True), (False, False)} <= set(results)
    assert (True, False) not in results


def test_writers_notify_again_once_there_is_room(tiny_cmp: Cmp) -> None:
    with tiny_cmp.connect() as other, db.connect(tiny_cmp.dsn) as consumer:
        consumer.execute("listen omnicdc_change")
        db.execute(consumer, "park")
        with transaction(tiny_cmp) as writer:
            fill_lock_table(other, 0)
            writer.execute(WRITES[0])
        while_full = len(list(consumer.notifies(timeout=0)))
        empty_lock_table(other)
        tiny_cmp.upsert("gemini")
        afterwards = len(list(consumer.notifies(timeout=5, stop_after=1)))

    assert (while_full, afterwards) == (0, 1)


def test_writes_leave_no_lock(tiny_cmp: Cmp) -> None:
    with tiny_cmp.connect() as other, db.connect(tiny_cmp.dsn) as consumer:
        db.execute(consumer, "park")
        for free in FREE:
            with transaction(tiny_cmp) as writer:
                fill_lock_table(other, free)
                writer.execute(WRITES[0])
            empty_lock_table(other)
        held = tiny_cmp.value("select count(*) from pg_locks where locktype = 'advisory'")

    assert held == 1  # the consumer's
