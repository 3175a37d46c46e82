"""P1: a partitioned `projects` is captured completely, also if a write names the partition itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support.sources import projects

from omnicdc import db
from omnicdc.capture import install
from omnicdc.errors import ConfigError

if TYPE_CHECKING:
    from support.cmp import Cmp

A = "00000000-0000-0000-0000-00000000000a"
F = "f0000000-0000-0000-0000-00000000000f"

PARTITIONED = """
drop table projects;
create table projects (id uuid primary key, name text not null, key text, type text, status text,
                       metadata_ jsonb)
  partition by range (id);
create table low partition of projects for values from (minvalue) to ('80000000-0000-0000-0000-000000000000');
create table high partition of projects for values from ('80000000-0000-0000-0000-000000000000')
                                           to ('e0000000-0000-0000-0000-000000000000') partition by list (id);
create table highest partition of high default
"""
LATE = """
create table late (like projects);
alter table projects attach partition late
  for values from ('e0000000-0000-0000-0000-000000000000') to (maxvalue)
"""


@pytest.fixture
def partitioned(bare: Cmp) -> Cmp:
    """A CMP whose captured table is partitioned, in two levels."""
    bare.conn.execute(PARTITIONED)
    watch(bare)
    return bare


def watch(cmp: Cmp) -> bool:
    """Install the capture. Return whether it was changed."""
    with db.connect(cmp.dsn) as conn:
        return install.install(conn, projects("projects", ("name", "status")))


def capture_fault(cmp: Cmp) -> str | None:
    """Return what is wrong with the capture."""
    with db.connect(cmp.dsn) as conn:
        found: str | None = db.fetch_one(conn, "capture_fault")["fault"]
        return found


def test_a_write_to_the_parent_is_logged_once(partitioned: Cmp) -> None:
    partitioned.conn.execute("insert into projects (id, name) values (%s, 'a')", [A])
    partitioned.conn.execute("update projects set status = 'x'")
    partitioned.conn.execute("delete from projects")

    assert partitioned.log() == [(A, "insert", None), (A, "update", ("status",)), (A, "delete", None)]
    assert capture_fault(partitioned) is None


def test_a_direct_write_to_a_partition_is_logged(partitioned: Cmp) -> None:
    partitioned.conn.execute("insert into low (id, name) values (%s, 'a')", [A])
    partitioned.conn.execute("update low set status = 'x'")
    partitioned.conn.execute("delete from low")

    assert partitioned.log() == [(A, "insert", None), (A, "update", ("status",)), (A, "delete", None)]


def test_a_direct_truncate_of_a_partition_is_logged(partitioned: Cmp) -> None:
    """The parent's statement trigger does not fire for it, and TRUNCATE has no row triggers."""
    partitioned.conn.execute("truncate low")
    partitioned.conn.execute("truncate highest")

    assert partitioned.log() == [(None, "truncate", None), (None, "truncate", None)]


def test_a_truncate_of_the_parent_is_logged(partitioned: Cmp) -> None:
    partitioned.conn.execute("truncate projects")

    assert set(partitioned.log()) == {(None, "truncate", None)}


def test_a_row_that_moves_to_another_partition_names_its_project(partitioned: Cmp) -> None:
    partitioned.conn.execute("insert into projects (id, name) values (%s, 'a')", [A])
    partitioned.conn.execute("update projects set id = 'a0000000-0000-0000-0000-000000000000'")

    assert {project for project, _, _ in partitioned.log()} == {A, "a0000000-0000-0000-0000-000000000000"}


def test_a_partition_attached_later_is_captured(partitioned: Cmp) -> None:
    partitioned.conn.execute(LATE)
    partitioned.conn.execute("insert into projects (id, name) values (%s, 'a')", [F])
    partitioned.conn.execute("update late set status = 'x'")
    partitioned.conn.execute("set session_replication_role = replica; delete from late")

    assert partitioned.log() == [(F, "insert", None), (F, "update", ("status",)), (F, "delete", None)]


def test_only_the_truncate_of_a_partition_attached_later_needs_another_install(partitioned: Cmp) -> None:
    """This is not reported as a fault: the capture's fingerprint shows the missing trigger."""
    partitioned.conn.execute(LATE)
    reported = capture_fault(partitioned)
    installed = watch(partitioned)
    partitioned.conn.execute("truncate late")

    assert reported is None
    assert installed
    assert capture_fault(partitioned) is None
    assert partitioned.log() == [(None, "truncate", None)]


def test_a_trigger_disabled_on_one_partition_is_reported_and_repaired(partitioned: Cmp) -> None:
    partitioned.conn.execute("alter table low disable trigger omnicdc_log_update")
    reported = capture_fault(partitioned)
    watch(partitioned)

    assert reported == "trigger omnicdc_log_update is disabled on public.low"
    assert capture_fault(partitioned) is None


def test_a_detached_partition_is_not_captured_and_can_be_written(partitioned: Cmp) -> None:
    partitioned.conn.execute("insert into projects (id, name) values (%s, 'a')", [A])
    partitioned.conn.execute("alter table projects detach partition low; truncate omnicdc.change")

    partitioned.conn.execute("update low set status = 'x'")

    assert partitioned.log() == []
    assert capture_fault(partitioned) is None


FOREIGN = """
create foreign data wrapper elsewhere;
create server elsewhere foreign data wrapper elsewhere;
create foreign table remote (id uuid not null, name text not null, key text, type text, status text,
                             metadata_ jsonb) server elsewhere;
alter table high attach partition remote for values in ('a0000000-0000-0000-0000-000000000000')
"""


def test_a_foreign_table_as_a_partition_is_a_fault_and_is_refused(partitioned: Cmp) -> None:
    """No trigger here fires for a write on the foreign table's own server."""
    partitioned.conn.execute("alter table projects drop constraint projects_pkey")
    partitioned.conn.execute(FOREIGN)
    reported = capture_fault(partitioned)
    with pytest.raises(ConfigError) as refused:
        watch(partitioned)
    partitioned.conn.execute("alter table public.high detach partition public.remote")

    assert reported == (
        "partition public.remote of public.projects is a foreign table: no trigger sees what is written on "
        "its server; "
        "`alter table public.high detach partition public.remote`"
    )
    assert reported in refused.value.message
    assert capture_fault(partitioned) is None


def test_a_table_that_inherits_is_a_fault_and_is_refused(cmp: Cmp) -> None:
    """A scan of the parent reads its rows, but it does not inherit the parent's triggers."""
    before = cmp.value("select omnicdc.capture_fingerprint()")
    cmp.conn.execute("create table child () inherits (projects)")
    reported = capture_fault(cmp)
    during = cmp.value("select omnicdc.capture_fingerprint()")
    with pytest.raises(ConfigError) as refused:
        watch(cmp)
    cmp.conn.execute("alter table public.child no inherit public.projects")

    assert reported == (
        "table public.child inherits from public.projects: its rows are read, and no trigger sees its "
        "writes; "
        "`alter table public.child no inherit public.projects`, or make it a partition"
    )
    assert reported in refused.value.message
    assert during != before
    assert capture_fault(cmp) is None


def test_uninstall_leaves_no_trigger_on_any_partition(partitioned: Cmp) -> None:
    with db.connect(partitioned.dsn) as conn:
        install.uninstall(conn)

    assert partitioned.value("select count(*) from pg_trigger where starts_with(tgname, 'omnicdc')") == 0
