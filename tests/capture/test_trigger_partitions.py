"""P1: a partitioned `projects` is captured whole, also where a partition is written to by its own name."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

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
def parted(bare: Cmp) -> Cmp:
    """A CMP whose captured table is partitioned, in two levels."""
    bare.conn.execute(PARTITIONED)
    watch(bare)
    return bare


def watch(cmp: Cmp) -> bool:
    """Install the capture; returns whether it changed anything."""
    with db.connect(cmp.dsn) as conn:
        return install.install(conn, "projects", ("name", "status"))


def fault(cmp: Cmp) -> str | None:
    """Return what is wrong with the capture."""
    with db.connect(cmp.dsn) as conn:
        found: str | None = db.fetch_one(conn, "capture_fault")["fault"]
        return found


def test_a_write_to_the_parent_is_logged_once(parted: Cmp) -> None:
    parted.conn.execute("insert into projects (id, name) values (%s, 'a')", [A])
    parted.conn.execute("update projects set status = 'x'")
    parted.conn.execute("delete from projects")

    assert parted.log() == [(A, "insert", None), (A, "update", ("status",)), (A, "delete", None)]
    assert fault(parted) is None


def test_a_write_straight_to_a_partition_is_logged(parted: Cmp) -> None:
    parted.conn.execute("insert into low (id, name) values (%s, 'a')", [A])
    parted.conn.execute("update low set status = 'x'")
    parted.conn.execute("delete from low")

    assert parted.log() == [(A, "insert", None), (A, "update", ("status",)), (A, "delete", None)]


def test_a_truncate_straight_of_a_partition_is_logged(parted: Cmp) -> None:
    """The parent's statement trigger does not see it; there is none for each row."""
    parted.conn.execute("truncate low")
    parted.conn.execute("truncate highest")

    assert parted.log() == [(None, "truncate", None), (None, "truncate", None)]


def test_a_truncate_of_the_parent_is_logged(parted: Cmp) -> None:
    parted.conn.execute("truncate projects")

    assert set(parted.log()) == {(None, "truncate", None)}


def test_a_row_that_moves_to_another_partition_names_its_project(parted: Cmp) -> None:
    parted.conn.execute("insert into projects (id, name) values (%s, 'a')", [A])
    parted.conn.execute("update projects set id = 'a0000000-0000-0000-0000-000000000000'")

    assert {project for project, _, _ in parted.log()} == {A, "a0000000-0000-0000-0000-000000000000"}


def test_a_partition_attached_later_is_captured(parted: Cmp) -> None:
    parted.conn.execute(LATE)
    parted.conn.execute("insert into projects (id, name) values (%s, 'a')", [F])
    parted.conn.execute("update late set status = 'x'")
    parted.conn.execute("set session_replication_role = replica; delete from late")

    assert parted.log() == [(F, "insert", None), (F, "update", ("status",)), (F, "delete", None)]


def test_only_the_truncate_of_a_partition_attached_later_needs_another_install(parted: Cmp) -> None:
    """It is no fault: until then, the capture's fingerprint shows it."""
    parted.conn.execute(LATE)
    told = fault(parted)
    installed = watch(parted)
    parted.conn.execute("truncate late")

    assert told is None
    assert installed
    assert fault(parted) is None
    assert parted.log() == [(None, "truncate", None)]


def test_a_trigger_switched_off_on_one_partition_is_noticed_and_mended(parted: Cmp) -> None:
    parted.conn.execute("alter table low disable trigger omnicdc_log_update")
    told = fault(parted)
    watch(parted)

    assert told == "trigger omnicdc_log_update is disabled on public.low"
    assert fault(parted) is None


def test_a_detached_partition_is_captured_no_longer_and_can_be_written(parted: Cmp) -> None:
    parted.conn.execute("insert into projects (id, name) values (%s, 'a')", [A])
    parted.conn.execute("alter table projects detach partition low; truncate omnicdc.change")

    parted.conn.execute("update low set status = 'x'")

    assert parted.log() == []
    assert fault(parted) is None


FOREIGN = """
create foreign data wrapper elsewhere;
create server elsewhere foreign data wrapper elsewhere;
create foreign table remote (id uuid not null, name text not null, key text, type text, status text,
                             metadata_ jsonb) server elsewhere;
alter table high attach partition remote for values in ('a0000000-0000-0000-0000-000000000000')
"""


def test_a_foreign_table_as_a_partition_is_a_fault_and_refused(parted: Cmp) -> None:
    """Nothing here sees what is written on its own server."""
    parted.conn.execute("alter table projects drop constraint projects_pkey")
    parted.conn.execute(FOREIGN)
    told = fault(parted)
    with pytest.raises(ConfigError) as refused:
        watch(parted)
    parted.conn.execute("alter table public.high detach partition public.remote")

    assert told == (
        "partition public.remote of public.projects is a foreign table: no trigger sees what is written on "
        "its server; "
        "`alter table public.high detach partition public.remote`"
    )
    assert told in refused.value.message
    assert fault(parted) is None


def test_a_table_that_inherits_is_a_fault_and_refused(cmp: Cmp) -> None:
    """Its rows are read with the table's, and PostgreSQL hands no trigger down to it."""
    before = cmp.value("select omnicdc.capture_fingerprint()")
    cmp.conn.execute("create table child () inherits (projects)")
    told = fault(cmp)
    during = cmp.value("select omnicdc.capture_fingerprint()")
    with pytest.raises(ConfigError) as refused:
        watch(cmp)
    cmp.conn.execute("alter table public.child no inherit public.projects")

    assert told == (
        "table public.child inherits from public.projects: its rows are read, and no trigger sees its "
        "writes; "
        "`alter table public.child no inherit public.projects`, or make it a partition"
    )
    assert told in refused.value.message
    assert during != before
    assert fault(cmp) is None


def test_uninstall_leaves_no_trigger_on_any_partition(parted: Cmp) -> None:
    with db.connect(parted.dsn) as conn:
        install.uninstall(conn)

    assert parted.value("select count(*) from pg_trigger where starts_with(tgname, 'omnicdc')") == 0
