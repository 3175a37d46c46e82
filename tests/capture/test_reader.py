"""P1: each reader reads every committed change exactly once, whatever the order of the commits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

import pytest
from support.sessions import prepared

from omnicdc import db
from omnicdc.capture.reader import reading
from omnicdc.errors import OmnicdcError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.cmp import Cmp


class Reader:
    """A consumer: it reads, and keeps the snapshot up to which it has read."""

    def __init__(self, cmp: Cmp) -> None:
        self.conn = db.connect(cmp.dsn)
        self.last = str(db.fetch_one(self.conn, "snapshot")["snapshot"])

    def read(self) -> list[str | None]:
        """Return the projects of every change since the last read, sorted."""
        with reading(self.conn, self.last) as found:
            self.last = found.snapshot
        return sorted(
            (project for change in found.changes for project in change.projects or (None,)), key=str
        )

    def waiting(self) -> bool:
        """Return whether a read would find a change."""
        return bool(db.fetch_one(self.conn, "changes_waiting", {"last": self.last})["waiting"])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.conn.close()


@pytest.fixture
def reader(cmp: Cmp) -> Iterator[Reader]:
    """A consumer that is up to date."""
    with Reader(cmp) as reader:
        yield reader


def test_a_change_is_read_only_once(cmp: Cmp, reader: Reader) -> None:
    project = cmp.upsert("apollo")

    assert reader.waiting()
    assert reader.read() == [project]
    assert not reader.waiting()
    assert reader.read() == []


def test_a_transaction_that_commits_late_is_read_when_it_commits(cmp: Cmp, reader: Reader) -> None:
    """A reader of `id > last_seen` would miss it. A reader that waits for it would see no other change."""
    with cmp.connect() as slow:
        with slow.transaction():
            late = cmp.upsert("late", conn=slow)
            early = cmp.upsert("early")
            assert reader.read() == [early]
            assert reader.read() == []
        assert reader.read() == [late]
        assert reader.read() == []


def test_a_change_with_an_older_transaction_id_than_the_last_read_is_found(cmp: Cmp, reader: Reader) -> None:
    """The transaction got its id long before the reader's snapshot, but wrote after it."""
    with cmp.connect() as slow:
        with slow.transaction():
            slow.execute("select pg_current_xact_id()")
            cmp.upsert("early")
            reader.read()
            late = cmp.upsert("late", conn=slow)
        assert reader.read() == [late]


def test_many_open_writers_are_each_read_once(cmp: Cmp, reader: Reader) -> None:
    writers = [cmp.connect() for _ in range(8)]
    projects = []
    for writer in writers:
        writer.execute("begin")
        projects.append(cmp.upsert("open", conn=writer))
    found = []
    for writer in writers[::2] + writers[1::2]:
        writer.execute("commit")
        found.append(reader.read())
        writer.close()

    assert found == [[project] for project in projects[::2] + projects[1::2]]


def test_a_change_that_is_rolled_back_is_never_read(cmp: Cmp, reader: Reader) -> None:
    with cmp.conn.transaction(force_rollback=True):
        cmp.upsert("undone")
    with cmp.conn.transaction():
        kept = cmp.upsert("kept")
        with cmp.conn.transaction(force_rollback=True):
            cmp.upsert("undone")
        with cmp.conn.transaction():
            nested = cmp.upsert("kept, in a savepoint")

    assert reader.read() == sorted([kept, nested])
    assert reader.read() == []


def test_a_prepared_transaction_is_read_once_it_is_committed(cmp: Cmp, reader: Reader) -> None:
    with prepared(cmp) as name:
        early = cmp.upsert("early")
        assert reader.read() == [early]

        cmp.conn.execute(f"commit prepared '{name}'")
        assert len(reader.read()) == 1
        assert reader.read() == []


def test_a_prepared_transaction_that_is_rolled_back_is_never_read(cmp: Cmp, reader: Reader) -> None:
    with prepared(cmp):
        assert reader.read() == []

    assert reader.read() == []


def test_two_readers_read_the_same_changes(cmp: Cmp, reader: Reader) -> None:
    with Reader(cmp) as other:
        first = cmp.upsert("first")
        assert reader.read() == [first]
        second = cmp.upsert("second")

        assert reader.read() == [second]
        assert other.read() == sorted([first, second])


def test_a_transaction_is_read_whole_or_not_at_all(cmp: Cmp, reader: Reader) -> None:
    with cmp.connect() as slow:
        with slow.transaction():
            projects = [cmp.upsert("one", conn=slow)]
            assert reader.read() == []
            projects.append(cmp.upsert("two", conn=slow))
            assert reader.read() == []

        assert reader.read() == sorted(projects)


def test_the_log_and_cmp_are_read_in_one_snapshot(cmp: Cmp, reader: Reader) -> None:
    """A commit during a read belongs to the next read, with its change and its row."""
    project = cmp.upsert("apollo")
    with reading(reader.conn, reader.last) as found:
        cmp.upsert("artemis", id=project)
        name = reader.conn.execute("select name from projects").fetchone()
        reader.last = found.snapshot

    assert [change.op for change in found.changes] == ["insert"]
    assert name == {"name": "apollo"}
    assert reader.read() == [project]


def test_a_change_of_too_many_projects_names_none(cmp: Cmp, reader: Reader) -> None:
    """The limit counts per kind of change. Beyond it, a scan of all projects is faster than many lookups."""
    cmp.fill(20)
    cmp.conn.execute("update projects set status = 'few' where name in ('project-1', 'project-2')")
    with reading(reader.conn, reader.last, most=19) as found:
        named = {change.op: change.projects and len(change.projects) for change in found.changes}
        rows = {change.op: change.rows for change in found.changes}

    assert named == {"insert": None, "update": 2}
    assert rows == {"insert": 20, "update": 2}


def test_a_read_cannot_write(reader: Reader) -> None:
    with pytest.raises(OmnicdcError, match="read-only"), reading(reader.conn, reader.last):
        reader.conn.execute("insert into projects (name) values ('x')")


def test_changes_from_a_dump_of_another_cluster_do_not_keep_the_reader_busy(cmp: Cmp, reader: Reader) -> None:
    """P8: in a younger cluster, their transaction ids are in the future. No snapshot contains them."""
    cmp.conn.execute("insert into omnicdc.change (xid, op) values ('9000000000000', 'truncate')")

    reader.read()

    assert reader.read() == []
    assert not reader.waiting()
