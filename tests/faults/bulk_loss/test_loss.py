"""A registry that would lose most of its entries at once is held, and no other registry."""

from __future__ import annotations

import signal
import threading
from typing import TYPE_CHECKING

import pytest
from faults.bulk_loss.guard import ACCEPT, NAMES, held_reasons, loss_reason
from faults.bulk_loss.rows import (
    delete_in_one_statement,
    project_ids,
    restore_rows,
    save_rows,
    truncate_table,
)
from support.host import INVENTORY, REGISTRIES, Host, until

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Sequence

    from support.cmp import Cmp
    from support.evidence import Evidence, Scale


def delete_in_one_transaction(cmp: Cmp, ids: Sequence[str]) -> None:
    """Delete each row in a savepoint of its own, then roll back a delete of all rows."""
    with cmp.transaction() as (conn, _):
        for project in ids:
            conn.execute("savepoint one")
            conn.execute("delete from projects where id = %s", [project])
            conn.execute("release one")
        conn.execute("savepoint never; delete from projects; rollback to never")


def move_to_another_table(cmp: Cmp, ids: Sequence[str]) -> None:
    cmp.conn.execute("create table if not exists archive (like projects)")
    cmp.conn.execute(
        """with gone as (delete from projects where id = any (%s) returning *)
           insert into archive select * from gone""",
        [list(ids)],
    )


LOSSES: tuple[Callable[[Cmp, Sequence[str]], None], ...] = (
    truncate_table, delete_in_one_statement, delete_in_one_transaction, move_to_another_table,
)  # fmt: skip


def test_a_large_loss_is_held_reported_and_released_when_the_rows_are_back(
    cmp: Cmp, host: Host, scale: Scale, dice: random.Random, evidence: Evidence
) -> None:
    """P6: this is so for each way to remove rows. Nothing must be accepted, and no file is rewritten."""
    times, before = scale(4, 40), scale(40, 400)
    cmp.fill(before)
    save_rows(cmp)
    daemon = host.daemon()
    content, files = host.content(), host.stats()
    for turn in range(times):
        lose = LOSSES[turn % len(LOSSES)]
        lost = dice.sample(project_ids(cmp), dice.randint(before // 2 + 1, before))
        gone = before if lose is truncate_table else len(lost)
        seen = len(daemon.events)
        lose(cmp, lost)
        if turn < scale(1, len(LOSSES)):
            waited = host.run("wait")
            assert waited.returncode == 1
            assert '"held"' in waited.stdout
            assert loss_reason(gone, before) in waited.stdout
            assert ACCEPT in waited.stdout
            assert held_reasons(host) == dict.fromkeys(NAMES, loss_reason(gone, before))
        verdict = cmp.wait()
        assert (verdict.status, ACCEPT in verdict.hint) == ("held", True)
        for name in NAMES:
            event = daemon.wait_for("held", after=seen, registry=name, reason=loss_reason(gone, before))
            assert ACCEPT in event["hint"]
        assert host.content() == content, lose.__name__
        restore_rows(cmp)
        cmp.arrived()

    assert held_reasons(host) == {}
    assert host.rewritten(files) == set()
    evidence(
        "P5 P6",
        f"TRUNCATE, or more than half of {before} rows deleted by one statement, by one transaction of "
        f"many, or moved away; "
        "then put back",
        times=times,
        found=f"held {times} times; `wait`, `status` and the log gave the numbers and the command; nothing "
        f"was rewritten, "
        "and it was released by itself",
    )


@pytest.mark.campaign
def test_only_the_registry_that_would_lose_entries_is_held(
    cmp: Cmp, host: Host, scale: Scale, evidence: Evidence
) -> None:
    """P5, P6: a change of all URLs empties the inventory only. The other registries are published."""
    before, times = scale(40, 1000), scale(2, 6)
    cmp.fill(before)
    save_rows(cmp)
    host.daemon()
    inventory = host.raw(INVENTORY)
    for turn in range(times):
        key = ("github_url", "domain")[turn % 2]
        change = (
            "metadata_ - 'github_url'", """metadata_ || '{"github_url": "https://gitlab.com/acme/moved"}'""",
            """metadata_ || '{"github_url": "https://github.com/acme/all-in-one"}'""",
        )[turn % 3]  # fmt: skip
        cmp.conn.execute(f"update projects set metadata_ = {change}")
        # Changes that are read together get one verdict, so this test makes them one after the other.
        assert cmp.wait().status == "held"
        with cmp.transaction() as (conn, other):
            conn.execute("update projects set status = %s", [f"{key} {turn}"])
        # One repository for all projects is one new entry, so one entry less is lost.
        lost = before - (turn % 3 == 2)
        assert cmp.wait(other).status == "published", "the inventory does not contain the status"
        assert held_reasons(host) == {NAMES[REGISTRIES.index(INVENTORY)]: loss_reason(lost, before)}
        assert {entry["status"] for entry in host.canonical().values()} == {f"{key} {turn}"}
        assert host.raw(INVENTORY) == inventory
        cmp.conn.execute("update projects p set metadata_ = k.metadata_ from kept k where k.id = p.id")
        cmp.arrived()

    assert host.raw(INVENTORY) == inventory
    evidence(
        "P5 P6",
        f"the URL of all {before:,} projects taken away, moved to another forge, or set to the same "
        f"repository, in one statement",
        times=times,
        found="only the inventory was held; the others followed at once, and the next writes with them",
    )


def test_a_change_of_all_ids_is_not_a_loss(cmp: Cmp, host: Host, scale: Scale, evidence: Evidence) -> None:
    """P1, P6: there are as many entries as before, and all of them are new."""
    before, times = scale(40, 1000), scale(2, 6)
    cmp.fill(before)
    daemon = host.daemon()
    for _ in range(times):
        old = {*project_ids(cmp)}
        cmp.conn.execute("update projects set id = gen_random_uuid()")
        cmp.arrived()
        assert {*host.canonical()} == {*host.projects()} == {*project_ids(cmp)}
        assert not old & {*host.canonical()}
    in_the_inventory = {element["uuid"] for element in host.inventory()}

    assert in_the_inventory == {*project_ids(cmp)}
    assert not [event for event in daemon.events if event["event"] == "held"]
    evidence(
        "P1 P6",
        f"the ids of all {before:,} rows changed in one statement",
        times=times,
        found="published; nothing was held, for nothing was lost",
    )


@pytest.mark.campaign
def test_rows_deleted_one_at_a_time_are_published(
    cmp: Cmp, host: Host, scale: Scale, dice: random.Random, evidence: Evidence
) -> None:
    """P1, P6: the guard counts the entries that are lost between two publications.

    A burst of small transactions can be read in one publication or in several. So it is either published,
    or held and reported. It is never lost, and never published in part.
    """
    times, before = scale(1, 12), scale(24, 40)
    cmp.fill(before)
    save_rows(cmp)
    host.daemon()
    for project in dice.sample(project_ids(cmp), scale(before, before)):
        delete_in_one_statement(cmp, [project])
        cmp.arrived()
    followed = host.canonical() == {} == host.projects()
    ended = {"held": 0, "published": 0}
    for _ in range(times):
        restore_rows(cmp)
        cmp.arrived()
        delete_in_a_burst(cmp, dice.sample(project_ids(cmp), before - 2))
        ended[cmp.wait().status] += 1
        assert host.run("accept").returncode == 0
        assert {*host.canonical()} == {*host.projects()} == {*project_ids(cmp)}
        cmp.arrived()

    assert followed
    evidence(
        "P1 P6",
        f"{before} rows deleted one a transaction: each waited for, then in bursts from four connections",
        times=before + times * (before - 2),
        found=f"each that was waited for was followed; of {times} bursts {ended['held']} were held and "
        f"accepted, "
        f"{ended['published']} followed; the files were right each time",
    )


def delete_in_a_burst(cmp: Cmp, lost: Sequence[str]) -> None:
    """Delete each row in a transaction of its own, from four connections at the same time."""

    def delete(part: Sequence[str]) -> None:
        with cmp.connect() as conn:
            for project in part:
                conn.execute("delete from projects where id = %s", [project])

    writers = [threading.Thread(target=delete, args=[lost[at::4]]) for at in range(4)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()


@pytest.mark.campaign
def test_the_guard_follows_the_configuration(
    cmp: Cmp, host: Host, scale: Scale, dice: random.Random, evidence: Evidence
) -> None:
    """P6: the guard uses `guard_share` and `guard_min`, and their new values after a reload."""
    times = scale(2, 16)
    file = host.root.parent / "omnicdc.yaml"
    host.env["OMNICDC_CONFIG"] = str(file)
    file.write_text("guard_share: 0.5\n")
    daemon = host.daemon()
    found = {"held": 0, "published": 0}
    for turn in range(times):
        rows, percent, least = dice.randint(12, 60), dice.randrange(0, 101, 5), dice.choice([0, 1, 10, 30])
        # Numbers of rows that are close to the limit.
        gone = min(rows, max(1, rows * percent // 100 + dice.randint(-1, 1), least - dice.randint(0, 1)))
        file.write_text(f"guard_share: {percent / 100}\nguard_min: {least}\n")
        seen = len(daemon.events)
        daemon.process.send_signal(signal.SIGHUP)
        daemon.wait_for("reloaded", after=seen)
        cmp.fill(rows)
        cmp.arrived()
        delete_in_one_statement(cmp, project_ids(cmp)[:gone])
        wanted = "held" if gone >= least and gone * 100 > rows * percent else "published"
        found[wanted] += 1
        assert cmp.wait().status == wanted, (turn, rows, gone, percent, least)
        cmp.conn.execute("truncate projects")
        until(lambda: host.run("accept").returncode == 0, "accepted")

    assert found["held"] + found["published"] == times
    evidence(
        "P6",
        "`guard_share` and `guard_min` set to anything and read again by SIGHUP; as many rows deleted as "
        "are just too many, or just not",
        times=times,
        found=f"held {found['held']} and published {found['published']}, each as configured",
    )
