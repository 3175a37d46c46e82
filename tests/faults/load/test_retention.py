"""The log is pruned while consumers are dead, stopped, held, or reading."""

from __future__ import annotations

import shutil
import signal
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from support.frozen_daemon import freeze
from support.host import INVENTORY, Host, until
from support.rebuild import assert_as_rebuilt

if TYPE_CHECKING:
    import random
    from collections.abc import Sequence

    from support.cmp import Cmp
    from support.evidence import Evidence, Scale

pytestmark = [pytest.mark.timeout(900), pytest.mark.xdist_group("load")]  # on one server

AT_ONCE = "-1 second"
"""An age that every change has reached, also one that is written now."""


@pytest.mark.campaign
def test_the_log_is_kept_for_a_dead_consumer_until_it_expires(
    cmp: Cmp, tmp_path: Path, scale: Scale, evidence: Evidence
) -> None:
    """P1, P8: one of many consumers is dead for longer than its `consumer_expiry`, which is a day.

    Then its changes are pruned. When its daemon starts again, it scans in full.
    """
    count, writes = scale(2, 16), scale(20, 300)
    cmp.fill(100)
    hosts = [Host(tmp_path / f"consumer{number}", cmp.dsn) for number in range(count)]
    try:
        daemons = [host.daemon() for host in hosts]
        dead = hosts[0]
        cmp.arrived()
        daemons[0].kill()
        for number in range(writes):
            cmp.upsert(f"while it was dead {number}")
        cmp.arrived()
        prune_all(cmp)
        kept = count_logged_changes(cmp)
        cmp.conn.execute(
            "update omnicdc.consumer set seen_at = seen_at - interval '1 day' where name = 'consumer0'"
        )
        gone = prune_all(cmp)
        left = count_logged_changes(cmp)
        behind = dead.content() != hosts[1].content()
        dead.daemon()

        # The last changes are kept if their transactions began before others had ended.
        assert (kept, gone > writes - 10, left < 10, behind) == (writes, True, True, True)
        assert_as_rebuilt(cmp, *hosts)
    finally:
        for host in hosts:
            host.close()
    evidence(
        "P1 P8",
        f"{count} consumers of one database, one of them dead; {writes} changes; a day later (its last "
        f"heartbeat set back)",
        times=count,
        found=f"until then all it had not read was kept; after that {gone} were pruned, {left} left; "
        f"returned, it scanned in full, and all {count} had the files of a full rebuild",
    )


def prune_all(cmp: Cmp) -> int:
    """Prune the log as every daemon does once a minute, but changes of any age. Returns their number.

    While a daemon prunes, `prune` would do nothing, so this waits for its lock.
    """
    with cmp.connect() as conn, conn.transaction():
        conn.execute("select from omnicdc.source order by id limit 1 for update")
        found = conn.execute("select changes from omnicdc.prune(%s::interval, '1 day')", [AT_ONCE]).fetchone()
    assert found
    return int(found[0])


def count_logged_changes(cmp: Cmp) -> int:
    """Return how many changes the log holds, without canaries."""
    return int(cmp.value("select count(*) from omnicdc.change where source is distinct from 0"))


def test_a_daemon_stopped_for_longer_than_its_expiry_scans_in_full(
    cmp: Cmp, host: Host, scale: Scale, evidence: Evidence
) -> None:
    """P1, P5, P8: changes are pruned although the stopped daemon has not read them.

    When the daemon continues, it must not acknowledge these changes before it has published them.
    """
    rounds = scale(1, 10)
    cmp.fill(30)
    daemon = host.daemon(OMNICDC_POLL_S="5")
    cmp.arrived()
    for number in range(rounds):
        freeze(daemon, cmp)
        with cmp.transaction() as (conn, token):
            cmp.upsert(f"while it was stopped {number}", conn=conn)
        cmp.conn.execute("update omnicdc.consumer set expiry = '0 s'")
        deleted = prune_all(cmp)
        daemon.process.send_signal(signal.SIGCONT)
        cmp.arrived()
        verdict = cmp.wait(token)

        assert deleted > 0
        assert f"while it was stopped {number}" in str(host.canonical())
        assert verdict.status == "published", verdict
    assert_as_rebuilt(cmp, host)
    evidence(
        "P1 P5 P8",
        "a daemon stopped (SIGSTOP) for longer than `consumer_expiry` and `retention`, and continued: what "
        "it had not read was deleted",
        times=rounds,
        found="it noticed, scanned in full, and only then was the change called published",
    )


def test_the_log_is_pruned_although_a_registry_is_held(
    cmp: Cmp, host: Host, scale: Scale, evidence: Evidence
) -> None:
    """P6, P8: the consumer is alive, but one registry cannot be written for long.

    After the repair, the registry also shows the changes that were pruned meanwhile.
    """
    rounds = scale(1, 10)
    cmp.fill(30)
    host.daemon(OMNICDC_POLL_S="0.1")
    obstacle = (host.root / INVENTORY).with_name(f".{Path(INVENTORY).name}.omnicdc-tmp")
    for number in range(rounds):
        cmp.arrived()
        (obstacle / "full").mkdir(parents=True)
        for write in range(20):
            cmp.upsert(
                f"while it was held {number} {write}", github_url=f"https://github.com/held/{number}-{write}"
            )
        status = cmp.wait().status
        deleted = prune_all(cmp)
        left = count_logged_changes(cmp)
        lacking = (
            b"while it was held" not in host.raw(INVENTORY)
            and f"held/{number}-" not in host.raw(INVENTORY).decode()
        )
        shutil.rmtree(obstacle)
        until(lambda: cmp.wait().status == "published", "the registry is written")

        assert (status, left, deleted >= 20, lacking) == ("held", 0, True, True)
        assert_as_rebuilt(cmp, host)
    evidence(
        "P6 P8",
        "a registry held for long (nothing can be written in its directory), and the log pruned meanwhile",
        times=rounds,
        found="the log was pruned all the same; fixed, the registry was scanned in full; files = full "
        "rebuild",
    )


@pytest.mark.campaign
def test_pruning_loses_no_change_while_daemons_read(
    cmp: Cmp, host: Host, tmp_path: Path, dice: random.Random, scale: Scale, evidence: Evidence
) -> None:
    """P1: the log is pruned again and again while two daemons read and four connections write.

    The age of the changes does not matter.
    """
    rounds, writes = scale(1, 20), 100
    ids = [f"00000000-0000-0000-0000-{number:012}" for number in range(40)]
    second = Host(tmp_path / "second", cmp.dsn)
    pruned = done = 0
    try:
        host.daemon(OMNICDC_POLL_S="0.2")
        second.daemon(OMNICDC_POLL_S="0.2")
        while (
            done < rounds or not pruned
        ):  # if a daemon reads slowly, nothing can be pruned before the writers end
            done += 1
            plans = [[(dice.choice(ids), str(dice.random())) for _ in range(writes)] for _ in range(4)]
            threads = [threading.Thread(target=write_plan, args=(cmp, plan)) for plan in plans]
            for thread in threads:
                thread.start()
            while any(thread.is_alive() for thread in threads):
                pruned += prune_all(cmp)
            assert_as_rebuilt(cmp, host, second)
    finally:
        second.close()
    evidence(
        "P1",
        "the log pruned over and over, of changes of any age, while two daemons read it and four "
        "connections wrote",
        times=done * 4 * writes,
        found=f"{pruned:,} changes deleted; after each of {done} quiet moments the files of both = full "
        f"rebuild",
    )


def write_plan(cmp: Cmp, plan: Sequence[tuple[str, str]]) -> None:
    with cmp.connect() as conn:
        for project, status in plan:
            cmp.upsert(f"project {project}", id=project, status=status, conn=conn)
