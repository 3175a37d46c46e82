"""P7: a file with equal content is not rewritten. Even its `generated_at` stays."""

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


def files_with_stamps(host: Host) -> tuple[dict[str, bytes], dict[str, tuple[int, int]]]:
    """Return the bytes of every file, with `generated_at`, and its inode and time."""
    return {name: host.raw(name) for name in REGISTRIES}, host.stats()


def test_a_restart_rewrites_nothing(cmp: Cmp, host: Host) -> None:
    """P7: the daemon is stopped, killed, and reloaded with SIGHUP."""
    cmp.fill(50)
    daemon = host.daemon()
    before = files_with_stamps(host)
    daemon.stop()
    daemon = host.daemon()
    stopped = files_with_stamps(host)
    daemon.kill()
    daemon = host.daemon()
    killed = files_with_stamps(host)
    seen = len(daemon.events)
    daemon.process.send_signal(signal.SIGHUP)
    daemon.wait_for("no_change", after=seen)

    assert stopped == killed == files_with_stamps(host) == before


def test_a_second_run_once_rewrites_nothing(cmp: Cmp, host: Host) -> None:
    cmp.fill(50)
    first = host.once()
    before = files_with_stamps(host)
    second = host.once()

    assert set(first["registries"]) == {name.rsplit("/", 1)[-1] for name in REGISTRIES}
    assert second["registries"] == []
    assert second["generation"] == first["generation"]
    assert files_with_stamps(host) == before


def test_a_change_that_one_transaction_undoes_rewrites_nothing(cmp: Cmp, host: Host) -> None:
    """P7: it is logged and published, but the content equals the old content."""
    project = cmp.upsert("a", github_url="https://github.com/acme/a")
    host.daemon()
    before = files_with_stamps(host)
    with cmp.transaction() as (conn, token):
        cmp.upsert("b", id=project, conn=conn, github_url="https://github.com/acme/b")
        cmp.upsert("a", id=project, conn=conn, github_url="https://github.com/acme/a")
        conn.execute("delete from projects where id = %s", [project])
        cmp.upsert("a", id=project, conn=conn, github_url="https://github.com/acme/a")
    verdict = cmp.wait(token)

    assert verdict.status == "published"
    assert verdict.registries == ()
    assert files_with_stamps(host) == before


def test_sweeps_and_polls_rewrite_nothing_and_log_nothing(cmp: Cmp, host: Host) -> None:
    """P7: many sweeps and polls, with a small pause between them."""
    cmp.fill(50)
    daemon = host.daemon(OMNICDC_SWEEP_S="0.01", OMNICDC_POLL_S="0.01", OMNICDC_LOG_LEVEL="debug")
    before, seen = files_with_stamps(host), len(daemon.events)
    sessions = cmp.value("select count(*) from pg_stat_activity where datname = current_database()")
    statements = scans(cmp)
    until(lambda: scans(cmp) > statements + 20, "many sweeps")

    assert sessions >= 2
    assert daemon.events[seen:] == []
    assert files_with_stamps(host) == before


def scans(cmp: Cmp) -> int:
    """Return how often the table was scanned."""
    cmp.conn.execute("select pg_stat_clear_snapshot()")
    return int(cmp.value("select seq_scan from pg_stat_user_tables where relname = 'projects'"))


def test_a_rebuild_without_a_difference_rewrites_nothing(cmp: Cmp, host: Host) -> None:
    cmp.fill(50)
    host.daemon()
    before = files_with_stamps(host)
    answer = host.ask("rebuild")

    assert answer["success"]
    assert answer["registries_updated"] == []
    assert files_with_stamps(host) == before


def test_a_touched_or_copied_file_is_not_drift(cmp: Cmp, host: Host) -> None:
    """P7: one file has another time, one has another inode, and both have equal bytes. Neither is rewritten.

    The third file is deleted, so that the test knows when the daemon has looked.
    """
    cmp.fill(5)
    daemon = host.daemon(OMNICDC_POLL_S="0.05")
    touched, copied, gone = (host.root / name for name in REGISTRIES)
    os.utime(touched, ns=(1, 1))
    Path(shutil.copy(copied, host.state / "copy")).replace(copied)
    before = host.stats()
    gone.unlink()
    until(gone.exists, "the poll that saw all three files")
    daemon.stop()

    assert host.rewritten(before) == {REGISTRIES[2]}
    assert [event["registry"] for event in daemon.events if event["event"] == "drift_found"] == [gone.name]
