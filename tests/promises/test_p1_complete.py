"""P1: every committed change of a watched column reaches every registry that it affects.

No other change reaches a registry.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support.cmp import undo
from support.host import CANONICAL, PROJECT, REGISTRIES, Host
from support.rebuild import assert_as_rebuilt

from omnicdc.log.timings import IN_HISTORY, ORDER

if TYPE_CHECKING:
    from typing import LiteralString

    from support.cmp import Cmp

ALL = set(REGISTRIES)
A, B = "00000000-0000-0000-0000-00000000000a", "00000000-0000-0000-0000-00000000000b"

STEPS: list[tuple[str, LiteralString, set[str]]] = [
    ("status", "update projects set status = 'paused' where name = 'one'", {CANONICAL, PROJECT}),
    ("type", "update projects set type = 'LIBRARY' where name = 'one'", {CANONICAL, PROJECT}),
    ("key", "update projects set key = 'uno' where name = 'one'", {CANONICAL, PROJECT}),
    ("name", "update projects set name = 'first' where name = 'one'", {CANONICAL, PROJECT}),
    (
        "domain",
        """update projects set metadata_ = metadata_ || '{"domain": "d"}' where name = 'first'""",
        {CANONICAL, PROJECT},
    ),
    (
        "url",
        """update projects set metadata_ = metadata_ || '{"github_url": "https://github.com/acme/first"}'
            where name = 'first'""",
        ALL,
    ),
    (
        "url spelt differently, the same repository",
        """update projects set metadata_ = metadata_ || '{"github_url": "git@github.com:acme/first.git"}'
            where name = 'first'""",
        {CANONICAL, PROJECT},
    ),
    ("url gone", "update projects set metadata_ = metadata_ - 'github_url' where name = 'first'", ALL),
    ("id", "update projects set id = gen_random_uuid() where name = 'two'", ALL),
    ("insert without a repository", "insert into projects (name) values ('three')", {CANONICAL, PROJECT}),
    ("copied rows", "insert into projects (name) select name || '-copy' from projects", {CANONICAL, PROJECT}),
    ("delete without a repository", "delete from projects where name = 'three'", {CANONICAL, PROJECT}),
    ("delete with a repository", "delete from projects where name = 'two'", ALL),
    (
        "insert with a repository",
        """insert into projects (name, metadata_)
           values ('four', '{"github_url": "https://github.com/acme/four"}')""",
        ALL,
    ),
    ("truncate", "truncate projects", ALL),
]

NO_EFFECT: list[LiteralString] = [
    "update projects set updated_at = clock_timestamp()",
    "update projects set description = 'longer'",
    """update projects set metadata_ = metadata_ || '{"stars": 5}'""",
    "update projects set name = name, metadata_ = metadata_",
    "update projects set status = 'gone' where false",
]


def test_an_upsert_updates_every_registry(cmp: Cmp, host: Host) -> None:
    host.daemon()
    project = cmp.upsert("apollo", github_url="https://github.com/acme/apollo")

    assert host.ask("wait")["verdict"] == "published"
    assert host.canonical()[project]["name"] == "apollo"
    assert host.projects()[project]["display_name"] == "apollo"
    assert [element["uuid"] for element in host.inventory()] == [project]


def test_a_change_rewrites_only_the_registries_that_it_affects(cmp: Cmp, host: Host) -> None:
    """P1: the other files keep their inode and their modification time."""
    cmp.upsert("one", github_url="https://github.com/acme/one")
    cmp.upsert("two", github_url="https://github.com/acme/two")
    daemon = host.daemon()
    rewritten, scanned = {}, {}
    for what, statement, _ in STEPS:
        before = host.stats()
        cmp.conn.execute(statement)
        cmp.arrived()
        rewritten[what] = host.rewritten(before)
        generation = cmp.consumer("host")["generation"]
        scanned[what] = daemon.wait_for("published", generation=generation)["scanners"]

    assert rewritten == {what: expected for what, _, expected in STEPS}
    assert scanned["status"] == ["cmp_projects", "project"]
    assert scanned["domain"] == ["cmp_projects", "project"]
    assert scanned["url"] == ["cmp_projects", "project", "git"]
    assert_as_rebuilt(cmp, host)


def test_a_generation_reports_its_timings(cmp: Cmp, host: Host) -> None:
    """The log and `status` show the time of each stage, in the order in which a change passes the stages."""
    daemon = host.daemon()
    cmp.upsert("timed", github_url="https://github.com/acme/timed")
    cmp.arrived()
    line = daemon.wait_for("published", generation=cmp.consumer("host")["generation"])
    [consumer] = host.ask("status")["consumers"]

    assert tuple(line["ms"]) == ORDER
    assert all(ms > 0 for ms in line["ms"].values())
    # The row of a generation is written by its acknowledgement: see `IN_HISTORY`.
    assert tuple(consumer["stages_ms"]) == IN_HISTORY == ORDER[:-1]
    assert [*consumer["stages_ms"].values()] == pytest.approx(
        [line["ms"][stage] for stage in IN_HISTORY], abs=0.01
    )


def test_a_change_that_no_registry_shows_is_not_logged(cmp: Cmp, host: Host) -> None:
    """P1: a change of an unwatched column, or to an equal value, is not logged and rewrites no file."""
    project = cmp.upsert("quiet", github_url="https://github.com/acme/quiet")
    host.daemon()
    before, logged = host.stats(), cmp.log()
    for statement in NO_EFFECT:
        cmp.conn.execute(statement)
    cmp.upsert("quiet", id=project, github_url="https://github.com/acme/quiet")
    with cmp.transaction() as (conn, token):
        conn.execute(NO_EFFECT[0])

    assert cmp.wait(token).status == "nothing_to_do"
    assert cmp.log() == logged
    assert host.rewritten(before) == set()


def test_a_rollback_is_never_published(cmp: Cmp, host: Host) -> None:
    """P1: this holds for a transaction, and for a savepoint inside a committed transaction."""
    host.daemon()
    with cmp.transaction() as (conn, _):
        cmp.upsert("never", conn=conn)
        undo()
    with cmp.transaction() as (conn, token):
        kept = cmp.upsert("kept", conn=conn)
        with conn.transaction():
            cmp.upsert("nor this", conn=conn)
            cmp.upsert("spoilt", id=kept, conn=conn)
            undo()
        also_kept = cmp.upsert("kept as well", conn=conn)
    cmp.arrived(token)

    assert {project: entry["name"] for project, entry in host.canonical().items()} == {
        kept: "kept",
        also_kept: "kept as well",
    }


def test_a_transaction_that_begins_first_and_commits_last_is_published(cmp: Cmp, host: Host) -> None:
    """P1: other transactions are published in the meantime.

    A reader that remembers only the highest transaction id would lose the late one.
    """
    host.daemon()
    with cmp.transaction() as (conn, late):
        first = cmp.upsert("began first", conn=conn)
        with cmp.transaction() as (other, early):
            second = cmp.upsert("committed first", conn=other)
        cmp.arrived(early)
        between = set(host.canonical())
        third = cmp.upsert("in between")
        cmp.arrived()
    verdict = cmp.arrived(late)

    assert int(late) < int(early)
    assert between == {second}
    assert verdict.status == "published"
    assert set(host.canonical()) == set(host.projects()) == {first, second, third}


def test_a_transaction_that_is_open_during_a_restart_is_published(cmp: Cmp, host: Host) -> None:
    """P1: it begins before the first daemon ends, and commits after the next daemon has started."""
    daemon = host.daemon()
    with cmp.transaction() as (conn, late):
        first = cmp.upsert("open for long", conn=conn)
        cmp.upsert("another")
        cmp.arrived()
        daemon.stop()
        host.daemon()
        cmp.upsert("a third")
        cmp.arrived()
    cmp.arrived(late)

    assert first in host.canonical()
    assert len(host.projects()) == 3


def test_changes_written_without_a_daemon_are_published_at_the_next_start(cmp: Cmp, host: Host) -> None:
    daemon = host.daemon()
    cmp.fill(300)
    cmp.arrived()
    daemon.stop()
    cmp.conn.execute("update projects set status = 'archived' where name like '%7'")
    cmp.conn.execute("delete from projects where name like '%3'")
    cmp.conn.execute("update projects set id = gen_random_uuid() where name like '%9'")
    late = [cmp.upsert(f"written alone {number}") for number in range(20)]
    host.daemon()
    cmp.arrived()

    assert set(late) <= host.canonical().keys()
    assert_as_rebuilt(cmp, host)


def test_projects_that_share_a_repository_share_its_element(cmp: Cmp, host: Host) -> None:
    """P1: `uuid` is the first project by name, then by id.

    `uuids` lists all projects in that order. It exists only while several projects share the repository.
    """
    url = "https://github.com/acme/shared"
    cmp.upsert("same", id=B, github_url=url)
    host.daemon()
    alone = host.inventory()
    cmp.upsert("same", id=A, github_url=f"{url}.git")
    cmp.arrived()
    both = host.inventory()
    cmp.set(A, name="zebra")
    cmp.arrived()
    renamed = host.inventory()
    cmp.set(B, github_url="https://github.com/acme/own")
    cmp.arrived()
    parted = host.inventory()

    assert [(element["uuid"], element.get("uuids")) for element in alone] == [(B, None)]
    assert [(element["uuid"], element.get("uuids")) for element in both] == [(A, [A, B])]
    assert [(element["uuid"], element.get("uuids")) for element in renamed] == [(B, [B, A])]
    assert [(element["url"], element["uuid"], element.get("uuids")) for element in parted] == [
        ("https://github.com/acme/own", B, None),
        ("https://github.com/acme/shared", A, None),
    ]


def test_a_prepared_transaction_is_published_once_it_is_committed(cmp: Cmp, host: Host) -> None:
    """P1: with `wake: poll`, because PREPARE TRANSACTION fails in a transaction that has notified."""
    host.daemon(OMNICDC_WAKE="poll", OMNICDC_POLL_S="0.05")
    cmp.conn.execute("begin")
    project = cmp.upsert("in two phases")
    cmp.conn.execute("prepare transaction 'omnicdc_p1'")
    cmp.upsert("meanwhile")
    cmp.arrived()
    before = set(host.canonical())
    cmp.conn.execute("commit prepared 'omnicdc_p1'")
    cmp.arrived()

    assert project not in before
    assert project in host.canonical()
