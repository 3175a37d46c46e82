"""A lock on CMP's table delays no answer, and a frozen daemon delays CMP for seconds only."""

from __future__ import annotations

import time
from contextlib import closing
from functools import partial
from typing import TYPE_CHECKING

import pytest
from faults.schema.arrival import LONGEST_WRITE_S, check_arrival
from faults.schema.statements import PARTITIONED_BY_TYPE
from support.faulty_command import FAULTS, PROGRAM
from support.host import until
from support.served_cmp import ServedCmp, Writers

if TYPE_CHECKING:
    from pathlib import Path
    from typing import LiteralString

    from support.evidence import Evidence
    from support.pace import Pace


@pytest.mark.timeout(300)
@pytest.mark.campaign
def test_status_names_the_session_that_holds_a_long_lock(
    served: ServedCmp, evidence: Evidence, pace: Pace
) -> None:
    """P4, P5: `omnicdc status` and `wait` answer in time, though the daemon and CMP wait for the lock.

    `omnicdc status` names the session that holds it, and how to end that session.
    """
    served.execute(PARTITIONED_BY_TYPE)
    assert served.host.run("install", OMNICDC_DSN=served.cmp.dsn).returncode == 0
    served.serve()
    answered, slowest = [], []
    for table, held_s in (("projects", 1.0), ("services", 1.0), ("projects", 33.0)):
        locker = served.cmp.connect()
        with Writers(served.writer_dsn) as writers, closing(locker):
            locker.execute(f"begin; lock table {table} in access exclusive mode".encode())
            served.cmp.conn.execute("select omnicdc.request_rebuild()")
            pid = locker.info.backend_pid
            until(partial(served.names, f"backend {pid} "), "named")
            started = time.monotonic()
            verdict = served.wait(timeout_s=0.5)
            answered.append(time.monotonic() - started)
            time.sleep(held_s)  # the duration is the fault: 33 s is longer than the daemon waits for a lock
            if held_s < 30:
                served.fix()  # runs the command in the report, which ends the session
            else:
                locker.rollback()
            with writers.resting():
                writers.slowest_s = 0.0  # the writes until now waited for that lock
            served.wait_until_healthy()
            with writers.resting():
                check_arrival(served, None)
        slowest.append(writers.slowest_s)

        assert verdict.status == "timeout"
        assert writers.broken == []
    served.assert_correct()

    assert max(answered) < pace.allows(1.5)
    evidence(
        "P4 P5",
        "an ACCESS EXCLUSIVE lock on projects, and on one of its partitions, for a second and for half a "
        "minute",
        times=3,
        found=f"`status` named the backend that held it; `wait` answered within {max(answered) - 0.5:.1f} s "
        f"of its time-out; "
        f"afterwards all arrived, the slowest write took {max(slowest) * 1000:.0f} ms",
    )


@pytest.mark.campaign
@pytest.mark.parametrize("whole", [True, False], ids=["whole", "by name"])
def test_a_daemon_that_hangs_while_it_reads_delays_alter_table_for_ten_seconds(
    served: ServedCmp, tmp_path: Path, evidence: Evidence, pace: Pace, *, whole: bool
) -> None:
    """P4: the server ends the session of a daemon that hangs while it reads.

    CMP's ALTER TABLE waits for every reader, and CMP's writers wait for ALTER TABLE.
    """
    faults = tmp_path / "faults"
    served.host.program, served.host.env[FAULTS] = PROGRAM, str(faults)
    if not whole:
        served.serve()
    faults.write_text("scanned cmp_projects: hang\n")
    if whole:
        served.daemon = served.host.starting()
    with Writers(served.writer_dsn) as writers:
        until(lambda: served.cmp.value(IN_READING), "the daemon hangs in its reading")
        quick = writers.slowest_s
        started = time.monotonic()
        served.execute("set lock_timeout = '30s'; alter table projects add column extra text")
        altered_s = time.monotonic() - started
    faults.unlink()
    served.daemon.kill()
    served.daemon = served.host.daemon()
    served.arrived()
    served.assert_correct()

    assert writers.broken == []
    assert quick < pace.allows(LONGEST_WRITE_S)
    assert max(altered_s, writers.slowest_s) < pace.allows(13)
    evidence(
        "P4",
        f"the daemon stopped for ever in the middle of a reading of "
        f"{'everything' if whole else 'what changed'}, "
        "while CMP's owner adds a column",
        times=1,
        found=f"ALTER TABLE waited {altered_s:.1f} s and the writers behind it as long: then the server "
        f"ends the daemon's session; 0 writes failed",
    )


IN_READING: LiteralString = """
select exists (select from pg_locks l join pg_stat_activity a using (pid)
                where l.relation = 'projects'::regclass and l.mode = 'AccessShareLock'
                  and a.state = 'idle in transaction')
"""
