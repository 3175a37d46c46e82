"""P5: a wait for what the capture does not watch never answers `published` or `nothing_to_do`."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import psycopg
import pytest
from support.cmp import TABLE
from support.host import Host, until
from support.session import opened
from support.sources import WATCHED, projects

from omnicdc import db
from omnicdc.answers.status import status
from omnicdc.capture import install

if TYPE_CHECKING:
    from pathlib import Path

    from support.cmp import Cmp

PARTITIONED = (
    TABLE.replace("id uuid primary key default", "id uuid default").strip()
    + """ partition by list (type);
    create table p_service partition of projects for values in ('SERVICE');
    create table p_lib partition of projects for values in ('LIB')"""
)


def faults(cmp: Cmp) -> list[str]:
    with db.connect(cmp.dsn) as conn:
        return list(status(conn)["faults"])


def test_waits_time_out_while_the_daemon_reads_an_unwatched_column(bare: Cmp, tmp_path: Path) -> None:
    """The daemon was upgraded, and `omnicdc install` has not run yet.

    Regression: the answers were `nothing_to_do` and `published` for a status that the files lacked.
    """
    fewer = tuple(field for field in WATCHED if field != "status")
    with db.connect(bare.dsn) as conn:
        install.install(conn, projects("projects", fewer))
    project = bare.upsert("atlas")
    with opened(Host(tmp_path / "host", bare.dsn)) as one:
        one.publish()
        with bare.transaction() as (conn, token):
            conn.execute("update projects set status = 'snapshot' where id = %s", [project])
        one.publish()
        verdicts = [bare.wait(it, timeout_s=0) for it in (token, None)]
        reported = faults(bare)

    assert [verdict.status for verdict in verdicts] == ["timeout", "timeout"]
    assert "does not watch projects.status" in verdicts[1].detail
    assert any("watch projects.status" in fault and "`omnicdc install`" in fault for fault in reported)


def test_a_column_that_becomes_virtual_breaks_the_capture(cmp: Cmp) -> None:
    """No trigger sees the value of a virtual column.

    Regression: `install` refused such a column, but one that came later was not noticed.
    """
    if cmp.conn.info.server_version < 180_000:
        pytest.skip("generated columns are stored before PostgreSQL 18")
    cmp.conn.execute(
        """alter table projects drop column status, add column stage text default 'one';
           alter table projects add column status text generated always as ('s-' || stage) virtual;
           grant select on projects to omnicdc_daemon"""
    )

    assert any("column status of public.projects is virtual" in fault for fault in faults(cmp))
    assert cmp.wait(timeout_s=0).status == "capture_broken"


def test_a_partition_whose_detachment_is_pending_is_removed_from_the_files(bare: Cmp, tmp_path: Path) -> None:
    """P1: after the first half of DETACH CONCURRENTLY is committed, its rows no longer belong to CMP."""
    bare.conn.execute(f"drop table projects; {PARTITIONED}".encode())
    with db.connect(bare.dsn) as conn:
        install.install(conn, projects())
    bare.conn.execute("insert into projects (id, name, type) values (gen_random_uuid(), 'atlas', 'SERVICE')")
    bare.conn.execute("insert into projects (id, name, type) values (gen_random_uuid(), 'lib', 'LIB')")
    host = Host(tmp_path / "host", bare.dsn)
    with opened(host) as one, bare.connect() as reader, bare.connect() as detaching:
        one.publish()
        reader.execute("begin; select from projects")
        thread = threading.Thread(target=detach, args=(detaching,))
        thread.start()
        until(
            lambda: bare.value("select bool_or(inhdetachpending) from pg_inherits"),
            "the detachment is pending",
        )
        before = bare.wait(timeout_s=0)
        one.run_periodic_tasks()
        one.publish()
        after = bare.wait(timeout_s=0)
        shown = sorted(entry["name"] for entry in host.canonical().values())
        detaching.cancel()
        thread.join()

    assert (before.status, after.status) == ("timeout", "published")
    assert shown == ["atlas"]


def detach(conn: psycopg.Connection[tuple[object, ...]]) -> None:
    """Detach a partition. The second half waits for the readers of the table."""
    with pytest.raises(psycopg.errors.QueryCanceled):
        conn.execute("alter table projects detach partition p_lib concurrently")
