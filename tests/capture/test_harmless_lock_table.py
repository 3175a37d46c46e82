"""P4: where the server's lock table is full, CMP's writes need no more room in it than without omnicdc."""

from __future__ import annotations

import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import pytest
from psycopg import errors as pg
from support.cmp import TABLE, Cmp

from omnicdc import db
from omnicdc.capture import install
from omnicdc.capture.watch_list import derive
from omnicdc.demo.embedded import EmbeddedServer
from omnicdc.registries.scanners import scanners

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any, LiteralString

    Connection = psycopg.Connection[tuple[Any, ...]]

# Its server is started once, also when several processes share the tests.
pytestmark = pytest.mark.xdist_group("tiny server")

WATCHED = derive(scanners().values()).fields

WRITES: tuple[LiteralString, ...] = (
    "insert into projects (name) values ('atlas'), ('gemini')",
    "update projects set name = name || '!'",
    "delete from projects",
)


FREE = (0, 1, 2, 3, 5, 17, 24)
"""Places left: the two locks of the bell and those that it tries before it notifies are 18."""


@pytest.fixture(scope="module")
def tiny() -> Iterator[str]:
    """A server with the smallest lock table; its autovacuum is off, so that no other process takes locks."""
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
def crowded(tiny: str) -> Iterator[Cmp]:
    """A CMP with the capture, on that server."""
    with db.connect(tiny) as conn:
        install.install(conn, "projects", WATCHED)
        # A write that needs another page needs a place for that, with and without omnicdc.
        conn.execute("truncate projects; truncate omnicdc.change")
    with Cmp(tiny) as cmp:
        yield cmp


def fill(conn: Connection, free: int) -> None:
    """Take all places of the lock table but some."""
    with pytest.raises(pg.OutOfMemory):
        conn.execute("select pg_advisory_lock(77, generate_series(1, 100000))")
    conn.execute("select pg_advisory_unlock(77, i) from generate_series(1, %s) as i", [free])


def empty(conn: Connection) -> None:
    conn.execute("select pg_advisory_unlock_all()")


def is_full(conn: Connection) -> bool:
    return not succeeds(conn, "select pg_advisory_xact_lock(78, 1)")


def succeeds(conn: Connection, statement: LiteralString) -> bool:
    try:
        conn.execute(statement)
    except pg.OutOfMemory:
        return False
    return True


@contextmanager
def transaction(cmp: Cmp) -> Iterator[Connection]:
    """A transaction of a session that knows the tables, and that has its id.

    Both need places without omnicdc as well.
    """
    with cmp.connect() as conn:
        with conn.transaction(force_rollback=True):
            for write in WRITES:
                conn.execute(write)
            conn.execute("truncate projects")
        conn.execute("begin; select pg_current_xact_id()")
        yield conn
        conn.execute("commit")


@pytest.mark.parametrize("sleeping", [False, True], ids=["nobody sleeps", "a consumer sleeps"])
def test_writes_succeed_however_few_places_are_left(crowded: Cmp, sleeping: bool) -> None:
    """With a sleeper they notify, whose commit needs a place, too."""
    full = []
    with crowded.connect() as other, db.connect(crowded.dsn) as consumer:
        if sleeping:
            db.execute(consumer, "park")
        for free in FREE:
            with transaction(crowded) as writer:
                fill(other, free)
                full.append(is_full(crowded.conn))
                for write in WRITES:
                    writer.execute(write)
            empty(other)

    assert full[0], full
    assert not full[-1], full
    assert [op for _, op, _ in crowded.log()] == [
        "insert",
        "insert",
        "update",
        "update",
        "delete",
        "delete",
    ] * len(FREE)


def test_a_write_by_itself_succeeds_where_one_without_capture_does(crowded: Cmp) -> None:
    crowded.conn.execute("create table if not exists plain (like projects including all)")
    crowded.conn.execute(
        "insert into plain (name) values ('warm'); insert into projects (name) values ('warm')"
    )
    both = []
    with crowded.connect() as other, db.connect(crowded.dsn) as consumer:
        db.execute(consumer, "park")
        for free in range(8):
            fill(other, free)
            both.append(
                (
                    succeeds(crowded.conn, "insert into plain (name) values ('atlas')"),
                    succeeds(crowded.conn, "insert into projects (name) values ('atlas')"),
                )
            )
            empty(other)

    assert (True, True) in both
    assert (True, False) not in both


def test_many_rows_and_savepoints_succeed(crowded: Cmp) -> None:
    with crowded.connect() as other:
        with transaction(crowded) as writer:
            fill(other, 0)
            writer.execute("insert into projects (name) select 'p' || i from generate_series(1, 20) as i")
            writer.execute("update projects set status = 'kept' where name = 'p1'")
        empty(other)
        with transaction(crowded) as writer:
            writer.execute("savepoint one; update projects set status = 'undone' where name = 'p1'")
            fill(other, 0)
            writer.execute("rollback to one; update projects set status = 'again' where name = 'p1'")
        empty(other)
        with transaction(crowded) as writer:
            writer.execute("rollback; begin isolation level repeatable read; select pg_current_xact_id()")
            fill(other, 0)
            writer.execute("update projects set status = 'last' where name = 'p1'; commit; begin")
        empty(other)

    assert [fields for _, op, fields in crowded.log() if op == "update"] == [("status",)] * 3


def test_a_truncate_succeeds_where_one_without_capture_does(crowded: Cmp) -> None:
    crowded.conn.execute("create table if not exists plain (like projects including all)")
    both = []
    with crowded.connect() as other, crowded.connect() as writer:
        for free in range(12):
            writer.execute("truncate plain; truncate projects")
            fill(other, free)
            both.append((succeeds(writer, "truncate plain"), succeeds(writer, "truncate projects")))
            empty(other)

    assert {(True, True), (False, False)} <= set(both)
    assert (True, False) not in both


def test_the_bell_rings_again_once_there_is_room(crowded: Cmp) -> None:
    with crowded.connect() as other, db.connect(crowded.dsn) as consumer:
        consumer.execute("listen omnicdc_change")
        db.execute(consumer, "park")
        with transaction(crowded) as writer:
            fill(other, 0)
            writer.execute(WRITES[0])
        silent = len(list(consumer.notifies(timeout=0)))
        empty(other)
        crowded.upsert("gemini")
        rung = len(list(consumer.notifies(timeout=5, stop_after=1)))

    assert (silent, rung) == (0, 1)


def test_no_lock_is_left_behind(crowded: Cmp) -> None:
    with crowded.connect() as other, db.connect(crowded.dsn) as consumer:
        db.execute(consumer, "park")
        for free in FREE:
            with transaction(crowded) as writer:
                fill(other, free)
                writer.execute(WRITES[0])
            empty(other)
        held = crowded.value("select count(*) from pg_locks where locktype = 'advisory'")

    assert held == 1  # the consumer's
