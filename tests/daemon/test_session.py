"""One session from within: what it does by the clock, and what it waits for, without a minute's patience."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

import pytest
from structlog.testing import capture_logs
from support.host import CANONICAL, until
from support.session import opened

from omnicdc import db
from omnicdc.capture import install
from omnicdc.capture.doorbell import Wakeup
from omnicdc.daemon.canary import NOT_RECEIVING, Stage
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


def test_its_heartbeat_prunes_the_log_and_sends_a_canary(cmp: Cmp, host: Host) -> None:
    cmp.upsert("atlas")
    with opened(host, ALWAYS, OMNICDC_RETENTION="1ms") as one:
        one.publish()
        noted, before = cmp.log(), cmp.consumer("host")
        one.canary.stage = Stage.RESTING
        one.keep_house()

        assert (len(noted), cmp.log()) == (1, [])
        assert one.canary.stage is Stage.DUE
    assert cmp.consumer("host")["seen_at"] > before["seen_at"]


def test_what_is_within_the_retention_is_kept(cmp: Cmp, host: Host) -> None:
    cmp.upsert("atlas")
    with opened(host, ALWAYS) as one:
        one.publish()
        one.keep_house()

    assert len(cmp.log()) == 1


def test_its_row_is_written_again_where_somebody_removed_it(cmp: Cmp, host: Host) -> None:
    """P5: who waits must find it."""
    with opened(host) as one:
        one.publish()
        cmp.conn.execute("delete from omnicdc.consumer")
        one.keep_house()

    assert cmp.consumer("host")["generation"] == 1


def test_a_statement_that_the_server_never_answers_ends_it(cmp: Cmp, host: Host) -> None:
    """P7: no lock is waited for, and none times out.

    In silence nobody would know why nothing is published.
    """
    impatient = Timing(statement_timeout="300ms")
    cmp.conn.execute(
        """create function public.never() returns trigger language plpgsql as
             'begin perform pg_sleep(3600); return new; end';
           create trigger never before insert or update on omnicdc.consumer
             for each row execute function public.never()"""
    )

    with (
        pytest.raises(DatabaseUnavailable, match="statement timeout") as caught,
        opened(host, impatient) as one,
    ):
        one.publish()

    assert "does not get on with it" in str(caught.value.hint)


def test_a_watch_that_vanishes_ends_it_with_what_to_run(cmp: Cmp, host: Host) -> None:
    with opened(host) as one:
        one.publish()
        cmp.conn.execute("delete from omnicdc.source")

        with pytest.raises(SchemaMismatch, match="no table is watched"):
            one.keep_house()


def test_where_less_is_watched_than_is_read_each_change_concerns_every_scanner(cmp: Cmp, host: Host) -> None:
    """P1: a newer omnicdc on an older installation."""
    cmp.upsert("atlas")
    with db.connect(cmp.dsn) as conn:
        install.install(conn, "projects", ("name", "status"))
    with capture_logs() as logged, opened(host) as one:
        one.publish()
        cmp.conn.execute("update projects set status = 'frozen'")
        generation = one.publish()

    assert generation
    assert generation.scanners == ("cmp_projects", "project", "git")
    assert [event["lacking"] for event in logged if event["event"] == "watch_list_differs"] == [
        ("key", "metadata_.domain", "metadata_.github_url", "type")
    ]


def test_a_manifest_that_somebody_garbled_is_no_obstacle(cmp: Cmp, host: Host) -> None:
    """P8: of a snapshot that cannot be one everything is scanned, as of one from the future."""
    cmp.upsert("atlas")
    host.once()
    manifest = host.root / MANIFEST
    manifest.write_bytes(re.sub(rb'("snapshot": ?")[^"]*', rb"\1garbled", manifest.read_bytes()))
    before = host.stats()
    with capture_logs() as logged, opened(host) as one:
        one.publish()

    assert "database_restored" in [event["event"] for event in logged]
    assert host.rewritten(before) == set()


def test_a_start_that_cannot_read_a_column_publishes_what_does_not_need_it(cmp: Cmp, host: Host) -> None:
    """P6."""
    cmp.upsert("atlas", github_url=ATLAS)
    cmp.conn.execute("alter table projects drop column status")
    with opened(host) as one:
        generation = one.publish()

    assert generation
    assert generation.registries == ("repo_inventory.json",)
    assert generation.held.keys() == {"canonical_projects_uuids.json", "PROJECT_REGISTRY_V1.yaml"}


def test_a_pipe_in_a_registry_s_place_at_the_first_start_is_put_aside(cmp: Cmp, host: Host) -> None:
    """P8: it holds no entries that could be lost."""
    cmp.upsert("atlas")
    place = host.root / CANONICAL
    place.parent.mkdir(parents=True)
    os.mkfifo(place)
    with opened(host) as one:
        one.publish()

    assert len(host.canonical()) == 1
    assert [path.is_fifo() for path in place.parent.glob(".*aside")] == [True]


def test_a_clone_that_is_found_in_the_background_is_shown(cmp: Cmp, host: Host) -> None:
    """P1: of inputs as well; only what it concerns is scanned."""
    atlas = cmp.upsert("atlas", github_url=ATLAS)
    cmp.upsert("gemini")
    with opened(host, OMNICDC_REFRESH_S="10ms") as one:
        one.publish()
        before = host.stats()
        path = fake_clone(host.root / "clones/atlas")
        until(lambda: one.inputs.current is not one.state.inputs, "the clone is found")
        one.keep_house()
        concerned = {name: set(ids) for name, ids in one.state.rescan.items()}
        one.publish()

    assert concerned == {"project": {atlas}}
    assert host.projects()[atlas]["local_paths"] == [path]
    assert {name.rpartition("/")[2] for name in host.rewritten(before)} == {"PROJECT_REGISTRY_V1.yaml"}


def flown(one: Opened, *, heard: bool) -> Fault | None:
    """Send a canary, and follow it; returns what it told."""
    one.canary.request()
    one.canary.send()
    one.publish()
    one.canary.settle(Wakeup.RANG if heard else Wakeup.DUE)
    return one.canary.fault


def test_a_session_that_did_hear_and_is_deaf_twice_is_given_up(host: Host) -> None:
    """P8: a new connection may hear. Once may be chance, and it listens anew."""
    with opened(host) as one:
        told = [flown(one, heard=True), flown(one, heard=False)]

        with pytest.raises(DatabaseUnavailable, match="notifications do not arrive here"):
            flown(one, heard=False)
    assert told == [None, NOT_RECEIVING]


def test_a_session_that_never_heard_goes_on_by_polling(host: Host) -> None:
    """P8: behind such a pooler a new connection would hear no more than this one."""
    with opened(host) as one:
        told = [flown(one, heard=False) for _ in range(3)]

    assert told == [NOT_RECEIVING] * 3


def test_a_stop_ends_a_full_scan(cmp: Cmp, host: Host) -> None:
    """P8: and then no file is written."""
    cmp.upsert("atlas")
    with opened(host) as one:
        one.state.stop()

        with pytest.raises(Interrupted, match="in the middle of a full scan"):
            one.publish()
    assert host.content() == {}


def test_a_stop_ends_the_waiting_for_a_name(cmp: Cmp, host: Host) -> None:
    """P8: as for the root, of which the other one has another."""
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
        pytest.fail("it has the name, as has the other one")

    assert waited_for == ["consumer host"]
