"""P4: a CMP write never fails and never waits because of omnicdc."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest
from psycopg import sql as pgsql
from support.host import REGISTRIES, Host, until
from support.rebuild import assert_as_rebuilt

from omnicdc import db
from omnicdc.capture import install
from omnicdc.capture.watch_list import derive
from omnicdc.registries.scanners import scanners

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.cmp import Cmp
    from support.pace import Pace

NAMES = [name.rsplit("/", 1)[-1] for name in REGISTRIES]
CANONICAL, PROJECT, INVENTORY = NAMES
READ_BY = {
    "status": {CANONICAL, PROJECT},
    "name": {CANONICAL, PROJECT, INVENTORY},
    "metadata_": {CANONICAL, PROJECT, INVENTORY},
    "description": set(),
}
LONGEST_WRITE_S = 1.0
"""A write takes a millisecond; one that waited for omnicdc would take until a time-out."""


def held(host: Host) -> dict[str, str]:
    """Return what `omnicdc status` says is held, and why."""
    [consumer] = host.ask("status")["consumers"]
    return {name: fault["reason"] for name, fault in consumer["held"].items()}


def write_all_kinds(cmp: Cmp, count: int = 5) -> float:
    """Insert, update, upsert, delete; returns the seconds of the slowest."""
    slowest = 0.0
    for number in range(count):
        for statement in (
            "insert into projects (id) values (gen_random_uuid())",
            "update projects set updated_at = clock_timestamp(), id = id",
            "update projects set description = %s",
            "delete from projects where id = (select id from projects where description is null limit 1)",
        ):
            started = time.perf_counter()
            cmp.conn.execute(statement, [str(number)] if "%s" in statement else None)
            slowest = max(slowest, time.perf_counter() - started)
    return slowest


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 300 kB."""
    where = tmp_path / "small"
    where.mkdir()
    if (
        os.geteuid()
        or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=300k", "tmpfs", where], check=False).returncode
    ):
        pytest.skip("a small file system can only be mounted by root")
    yield where
    subprocess.run(["umount", "-l", where], check=True)


def test_writes_need_no_daemon(cmp: Cmp, host: Host, pace: Pace) -> None:
    """P4: never one at all, one that ended, one that was killed."""
    cmp.conn.execute("alter table projects alter name drop not null")
    never = write_all_kinds(cmp)
    host.daemon().stop()
    ended = write_all_kinds(cmp)
    host.daemon().kill()
    killed = write_all_kinds(cmp)

    assert max(never, ended, killed) < pace.allows(LONGEST_WRITE_S)


def test_writes_do_not_wait_for_a_daemon_that_hangs(cmp: Cmp, host: Host, pace: Pace) -> None:
    """P4: a daemon that is stopped while it sleeps, and one that is stopped at work.

    Both go on afterwards.
    """
    cmp.conn.execute("alter table projects alter name drop not null")
    daemon = host.daemon()
    cmp.arrived()
    daemon.process.send_signal(signal.SIGSTOP)
    asleep = write_all_kinds(cmp)
    daemon.process.send_signal(signal.SIGCONT)
    cmp.fill(3000)
    daemon.process.send_signal(signal.SIGSTOP)
    at_work = write_all_kinds(cmp)
    project = cmp.upsert("written while it hung")
    daemon.process.send_signal(signal.SIGCONT)
    cmp.wait()

    assert max(asleep, at_work) < pace.allows(LONGEST_WRITE_S)
    assert project in host.canonical()


def test_a_writer_needs_no_right_on_omnicdc(cmp: Cmp, host: Host) -> None:
    """P4: a role that knows of nothing but CMP's table."""
    role = pgsql.Identifier(f"omnicdc_test_writer_{os.getpid()}")
    cmp.conn.execute(pgsql.SQL("create role {}").format(role))
    try:
        cmp.conn.execute(
            pgsql.SQL("grant select, insert, update, delete, truncate on projects to {}").format(role)
        )
        host.daemon()
        with cmp.transaction() as (conn, token):
            conn.execute(pgsql.SQL("set local role {}").format(role))
            project = cmp.upsert("by a stranger", conn=conn)
            conn.execute("update projects set status = 'theirs'")
        cmp.arrived(token)

        assert host.canonical()[project]["status"] == "theirs"
    finally:
        cmp.conn.execute(pgsql.SQL("drop owned by {}").format(role))
        cmp.conn.execute(pgsql.SQL("drop role {}").format(role))


def test_a_full_disk_stops_no_write_and_heals(cmp: Cmp, small_disk: Path, pace: Pace) -> None:
    """P4, P6: what no longer fits is held, the last good files stay whole, and room alone mends it."""
    cmp.fill(20)
    host = Host(small_disk / "host", cmp.dsn)
    host.env |= {"OMNICDC_POLL_S": "0.1", "OMNICDC_STATE_DIR": str(small_disk.parent / "state")}
    try:
        host.daemon()
        last_good = host.content()
        filler = small_disk / "filler"
        fill_up(filler)
        cmp.fill(80)
        verdict = cmp.wait()
        reasons = held(host)
        kept = host.content()
        slowest = max(timed(cmp, f"w{number}") for number in range(5))
        filler.unlink()
        until(lambda: cmp.wait().status == "published", "room again")

        assert verdict.status == "held"
        assert set(reasons) == set(NAMES)
        assert all("No space left on device" in reason for reason in reasons.values())
        assert kept == last_good
        assert slowest < pace.allows(LONGEST_WRITE_S)
        assert held(host) == {}
        assert len(host.canonical()) == len(host.projects()) == 105
        assert not [*host.root.rglob("*.omnicdc-tmp")]
    finally:
        host.close()


def fill_up(filler: Path) -> None:
    with filler.open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(bytes(4096))


def timed(cmp: Cmp, name: str) -> float:
    started = time.perf_counter()
    cmp.upsert(name)
    return time.perf_counter() - started


@pytest.mark.parametrize(
    "column",
    [
        "status",
        "description",
        *(pytest.param(it, marks=pytest.mark.campaign) for it in ("name", "metadata_")),
    ],
)
def test_a_renamed_column_holds_exactly_the_registries_that_read_it(
    cmp: Cmp, host: Host, column: str
) -> None:
    """P4, P5, P6: every write succeeds; `status` and `wait` say what is held; renamed back, all heals."""
    cmp.upsert("one", github_url="https://github.com/acme/one")
    host.env["OMNICDC_POLL_S"] = "0.1"
    host.daemon()
    before = host.content()
    cmp.conn.execute(pgsql.SQL("alter table projects rename {} to other").format(pgsql.Identifier(column)))
    with cmp.transaction() as (conn, token):
        new = "other" if column == "name" else "name"
        conn.execute(pgsql.SQL("insert into projects ({}) values ('two')").format(pgsql.Identifier(new)))
        conn.execute("update projects set created_at = clock_timestamp()")
    answer = host.run("wait", "--token", token)
    said = held(host)
    kept = {name for name, content in host.content().items() if content == before[name]}
    cmp.conn.execute(pgsql.SQL("alter table projects rename other to {}").format(pgsql.Identifier(column)))
    until(lambda: cmp.wait(token).status == "published", "healed")

    assert set(said) == READ_BY[column]
    assert all("other" in reason or column in reason for reason in said.values())
    assert answer.returncode == (1 if said else 0)
    assert f'"{"held" if said else "published"}"' in answer.stdout
    assert READ_BY[column] <= {name.rsplit("/", 1)[-1] for name in kept}
    assert held(host) == {}
    assert len(host.canonical()) == len(host.projects()) == 2


def test_a_dropped_column_holds_its_registries_until_it_is_back(cmp: Cmp, host: Host, pace: Pace) -> None:
    """P4, P6: the others go on meanwhile; a column added anew needs its grant, so `omnicdc install`."""
    one = cmp.upsert("one", github_url="https://github.com/acme/one")
    host.env["OMNICDC_POLL_S"] = "0.1"
    host.daemon()
    cmp.conn.execute("alter table projects drop column status")
    slowest = write_without_status(cmp)
    verdict = cmp.wait()
    cmp.conn.execute(
        """update projects set metadata_ = '{"github_url": "https://github.com/acme/moved"}' where id = %s""",
        [one],
    )
    until(lambda: "moved" in host.raw(REGISTRIES[2]).decode(), "the inventory goes on")
    said = held(host)
    cmp.conn.execute("alter table projects add column status text default 'back'")
    with db.connect(cmp.dsn) as conn:
        install.install(conn, "projects", derive(scanners().values()).fields)
    until(lambda: cmp.wait().status == "published", "healed")

    assert slowest < pace.allows(LONGEST_WRITE_S)
    assert verdict.status == "held"
    assert set(said) == {CANONICAL, PROJECT}
    assert {entry["status"] for entry in host.canonical().values()} == {"back"}
    assert {entry["github_url"] for entry in host.projects().values()} == {
        None,
        "https://github.com/acme/moved",
    }


def write_without_status(cmp: Cmp) -> float:
    started = time.perf_counter()
    cmp.conn.execute("insert into projects (name, key) values ('two', 'k')")
    cmp.conn.execute("update projects set key = 'l'")
    return time.perf_counter() - started


@pytest.mark.parametrize(
    "retyped",
    ["projects_status", *(pytest.param(it, marks=pytest.mark.campaign) for it in ("varchar(40)", "name"))],
)
def test_a_retyped_column_is_read_on(cmp: Cmp, host: Host, retyped: str) -> None:
    """P4: another type of text, an enum; no write fails and the registries stay current."""
    cmp.upsert("one")
    host.daemon()
    cmp.conn.execute("create type projects_status as enum ('active', 'paused')")
    cmp.conn.execute(
        pgsql.SQL("alter table projects alter status type {0} using status::{0}").format(pgsql.SQL(retyped))
    )
    cmp.conn.execute("update projects set status = 'paused'")
    two = cmp.value("insert into projects (name, status) values ('two', 'active') returning id::text")
    verdict = cmp.wait()

    assert verdict.status == "published"
    assert sorted(entry["status"] for entry in host.canonical().values()) == ["active", "paused"]
    assert host.projects()[two]["status"] == "active"


def test_a_column_that_is_no_longer_text_is_shown_as_text(cmp: Cmp, host: Host) -> None:
    """P4, P6: the registry's readers expect text, whatever type CMP gives the column."""
    one = cmp.upsert("one")
    host.daemon()
    cmp.conn.execute("alter table projects alter status type integer using 7")
    with cmp.transaction() as (conn, token):
        conn.execute("update projects set status = 8")
    verdict = cmp.wait(token)

    assert verdict.status == "published"
    assert host.canonical()[one]["status"] == "8"
    assert host.projects()[one]["status"] == "8"


def test_what_changed_while_a_registry_was_held_is_not_lost(cmp: Cmp, host: Host) -> None:
    """P1, P6: healed by a change of one project, before any retry, it shows the others' changes as well.

    The registry was brought up to date for that one project alone.
    """
    one, two = cmp.upsert("one"), cmp.upsert("two")
    host.env["OMNICDC_POLL_S"] = "60"
    host.daemon()
    cmp.conn.execute("alter table projects rename status to state")
    cmp.conn.execute("update projects set state = 'changed while held' where id = %s", [one])
    cmp.wait()
    cmp.conn.execute("alter table projects rename state to status")
    cmp.set(two, status="changed when healed")
    cmp.arrived()

    assert host.canonical()[one]["status"] == "changed while held"
    assert_as_rebuilt(cmp, host)
