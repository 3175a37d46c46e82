"""The clock of the server or of the daemon jumps."""

from __future__ import annotations

import shutil
import signal
import subprocess
import time
from typing import TYPE_CHECKING

import pytest
from faults.time_travel.serving import assert_serving, served, shows, write
from support.frozen_daemon import freeze
from support.host import until
from support.rebuild import barrier

from omnicdc import db
from omnicdc.delivery import wait as waits
from omnicdc.stop import Stop

if TYPE_CHECKING:
    from pathlib import Path

    from faults.time_travel.clusters import Cluster, Sandbox
    from support.evidence import Evidence

pytestmark = [pytest.mark.timeout(300), pytest.mark.xdist_group("time_travel")]  # of one prepared cluster


LIBRARY = """
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>
static long ahead(void) {
  char text[32] = {0};
  int kept = errno, file = syscall(SYS_openat, AT_FDCWD, getenv("CLOCK_AHEAD"), O_RDONLY | O_CLOEXEC);
  if (file >= 0) { if (read(file, text, 31) < 0) text[0] = 0; syscall(SYS_close, file); }
  errno = kept;
  return atol(text);
}
int clock_gettime(clockid_t which, struct timespec *at) {
  int failed = syscall(SYS_clock_gettime, which, at);
  if (!failed && (which == CLOCK_REALTIME || which == CLOCK_REALTIME_COARSE)) at->tv_sec += ahead();
  return failed;
}
int gettimeofday(struct timeval *at, void *zone) {
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  at->tv_sec = now.tv_sec; at->tv_usec = now.tv_nsec / 1000;
  return 0;
}
time_t time(time_t *at) {
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  if (at) *at = now.tv_sec;
  return now.tv_sec;
}
"""
"""In C: a library that, loaded before libc, adds the seconds in the file CLOCK_AHEAD to the real time."""


class Clock:
    """The clock of the processes that are started with `env`. It can be set while they run."""

    def __init__(self, directory: Path) -> None:
        source, library = directory / "clock.c", directory / "clock.so"
        self._ahead = directory / "ahead"
        source.write_text(LIBRARY)
        subprocess.run(["gcc", "-shared", "-fPIC", "-O2", "-o", library, source], check=True)
        self.env = {"LD_PRELOAD": str(library), "CLOCK_AHEAD": str(self._ahead)}
        self.set(0)

    def set(self, hours: float) -> None:
        """Set the clock to some hours after the real time, or before it."""
        fresh = self._ahead.with_suffix(".new")
        fresh.write_text(str(int(hours * 3600)))
        fresh.rename(self._ahead)


@pytest.fixture
def clock(sandbox: Sandbox) -> Clock:
    """A clock for the processes of one test."""
    if not shutil.which("gcc"):
        pytest.skip("needs gcc, to set a clock for one process")
    return Clock(sandbox.directory)


def start_by(clock: Clock, cluster: Cluster) -> None:
    """Start a server that runs by this clock."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in clock.env.items():
            patch.setenv(name, value)
        cluster.start()


@pytest.mark.campaign
def test_the_clock_is_set(sandbox: Sandbox, clock: Clock, evidence: Evidence) -> None:
    """P1 P5 P8: neither the order of writes nor a delay depends on the clock.

    The clock is set back an hour, forth, and ten days ahead.
    """
    steps = [-1, 0, 1, 24 * 10]
    for whose in ("the server's", "the daemon's", "both"):
        clock.set(0)
        cluster = sandbox.cluster()
        if whose == "the daemon's":
            cluster.start()
        else:
            start_by(clock, cluster)
        host = sandbox.host(cluster.dsn())
        with cluster.cmp() as cmp:
            daemon = served(cmp, host, **({} if whose == "the server's" else clock.env))
            for hours in steps:
                with cmp.transaction() as (conn, token):
                    cmp.upsert("across", conn=conn)
                    clock.set(hours)
                verdict = cmp.wait(token, timeout_s=5)
                server_ahead = cmp.value("select extract(epoch from clock_timestamp())::float8") - time.time()
                assert abs(server_ahead - (0 if whose == "the daemon's" else hours * 3600)) < 60
                assert verdict.status == "published", verdict
                assert (verdict.milliseconds or 0) >= 0, verdict
                assert cmp.wait(write(cmp, f"at {hours}"), timeout_s=5).status == "published"
                cmp.conn.execute("select changes from omnicdc.prune('7 days', '1 day')")
                cmp.arrived(write(cmp, f"pruned at {hours}"))
                assert f"pruned at {hours}" in str(host.canonical())
            assert all(value >= 0 for event in daemon.events for value in event.get("ms", {}).values())
        assert_serving(cluster, host, daemon)
        host.close()
        cluster.stop()

    evidence(
        "P1 P5 P8",
        "the clock of the server, of the daemon, or of both set back an hour, forth, and ten days ahead, in "
        "the middle of transactions",
        times=3 * len(steps),
        found="every write arrives within seconds, no reported time is negative, files "
        "equal to a full rebuild, pruning goes on",
    )


@pytest.mark.campaign
def test_a_daemon_whose_unread_changes_were_pruned_scans_everything(
    sandbox: Sandbox, clock: Clock, evidence: Evidence
) -> None:
    """P1 P5: the clock jumps past a frozen daemon's expiry, and changes that it has not read are pruned.

    Then the daemon goes on in the same session.
    """
    cluster = sandbox.cluster()
    start_by(clock, cluster)
    host, other = sandbox.host(cluster.dsn()), sandbox.host(cluster.dsn(), "other")
    with cluster.cmp() as cmp:
        daemon = served(cmp, host)
        hanging = other.daemon()
        cmp.arrived()
        freeze(hanging, cmp)
        write(cmp, "unread", status="unread")
        until(lambda: shows(host, "unread"), "the other daemon has published it")
        clock.set(24 * 30)
        cmp.conn.execute("select changes from omnicdc.prune('7 days', '1 day')")
        with db.connect(cmp.dsn) as conn:
            blind = waits.wait(conn, timeout_s=0.3, stop=Stop(), consumer="other")
        left = cmp.log()
        hanging.process.send_signal(signal.SIGCONT)
        until(lambda: shows(other, "unread"), "it publishes what it has not read")
        sessions = [event for event in hanging.events if event["event"] == "session_lost"]
        barrier(cmp, host, other)
        content, wanted = other.content(), host.content()
        hanging.stop()
        cmp.conn.execute("delete from omnicdc.consumer where name = 'other'")

    assert not left
    assert not sessions
    assert blind.status != "published", blind
    assert content == wanted
    assert_serving(cluster, host, daemon)
    evidence(
        "P1 P5",
        "a daemon hangs, the server's clock leaps a month ahead, and what the hanging one has not read is "
        "pruned",
        times=1,
        found="its next look scans everything; until then `wait` does not say `published`",
    )
