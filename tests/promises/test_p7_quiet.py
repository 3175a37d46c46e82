"""P7: equal content is not rewritten, not even its `generated_at`."""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path
from typing import TYPE_CHECKING

from support.host import REGISTRIES, until

if TYPE_CHECKING:
    from support.cmp import Cmp
    from support.host import Host


def full(host: Host) -> tuple[dict[str, bytes], dict[str, tuple[int, int]]]:
    """Return every file's bytes, stamp included, and its inode and time."""
    return {name: host.raw(name) for name in REGISTRIES}, host.stats()


def test_a_restart_rewrites_nothing(cmp: Cmp, host: Host) -> None:
    """P7: stopped, killed, told to read its configuration again."""
    cmp.fill(50)
    daemon = host.daemon()
    before = full(host)
    daemon.stop()
    daemon = host.daemon()
    stopped = full(host)
    daemon.kill()
    daemon = host.daemon()
    killed = full(host)
    seen = len(daemon.events)
    daemon.process.send_signal(signal.SIGHUP)
    daemon.wait_for("no_change", after=seen)

    assert stopped == killed == full(host) == before


def test_running_once_twice_rewrites_nothing(cmp: Cmp, host: Host) -> None:
    cmp.fill(50)
    first = host.once()
    before = full(host)
    second = host.once()

    assert set(first["registries"]) == {name.rsplit("/", 1)[-1] for name in REGISTRIES}
    assert second["registries"] == []
    assert second["generation"] == first["generation"]
    assert full(host) == before


def test_there_and_back_in_one_transaction_rewrites_nothing(cmp: Cmp, host: Host) -> None:
    """P7: it is noted, published as of its snapshot, and equals what was there."""
    project = cmp.upsert("a", github_url="https://github.com/acme/a")
    host.daemon()
    before = full(host)
    with cmp.transaction() as (conn, token):
        cmp.upsert("b", id=project, conn=conn, github_url="https://github.com/acme/b")
        cmp.upsert("a", id=project, conn=conn, github_url="https://github.com/acme/a")
        conn.execute("delete from projects where id = %s", [project])
        cmp.upsert("a", id=project, conn=conn, github_url="https://github.com/acme/a")
    verdict = cmp.wait(token)

    assert verdict.status == "published"
    assert verdict.registries == ()
    assert full(host) == before


def test_sweeps_and_polls_rewrite_nothing_and_say_nothing(cmp: Cmp, host: Host) -> None:
    """P7: many of both, with a small pause between them."""
    cmp.fill(50)
    daemon = host.daemon(OMNICDC_SWEEP_S="0.01", OMNICDC_POLL_S="0.01", OMNICDC_LOG_LEVEL="debug")
    before, seen = full(host), len(daemon.events)
    lived = cmp.value("select count(*) from pg_stat_activity where datname = current_database()")
    statements = scans(cmp)
    until(lambda: scans(cmp) > statements + 20, "many sweeps")

    assert lived >= 2
    assert daemon.events[seen:] == []
    assert full(host) == before


def scans(cmp: Cmp) -> int:
    """Return how often the table was scanned."""
    cmp.conn.execute("select pg_stat_clear_snapshot()")
    return int(cmp.value("select seq_scan from pg_stat_user_tables where relname = 'projects'"))


def test_a_rebuild_that_finds_nothing_rewrites_nothing(cmp: Cmp, host: Host) -> None:
    cmp.fill(50)
    host.daemon()
    before = full(host)
    answer = host.ask("rebuild")

    assert answer["success"]
    assert answer["registries_updated"] == []
    assert full(host) == before


def test_a_file_that_was_touched_or_copied_back_is_recognised(cmp: Cmp, host: Host) -> None:
    """P7: another time, another inode, the same bytes: not drift, and not rewritten.

    The third is gone, to wait for.
    """
    cmp.fill(5)
    daemon = host.daemon(OMNICDC_POLL_S="0.05")
    touched, copied, gone = (host.root / name for name in REGISTRIES)
    os.utime(touched, ns=(1, 1))
    Path(shutil.copy(copied, host.state / "copy")).replace(copied)
    before = host.stats()
    gone.unlink()
    until(gone.exists, "the look that saw all three")
    daemon.stop()

    assert host.rewritten(before) == {REGISTRIES[2]}
    assert [event["registry"] for event in daemon.events if event["event"] == "drift_found"] == [gone.name]
