"""A loss is held across the end and the start of a daemon."""

from __future__ import annotations

import shutil
import signal
from typing import TYPE_CHECKING

import psycopg
import pytest
from faults.bulk_loss.guard import NAMES, held_reasons, loss_reason
from faults.bulk_loss.rows import delete_in_one_statement, project_ids, restore_rows, save_rows
from support.host import Daemon, Host, until

if TYPE_CHECKING:
    import random
    from collections.abc import Callable

    from support.cmp import Cmp
    from support.evidence import Evidence, Scale

MANIFEST = "governance/registry/omnicdc_manifest.json"


def row_count(cmp: Cmp) -> int:
    number = cmp.value("select count(*) from projects")
    assert isinstance(number, int)
    return number


def stop_daemon(daemon: Daemon, _host: Host) -> None:
    assert daemon.stop() == 0


def kill_daemon(daemon: Daemon, _host: Host) -> None:
    daemon.kill()


def lose_manifest(daemon: Daemon, host: Host) -> None:
    daemon.kill()
    (host.root / MANIFEST).unlink(missing_ok=True)


def garble_manifest(daemon: Daemon, host: Host) -> None:
    daemon.kill()
    (host.root / MANIFEST).write_bytes(b'{"version": 1, "registries": {}')


def lose_state_and_manifest(daemon: Daemon, host: Host) -> None:
    lose_manifest(daemon, host)
    shutil.rmtree(host.state)


def forget_consumer(daemon: Daemon, host: Host) -> None:
    """Lose the manifest and the database's records of this host, as after the restore of an old backup."""
    lose_manifest(daemon, host)
    with psycopg.connect(host.env["OMNICDC_DSN"], autocommit=True) as conn:
        conn.execute("delete from omnicdc.consumer; delete from omnicdc.history")


ENDS: tuple[Callable[[Daemon, Host], None], ...] = (
    stop_daemon, kill_daemon, lose_manifest, garble_manifest, lose_state_and_manifest,
    forget_consumer,
)  # fmt: skip


@pytest.mark.campaign
def test_a_loss_while_the_daemon_is_down_is_held_at_its_start(
    cmp: Cmp, host: Host, scale: Scale, dice: random.Random, evidence: Evidence
) -> None:
    """P6, P8: also without the manifest. Then the daemon counts the entries of the files.

    Regression: a loss was published if the manifest was missing.
    """
    times = scale(2, 12)
    cmp.fill(60)
    save_rows(cmp)
    daemon = host.daemon()
    content, files = host.content(), host.stats()
    for turn in range(times):
        end = ENDS[(2 * turn if times < len(ENDS) else turn) % len(ENDS)]
        lost = dice.sample(project_ids(cmp), dice.randint(31, 60))
        end(daemon, host)
        if turn % 2:
            delete_in_one_statement(cmp, lost)
        else:
            for project in lost:
                delete_in_one_statement(cmp, [project])
        daemon = host.daemon()
        assert cmp.wait().status == "held", end.__name__
        assert held_reasons(host) == dict.fromkeys(NAMES, loss_reason(len(lost), 60)), end.__name__
        assert host.content() == content, end.__name__
        restore_rows(cmp)
        cmp.arrived()

    assert host.rewritten(files) == set()
    evidence(
        "P6 P8",
        "rows deleted while the daemon was down, at once or one a transaction; the manifest there, lost or "
        "garbled, the state "
        "directory and the database's record of the host lost as well",
        times=times,
        found=f"held at {times} of {times} starts, and released when the rows were back",
    )


@pytest.mark.campaign
@pytest.mark.timeout(300)
def test_a_registry_stays_held_after_a_restart(
    cmp: Cmp, host: Host, dice: random.Random, evidence: Evidence
) -> None:
    """P6, P8: the daemon is killed or stopped, the manifest is lost, or the configuration is reloaded."""
    cmp.fill(60)
    daemon = host.daemon()
    content, times = host.content(), 8
    cmp.conn.execute("delete from projects where key > 'key-2'")
    lost = 60 - row_count(cmp)
    assert cmp.wait().status == "held"
    for _ in range(times):
        dice.choice(ENDS[:5])(daemon, host)
        daemon = host.daemon()
        assert held_reasons(host) == dict.fromkeys(NAMES, loss_reason(lost, 60))
        seen = len(daemon.events)
        daemon.process.send_signal(signal.SIGHUP)
        daemon.wait_for("reloaded", after=seen)
        cmp.conn.execute("update projects set status = %s", [f"changed meanwhile {seen}"])
        until(lambda: cmp.wait().status == "held", "held after the reload")
        assert host.content() == content
    accepted = host.run("accept").returncode

    assert accepted == 0
    assert {*host.canonical()} == {*project_ids(cmp)}
    evidence(
        "P6 P8",
        "while a loss is held: the daemon killed or stopped, manifest and state directory lost, "
        "configuration read again, "
        "the projects that are left written",
        times=times,
        found="held through all of it, the last good files untouched; accepted in the end, they were right",
    )
