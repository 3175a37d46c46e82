"""A daemon's session: its periodic tasks and its waits, tested without waiting a minute for them."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

import pytest
from structlog.testing import capture_logs
from support.host import CANONICAL, until
from support.session import opened
from support.sources import projects

from omnicdc import db
from omnicdc.capture import install
from omnicdc.capture.doorbell import NOT_RECEIVING, Wakeup
from omnicdc.daemon.canary import Stage
from omnicdc.daemon.session import session
from omnicdc.daemon.timing import Timing
from omnicdc.errors import DatabaseUnavailable, Interrupted, LockBusy, SchemaMismatch
from omnicdc.files.manifest import MANIFEST
from omnicdc.stop import Stop

if TYPE_CHECKING:
    from pathlib import Path

    from support.cmp import Cmp
    from support.host import Host
    from support.session import Opened

    from omnicdc.model import Fault


ATLAS = "https://github.com/acme/atlas"
ALWAYS = Timing(heartbeat_s=0.0)
"""A heartbeat is always due."""


def fake_clone(path: Path) -> str:
    (path / ".git").mkdir(parents=True)
    (path / ".git/config").write_text(f'[remote "origin"]\n\turl = {ATLAS}\n')
    return str(path)


def test_a_heartbeat_prunes_the_log_and_requests_a_canary(cmp: Cmp, host: Host) -> None:
    cmp.upsert("atlas")
    with opened(host, ALWAYS, OMNICDC_RETENTION="1ms") as one:
        one.publish()
        logged, before = cmp.log(), cmp.consumer("host")
        one.canary.stage = Stage.RESTING
        one.run_periodic_tasks()

        assert (len(logged), cmp.log()) == (1, [])
        assert one.canary.stage is Stage.DUE
    assert cmp.consumer("host")["seen_at"] > before["seen_at"]


def test_changes_within_the_retention_are_kept(cmp: Cmp, host: Host) -> None:
    cmp.upsert("atlas")
    with opened(host, ALWAYS) as one:
        one.publish()
        one.run_periodic_tasks()

    assert len(cmp.log()) == 1


def test_a_deleted_consumer_row_is_written_again(cmp: Cmp, host: Host) -> None:
    """P5: a client that waits must find the row."""
    with opened(host) as one:
        one.publish()
        cmp.conn.execute("delete from omnicdc.consumer")
        one.run_periodic_tasks()

    assert cmp.consumer("host")["generation"] == 1


def test_a_statement_that_the_server_never_answers_ends_the_session(cmp: Cmp, host: Host) -> None:
    """P7: the statement waits for no lock, so no lock timeout ends it.

    Without an error, the reason for the missing publication would not be visible.
    """
    short_timeout = Timing(statement_timeout="300ms")
    cmp.conn.execute(
        """create function public.never() returns trigger language plpgsql as
             'begin perform pg_sleep(3600); return new; end';
           create trigger never before insert or update on omnicdc.consumer
             for each row execute function public.never()"""
    )

    with (
        pytest.raises(DatabaseUnavailable, match="statement timeout") as caught,
        opened(host, short_timeout) as one,
    ):
        one.publish()

    assert "does not get on with it" in str(caught.value.hint)


def test_a_deleted_source_ends_the_session(cmp: Cmp, host: Host) -> None:
    with opened(host) as one:
        one.publish()
        cmp.conn.execute("delete from omnicdc.source")

        with pytest.raises(SchemaMismatch, match="no table is watched"):
            one.run_periodic_tasks()


def test_every_change_runs_every_scanner_if_the_watch_list_is_too_short(cmp: Cmp, host: Host) -> None:
    """P1: this happens with a newer omnicdc on an older installation."""
    cmp.upsert("atlas")
    with db.connect(cmp.dsn) as conn:
        conn.execute("select omnicdc.release_source('projects')")
        install.install(conn, projects("projects", ("name", "status")))
    with capture_logs() as logged, opened(host) as one:
        one.publish()
        cmp.conn.execute("update projects set status = 'frozen'")
        generation = one.publish()

    assert generation
    assert generation.scanners == ("cmp_projects", "project", "git")
    assert [event["lacking"] for event in logged if event["event"] == "watch_list_differs"] == [
        ("projects.key", "projects.metadata_.domain", "projects.metadata_.github_url", "projects.type")
    ]


def test_an_invalid_snapshot_in_the_manifest_causes_a_full_scan(cmp: Cmp, host: Host) -> None:
    """P8: an invalid snapshot is treated like a snapshot from the future: everything is scanned."""
    cmp.upsert("atlas")
    host.once()
    manifest = host.root / MANIFEST
    manifest.write_bytes(re.sub(rb'("snapshot": ?")[^"]*', rb"\1garbled", manifest.read_bytes()))
    before = host.stats()
    with capture_logs() as logged, opened(host) as one:
        one.publish()

    assert "database_restored" in [event["event"] for event in logged]
    assert host.rewritten(before) == set()


def test_a_missing_column_at_the_start_holds_only_the_registries_that_need_it(cmp: Cmp, host: Host) -> None:
    """P6: the other registry is published."""
    cmp.upsert("atlas", github_url=ATLAS)
    cmp.conn.execute("alter table projects drop column status")
    with opened(host) as one:
        generation = one.publish()

    assert generation
    assert generation.registries == ("repo_inventory.json",)
    assert generation.held.keys() == {"canonical_projects_uuids.json", "PROJECT_REGISTRY_V1.yaml"}


def test_a_pipe_in_a_registry_s_place_is_backed_up_at_the_first_start(cmp: Cmp, host: Host) -> None:
    """P8: a pipe holds no entries that could be lost."""
    cmp.upsert("atlas")
    place = host.root / CANONICAL
    place.parent.mkdir(parents=True)
    os.mkfifo(place)
    with opened(host) as one:
        one.publish()

    assert len(host.canonical()) == 1
    assert [path.is_fifo() for path in place.parent.glob(".*aside")] == [True]


def test_a_clone_that_is_found_in_the_background_is_published(cmp: Cmp, host: Host) -> None:
    """P1 for inputs: only the project of the new clone is scanned."""
    atlas = cmp.upsert("atlas", github_url=ATLAS)
    cmp.upsert("gemini")
    with opened(host, OMNICDC_REFRESH_S="10ms") as one:
        one.publish()
        before = host.stats()
        path = fake_clone(host.root / "clones/atlas")
        until(lambda: one.inputs.current is not one.state.inputs, "the clone is found")
        one.run_periodic_tasks()
        rescan = {name: set(ids) for name, ids in one.state.rescan.items()}
        one.publish()

    assert rescan == {"project": {atlas}}
    assert host.projects()[atlas]["local_paths"] == [path]
    assert {name.rpartition("/")[2] for name in host.rewritten(before)} == {"PROJECT_REGISTRY_V1.yaml"}


def canary_fault(one: Opened, *, notified: bool) -> Fault | None:
    """Send a canary, and follow it. Return the fault that it found."""
    one.canary.request()
    one.canary.send()
    one.publish()
    one.canary.settle(Wakeup.RANG if notified else Wakeup.DUE)
    return one.canary.fault


def test_a_session_ends_if_its_notifications_stop_arriving(host: Host) -> None:
    """P8: a new connection may receive them. After the first loss, the session only listens again."""
    with opened(host) as one:
        faults = [canary_fault(one, notified=True), canary_fault(one, notified=False)]

        with pytest.raises(DatabaseUnavailable, match="notifications do not arrive here"):
            canary_fault(one, notified=False)
    assert faults == [None, NOT_RECEIVING]


def test_a_session_goes_on_if_notifications_never_arrived(host: Host) -> None:
    """P8: behind such a pooler, a new connection would not receive them either."""
    with opened(host) as one:
        faults = [canary_fault(one, notified=False) for _ in range(3)]

    assert faults == [NOT_RECEIVING] * 3


def test_a_stop_ends_a_full_scan(cmp: Cmp, host: Host) -> None:
    """P8: no file is written after it."""
    cmp.upsert("atlas")
    with opened(host) as one:
        one.state.stop()

        with pytest.raises(Interrupted, match="in the middle of a full scan"):
            one.publish()
    assert host.content() == {}


def test_a_stop_ends_the_wait_for_a_consumer_name(cmp: Cmp, host: Host) -> None:
    """P8: the same as for the root, which another session may also hold."""
    cmp.upsert("atlas")
    stop, waited_for = Stop(), list[str]()

    def waiting(what: str) -> None:
        waited_for.append(what)
        stop()

    with (
        opened(host) as one,
        pytest.raises(LockBusy, match="stopped while waiting for the consumer's name"),
        session(
            host.config(), one.inputs.current, stop, wait_for_server=True, wait_for_name=True, waiting=waiting
        ),
    ):
        pytest.fail("two sessions have the same name")

    assert waited_for == ["consumer host"]
