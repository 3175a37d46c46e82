"""Consumers are added and removed: by `omnicdc consumer forget`, by their expiry, and by `run --once`."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

import psycopg
from support.host import until
from support.session import opened

from omnicdc import db
from omnicdc.answers.status import status
from omnicdc.db import sql
from omnicdc.delivery.retention import Retention

if TYPE_CHECKING:
    from support.cmp import Cmp
    from support.host import Host
    from support.sessions import People


def register(
    cmp: Cmp, name: str, *, seen: str = "0 s", limit: str | None = None, generations: int = 0
) -> None:
    """Insert a consumer whose daemon is not connected; its last heartbeat is `seen` ago."""
    cmp.conn.execute(
        """insert into omnicdc.consumer (name, snapshot, system_identifier, timeline, generation, host, root,
                                         version, seen_at, expiry)
           select %s, '1:1:', (select system_identifier from pg_control_system()), 1, 1, 'h', 'r', 'v',
                  clock_timestamp() - %s::interval, %s::interval""",
        [name, seen, limit],
    )
    cmp.conn.execute(
        """insert into omnicdc.history (consumer, generation, snapshot, changes, registries)
           select %s, i, '1:1:', 1, '{}' from generate_series(1, %s) i""",
        [name, generations],
    )


def names(cmp: Cmp) -> list[str]:
    rows = cmp.conn.execute("select name from omnicdc.consumer order by name").fetchall()
    return [str(row[0]) for row in rows]


def faults(cmp: Cmp) -> list[str]:
    with db.connect(cmp.dsn) as conn:
        found: list[str] = status(conn)["faults"]
    return found


def test_run_once_leaves_no_fault_and_does_not_block_pruning(cmp: Cmp, host: Host) -> None:
    """Regression: `run --once --consumer x` made `status` unhealthy, and stopped pruning for a day."""
    host.ask("run", "--once", "--consumer", "x")
    before = faults(cmp)
    cmp.upsert("apollo")
    pruned = cmp.value("select changes from omnicdc.prune('-1 s', '1 day')")

    assert before == []
    assert faults(cmp) == []
    assert pruned == 1
    assert not cmp.consumer("x")["daemon"]


def test_run_once_does_not_hide_that_the_daemon_is_down(cmp: Cmp, host: Host) -> None:
    with opened(host) as daemon:
        daemon.publish()
    host.once()

    assert ["no daemon is serving" in fault for fault in faults(cmp)] == [True]
    assert ["`omnicdc consumer forget host`" in fault for fault in faults(cmp)] == [True]


def test_list_shows_consumers_and_forget_removes_one(cmp: Cmp, host: Host) -> None:
    register(cmp, "gone", generations=6_000)
    register(cmp, "kept")
    listed = host.ask("consumer", "list")["consumers"]
    forgotten = host.ask("consumer", "forget", "gone")

    assert [(one["name"], one["alive"], one["daemon"]) for one in listed] == [
        ("gone", False, True),
        ("kept", False, True),
    ]
    assert forgotten == {"forgotten": "gone"}
    assert names(cmp) == ["kept"]
    assert cmp.value("select count(*) from omnicdc.history") == 0


def test_forget_refuses_an_unknown_name_and_a_running_daemon(cmp: Cmp, host: Host) -> None:
    register(cmp, "registry-1")
    unknown = host.run("consumer", "forget", "registry-2")
    with opened(host) as daemon:
        daemon.publish()
        alive = host.run("consumer", "forget", "host")

    assert (unknown.returncode, alive.returncode) == (2, 2)
    assert "did you mean registry-1?" in unknown.stderr
    assert "is running" in alive.stderr
    assert names(cmp) == ["host", "registry-1"]


def test_clients_may_list_consumers_and_only_daemons_may_forget(cmp: Cmp, host: Host, people: People) -> None:
    register(cmp, "gone")
    client, daemon = (people.dsn(people.add(group)) for group in ("omnicdc_client", "omnicdc_daemon"))
    listed = host.run("consumer", "list", OMNICDC_DSN=client)
    refused = host.run("consumer", "forget", "gone", OMNICDC_DSN=client)
    accepting = host.run("accept", OMNICDC_DSN=client)
    done = host.run("consumer", "forget", "gone", OMNICDC_DSN=daemon)

    assert (listed.returncode, refused.returncode, done.returncode) == (0, 2, 0)
    assert "grant omnicdc_daemon to person_" in refused.stderr
    assert "grant omnicdc_daemon to person_" in accepting.stderr
    assert names(cmp) == []


def test_each_consumer_is_removed_after_its_own_expiry(cmp: Cmp, host: Host) -> None:
    """A connected consumer is never removed, however old its heartbeat is."""
    register(cmp, "container-1", seen="2 hours", limit="1 hour", generations=10)
    register(cmp, "container-2", seen="2 hours", limit="3 hours")
    register(cmp, "of an older version", seen="2 hours")
    with opened(host, OMNICDC_CONSUMER_EXPIRY="4h") as daemon:
        daemon.publish()
        cmp.conn.execute("update omnicdc.consumer set seen_at = '2001-01-01' where name = 'host'")
        Retention(daemon.conn, daemon.state).finish(60)
        left = names(cmp)

    assert left == ["container-2", "host", "of an older version"]
    assert cmp.value("select count(*) from omnicdc.history where consumer <> 'host'") == 0


def test_the_log_is_kept_for_a_consumer_until_its_own_expiry(cmp: Cmp) -> None:
    register(cmp, "patient", seen="2 hours", limit="3 hours")
    cmp.upsert("apollo")

    assert cmp.value("select changes from omnicdc.prune('-1 s', '1 minute')") == 0


def test_a_running_daemon_whose_row_was_deleted_inserts_it_again(cmp: Cmp, host: Host) -> None:
    daemon = host.daemon()
    cmp.conn.execute("delete from omnicdc.consumer")
    cmp.upsert("apollo")
    cmp.arrived()

    assert names(cmp) == ["host"]
    assert daemon.process.poll() is None


def name_locked(name: str, conn: psycopg.Connection[tuple[object, ...]]) -> bool:
    """Lock a consumer's name as its daemon does; return whether the lock was free."""
    row = conn.execute(sql.query("lock_consumer_name").encode(), {"name": name}).fetchone()
    assert row
    return bool(row[0])


def test_a_daemon_that_connects_while_it_is_forgotten_waits(cmp: Cmp) -> None:
    """Regression: the daemon served without a row, and `wait` ignored it, until its next acknowledgement."""
    register(cmp, "gone")
    with cmp.connect() as daemon, cmp.connect() as forgetting:
        with forgetting.transaction():
            forgetting.execute("select omnicdc.forget_consumer('gone')")
            meanwhile = name_locked("gone", daemon)
        afterwards = name_locked("gone", daemon)

    assert (meanwhile, afterwards) == (False, True)
    assert names(cmp) == []


def test_a_daemon_that_connects_during_pruning_is_not_removed(cmp: Cmp) -> None:
    """Regression: pruning failed ("run `omnicdc install`").

    `is_alive` is replaced so that the daemon connects just after the check whether it is alive.
    """
    register(cmp, "container-1", seen="2 days")
    with cmp.connect() as daemon, cmp.connect() as pruning, pruning.transaction(force_rollback=True):
        assert name_locked("container-1", daemon)
        pruning.execute(
            "create or replace function omnicdc.is_alive(consumer text) returns boolean language sql as "
            "'select false'"
        )
        pruned = pruning.execute("select forgotten from omnicdc.prune('7 days', '1 day')").fetchone()
        left = pruning.execute("select name from omnicdc.consumer").fetchall()

    assert pruned == (None,)
    assert left == [("container-1",)]


def test_a_daemon_that_was_forgotten_while_it_reconnects_is_restored(cmp: Cmp, host: Host) -> None:
    """Its session was lost, so nothing shows that it runs. Only the history of its generations is lost."""
    cmp.conn.execute("alter table projects alter name drop not null")
    cmp.conn.execute("insert into projects (key) values ('nameless')")
    daemon = host.daemon()
    with cmp.transaction() as (conn, token):
        cmp.upsert("apollo", conn=conn)
    before = cmp.wait(token)
    while "host" in names(cmp):
        cmp.conn.execute("select pg_terminate_backend(omnicdc.consumer_pid('host'), 5000)")
        with suppress(psycopg.Error):
            cmp.conn.execute("select omnicdc.forget_consumer('host')")
    until(lambda: names(cmp) == ["host"], "the consumer has a row again")
    cmp.upsert("gemini")
    verdict_for_all = cmp.wait()
    row = cmp.consumer("host")

    assert before.status == "published"
    assert verdict_for_all.status == "quarantined"
    assert row["daemon"]
    assert row["quarantined_counts"] == {"PROJECT_REGISTRY_V1.yaml": 1}
    assert row["generation"] > (before.generation or 0)
    assert cmp.wait(token).status == "published"
    assert daemon.process.poll() is None
