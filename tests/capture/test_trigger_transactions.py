"""P1 and P4: only committed changes are logged, whatever the kind of the transaction."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from psycopg import IsolationLevel
from psycopg import errors as pg
from support.sessions import prepared

if TYPE_CHECKING:
    from support.cmp import Cmp


def test_a_transaction_that_is_rolled_back_is_not_logged(cmp: Cmp) -> None:
    with cmp.conn.transaction(force_rollback=True):
        cmp.upsert("apollo")
        assert len(cmp.log()) == 1

    assert cmp.log() == []


def test_a_savepoint_that_is_rolled_back_is_not_logged(cmp: Cmp) -> None:
    with cmp.conn.transaction():
        kept = cmp.upsert("kept")
        with cmp.conn.transaction(force_rollback=True):
            cmp.upsert("undone")
        with cmp.conn.transaction():
            kept_too = cmp.upsert("kept too")

    assert cmp.log() == [(kept, "insert", None), (kept_too, "insert", None)]


def test_a_write_before_a_caught_exception_is_not_logged(cmp: Cmp) -> None:
    cmp.conn.execute(
        """do $$ begin
             insert into projects (name) values ('undone');
             raise exception 'on purpose';
           exception when raise_exception then
             insert into projects (name) values ('kept');
           end $$"""
    )

    assert [op for _, op, _ in cmp.log()] == ["insert"]


def test_a_savepoint_s_changes_carry_the_transaction_s_id(cmp: Cmp) -> None:
    """A subtransaction has its own id, but no snapshot and no token contains it."""
    with cmp.conn.transaction():
        token = cmp.value("select pg_current_xact_id()::text")
        with cmp.conn.transaction():
            cmp.upsert("apollo")

    assert cmp.value("select array_agg(xid::text) from omnicdc.change") == [token]


def test_a_session_with_the_replication_role_replica_is_logged(cmp: Cmp) -> None:
    cmp.conn.execute("set session_replication_role = replica")
    project = cmp.upsert("apollo")
    cmp.upsert("artemis", id=project)
    cmp.conn.execute("truncate projects")

    assert cmp.log() == [(project, "insert", None), (project, "update", ("name",)), (None, "truncate", None)]


def test_writers_of_every_isolation_level_are_logged(cmp: Cmp) -> None:
    for level in IsolationLevel:
        cmp.conn.execute("truncate omnicdc.change")
        cmp.conn.isolation_level = level
        with cmp.conn.transaction():
            project = cmp.upsert("apollo")
            cmp.upsert("artemis", id=project)

        assert cmp.log() == [(project, "insert", None), (project, "update", ("name",))], level


def test_two_serializable_writers_do_not_conflict_over_the_log(cmp: Cmp) -> None:
    """P4: their rows in the log must not look like a dependency between them."""
    projects = [cmp.upsert("apollo"), cmp.upsert("artemis")]
    with cmp.connect() as one, cmp.connect() as other:
        for conn, project in zip((one, other), projects, strict=True):
            conn.execute("set enable_seqscan = off")  # a scan of the whole table would be a dependency
            conn.isolation_level = IsolationLevel.SERIALIZABLE
            conn.autocommit = False
            conn.execute("select status from projects where id = %s", [project])
        for conn, project in zip((one, other), projects, strict=True):
            conn.execute("update projects set status = 'x' where id = %s", [project])
        one.commit()
        other.commit()

    assert cmp.value("select count(*) from projects where status = 'x'") == 2


def test_a_prepared_transaction_is_logged_when_it_commits(cmp: Cmp) -> None:
    with prepared(cmp) as name:
        assert cmp.log() == []

        cmp.conn.execute(f"commit prepared '{name}'")

    assert [op for _, op, _ in cmp.log()] == ["insert"]


def test_a_prepared_transaction_that_is_rolled_back_is_not_logged(cmp: Cmp) -> None:
    with prepared(cmp) as name:
        cmp.conn.execute(f"rollback prepared '{name}'")

    assert cmp.log() == []


def test_postgresql_refuses_to_prepare_a_transaction_that_notified(cmp: Cmp) -> None:
    """The reason for `wake: poll`: a writer notifies a parked consumer, which excludes two-phase commit."""
    cmp.conn.execute("select pg_advisory_lock_shared(omnicdc.sleeper_lock())")  # a consumer parks

    with pytest.raises(pg.FeatureNotSupported), prepared(cmp):
        pass


def test_a_statement_of_many_rows_uses_no_subtransaction_ids(cmp: Cmp) -> None:
    """P4: with more than 64 of them in one transaction, every snapshot on the server is slower to use.

    The system column xmin of a row shows the id of the subtransaction that wrote it.
    """
    cmp.fill(5000)
    cmp.conn.execute("truncate omnicdc.change; alter table projects drop column status")
    with cmp.conn.transaction():
        token = int(cmp.value("select pg_current_xact_id()::text"))
        cmp.conn.execute("update projects set name = name || '!'")  # each row's comparison fails, too

    assert cmp.value("select array_agg(distinct xmin::text) from omnicdc.change") == [str(token % 2**32)]
    assert cmp.value("select count(*) from omnicdc.change where op = 'update' and fields is null") == 5000
