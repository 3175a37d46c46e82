"""P4: a write to CMP never fails and never waits because of omnicdc."""

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
from support.sources import projects

from omnicdc import db
from omnicdc.capture import install

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
"""A write takes a millisecond. A write that waited for omnicdc would take until a time-out."""


def held(host: Host) -> dict[str, str]:
    """Return the held registries that `omnicdc status` shows, with their reasons."""
    [consumer] = host.ask("status")["consumers"]
    return {name: fault["reason"] for name, fault in consumer["held"].items()}


def write_all_kinds(cmp: Cmp, count: int = 5) -> float:
    """Insert, update and delete rows. Return the seconds of the slowest statement."""
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
    """P4: no daemon ever ran, the daemon ended, and the daemon was killed."""
    cmp.conn.execute("alter table projects alter name drop not null")
    never = write_all_kinds(cmp)
    host.daemon().stop()
    ended = write_all_kinds(cmp)
    host.daemon().kill()
    killed = write_all_kinds(cmp)

    assert max(never, ended, killed) < pace.allows(LONGEST_WRITE_S)


def test_writes_do_not_wait_for_a_daemon_that_hangs(cmp: Cmp, host: Host, pace: Pace) -> None:
    """P4: the daemon is stopped while it sleeps, and again while it works.

    It continues after the last stop.
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
    """P4: the writer's role has rights on CMP's table only."""
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


def test_a_full_disk_stops_no_write_and_recovers(cmp: Cmp, small_disk: Path, pace: Pace) -> None:
    """P4, P6: a registry that no longer fits is held, and its last good file stays whole.

    After space is freed, the daemon publishes it automatically.
    """
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
        until(lambda: cmp.wait().status == "published", "published after space is freed")

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
    """P4, P5, P6: every write succeeds. `status` and `wait` report what is held.

    When the column has its name again, the registries are published.
    """
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
    hold_reasons = held(host)
    kept = {name for name, content in host.content().items() if content == before[name]}
    cmp.conn.execute(pgsql.SQL("alter table projects rename other to {}").format(pgsql.Identifier(column)))
    until(lambda: cmp.wait(token).status == "published", "published after the rename back")

    assert set(hold_reasons) == READ_BY[column]
    assert all("other" in reason or column in reason for reason in hold_reasons.values())
    assert answer.returncode == (1 if hold_reasons else 0)
    assert f'"{"held" if hold_reasons else "published"}"' in answer.stdout
    assert READ_BY[column] <= {name.rsplit("/", 1)[-1] for name in kept}
    assert held(host) == {}
    assert len(host.canonical()) == len(host.projects()) == 2


def test_a_dropped_column_holds_its_registries_until_it_is_added_again(
    cmp: Cmp, host: Host, pace: Pace
) -> None:
    """P4, P6: the other registry is published meanwhile.

    A column that is added again needs a grant, so `omnicdc install` is needed.
    """
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
    until(lambda: "moved" in host.raw(REGISTRIES[2]).decode(), "the inventory is published")
    hold_reasons = held(host)
    cmp.conn.execute("alter table projects add column status text default 'back'")
    with db.connect(cmp.dsn) as conn:
        install.install(conn, projects())
    until(lambda: cmp.wait().status == "published", "published after the installation")

    assert slowest < pace.allows(LONGEST_WRITE_S)
    assert verdict.status == "held"
    assert set(hold_reasons) == {CANONICAL, PROJECT}
    assert {entry["status"] for entry in host.canonical().values()} == {"back"}
    assert {entry["github_url"] for entry in host.projects().values()} == {
        None,
        "https://github.com/acme/moved",
    }


def write_without_status(cmp: Cmp) -> float:
    """Insert and update a row. Return the seconds that both took."""
    started = time.perf_counter()
    cmp.conn.execute("insert into projects (name, key) values ('two', 'k')")
    cmp.conn.execute("update projects set key = 'l'")
    return time.perf_counter() - started


@pytest.mark.parametrize(
    "new_type",
    ["projects_status", *(pytest.param(it, marks=pytest.mark.campaign) for it in ("varchar(40)", "name"))],
)
def test_a_column_of_another_type_is_still_read(cmp: Cmp, host: Host, new_type: str) -> None:
    """P4: the new type is an enum or another text type. No write fails. The registries stay current."""
    cmp.upsert("one")
    host.daemon()
    cmp.conn.execute("create type projects_status as enum ('active', 'paused')")
    cmp.conn.execute(
        pgsql.SQL("alter table projects alter status type {0} using status::{0}").format(pgsql.SQL(new_type))
    )
    cmp.conn.execute("update projects set status = 'paused'")
    two = cmp.value("insert into projects (name, status) values ('two', 'active') returning id::text")
    verdict = cmp.wait()

    assert verdict.status == "published"
    assert sorted(entry["status"] for entry in host.canonical().values()) == ["active", "paused"]
    assert host.projects()[two]["status"] == "active"


def test_a_column_that_is_no_longer_text_is_shown_as_text(cmp: Cmp, host: Host) -> None:
    """P4, P6: readers of the registry expect text, whatever type the column has in CMP."""
    one = cmp.upsert("one")
    host.daemon()
    cmp.conn.execute("alter table projects alter status type integer using 7")
    with cmp.transaction() as (conn, token):
        conn.execute("update projects set status = 8")
    verdict = cmp.wait(token)

    assert verdict.status == "published"
    assert host.canonical()[one]["status"] == "8"
    assert host.projects()[one]["status"] == "8"


def test_changes_made_while_a_registry_is_held_are_published_afterwards(cmp: Cmp, host: Host) -> None:
    """P1, P6: a change of another project ends the hold, before any retry.

    Regression: only that project was updated in the registry.
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
