"""A transaction stays open while others commit."""

from __future__ import annotations

import statistics
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from faults.load.measurement import lag_ms
from faults.load.writers import LongTransaction

if TYPE_CHECKING:
    from support.cmp import Cmp
    from support.evidence import Evidence, Scale
    from support.host import Daemon, Host

pytestmark = [pytest.mark.timeout(900), pytest.mark.xdist_group("load")]  # on one server


def processor_s(pid: int) -> float:
    """Return the seconds of processor time that all threads of a process have used."""
    threads = Path(f"/proc/{pid}/task").glob("*/schedstat")
    return sum(int(it.read_text().split()[0]) for it in threads) / 1e9


class ProcessorTime:
    """The processor time of a daemon and of its backend. It does not depend on other load."""

    def __init__(self, cmp: Cmp, daemon: Daemon) -> None:
        query = "select pid from pg_locks where locktype = 'advisory' and classid = 1869442666"
        self._pids = daemon.process.pid, int(cmp.value(query))

    def shares(self, seconds: float) -> list[float]:
        """Return the share of a processor that each of them uses in these seconds."""
        before, began = [processor_s(pid) for pid in self._pids], time.monotonic()
        time.sleep(seconds)  # what is measured
        lasted = time.monotonic() - began
        return [(processor_s(pid) - used) / lasted for pid, used in zip(self._pids, before, strict=True)]

    def of_changes(self, cmp: Cmp, host: Host, project: str, times: int) -> tuple[float, float]:
        """Return the median lag, and the milliseconds of processor time for each change."""
        before = sum(map(processor_s, self._pids))
        lag = statistics.median(lag_ms(cmp, host, project) for _ in range(times))
        return lag, (sum(map(processor_s, self._pids)) - before) * 1000 / times


@pytest.mark.campaign
def test_a_transaction_left_open_costs_almost_nothing(
    cmp: Cmp, host: Host, scale: Scale, evidence: Evidence
) -> None:
    """P1, P4: the log holds all changes that were committed since the open transaction began.

    The daemon must not read them again with each new change.
    """
    changes, seconds, times = scale(60_000, 1_000_000), scale(1, 10), scale(5, 50)
    cmp.fill(200)
    daemon, long = host.daemon(OMNICDC_POLL_S="5"), LongTransaction(cmp)
    processor_time, project = ProcessorTime(cmp, daemon), next(iter(host.canonical()))
    alone = processor_time.of_changes(cmp, host, project, times)
    long.begin()
    for _ in range(100):
        cmp.conn.execute(
            "insert into omnicdc.change (source, key, op, fields) select 1, %s, 'update', '{status}' from "
            "generate_series(1, %s)",
            [project, changes // 100],
        )
    cmp.conn.execute("analyze omnicdc.change")  # as autovacuum does within a minute
    lag_ms(cmp, host, project)  # the changes inserted above notified no consumer
    beside = processor_time.of_changes(cmp, host, project, times)
    idle = processor_time.shares(seconds)
    unseen, missing = cmp.wait(long.token, timeout_s=0.0), long.project not in host.canonical()
    long.commit()
    cmp.arrived(long.token)
    long.close()

    assert (unseen.status, missing) == ("timeout", True)
    assert long.project in host.canonical()
    assert beside[1] < 3 * alone[1] + 5
    assert max(idle) < 0.1
    evidence(
        "P1 P4",
        f"a transaction left open while {changes:,} changes were committed beside it, as in an hour at "
        f"{changes / 3600:,.0f} a second",
        times=1,
        found=f"others' changes took {beside[0]:.0f} ms at the median ({alone[0]:.0f} ms without it) and "
        f"{beside[1]:.1f} ms of a processor "
        f"({alone[1]:.1f} ms); idle beside it the daemon took {idle[0]:.1%} of one and its backend "
        f"{idle[1]:.1%}; its own change "
        "arrived when it was committed",
    )
