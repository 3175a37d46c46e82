"""CMP's table is written anew, by maintenance or by other statements, while the daemon reads it."""

from __future__ import annotations

import signal
import time
from typing import TYPE_CHECKING

import pytest
from faults.schema.arrival import LONGEST_WRITE_S, check_arrival
from faults.schema.statements import CHANGES, NEW_TABLE
from support.frozen_daemon import freeze
from support.host import until
from support.served_cmp import PROJECTS, ServedCmp, Writers

if TYPE_CHECKING:
    from support.evidence import Evidence
    from support.pace import Pace


REWRITES = (
    "alter table projects alter status type text using status || '!'",
    (
        "create temp table kept as select * from projects; truncate projects; insert into projects select * "
        "from kept; drop table kept"
    ),
    NEW_TABLE,
)


@pytest.mark.campaign
def test_a_table_rewritten_while_a_scan_waits_is_not_published_as_empty(
    served: ServedCmp, evidence: Evidence
) -> None:
    """P2: to a snapshot from before the rewrite, PostgreSQL shows the table empty. The guard is off here."""
    daemon = served.serve()
    fewest = PROJECTS
    times = 0
    for rewrite in REWRITES:
        for whole in (True, False):
            served.arrived()
            freeze(daemon, served.cmp)
            token = served.write("update projects set key = key || '.' where key like 'key-5%'")
            if whole:
                served.cmp.conn.execute("select omnicdc.request_rebuild()")
            with served.cmp.connect() as owner, owner.transaction():
                owner.execute("lock table projects")
                daemon.process.send_signal(signal.SIGCONT)
                until(lambda: served.cmp.value("select count(*) from pg_locks where not granted"), "it waits")
                owner.execute(rewrite.replace("WRITER", served.writer).encode())
            while not served.has_verdict("published", token):
                fewest = min(fewest, len(served.host.canonical()))
                if served.names("capture is broken"):
                    served.fix()
            times += 1
            check_arrival(served, None)
    served.assert_correct()

    assert fewest == PROJECTS
    evidence(
        "P2",
        "the table written anew (ALTER TYPE, TRUNCATE and filled again, dropped and made again) while a "
        "scan, full or of some projects, waits for its lock",
        times=times,
        found="noticed before anything was written: no file ever lost an entry",
    )


MAINTENANCE = [
    "vacuum full projects", "cluster projects using projects_pkey", "reindex table concurrently projects",
    "analyze projects", "create statistics some_statistics on name, key from projects",
    "alter table projects alter name set statistics 500",
    "create index concurrently projects_name on projects (name)", "drop index concurrently projects_name",
    "alter table projects set unlogged", "alter table projects set logged",
    "alter table projects replica identity full", "alter table projects set (fillfactor = 70)",
    "alter table projects alter name set storage external", "vacuum (freeze) projects",
    "alter table projects add constraint named check (name <> '')", "alter table projects owner to WRITER",
    "vacuum full omnicdc.change", "reindex table omnicdc.change", "vacuum full pg_trigger",
    "vacuum full pg_proc",
]  # fmt: skip


@pytest.mark.campaign
def test_maintenance_loses_no_change_and_is_not_delayed(
    served: ServedCmp, evidence: Evidence, pace: Pace
) -> None:
    """P1, P4, P5: statements that rewrite a table or only read it harm neither the capture nor a registry."""
    served.serve()
    took = []
    with Writers(served.writer_dsn) as writers:
        for statement in MAINTENANCE:
            token = served.write(*CHANGES)
            started = time.monotonic()
            served.execute(statement)
            took.append(time.monotonic() - started)
            served.arrived(token)
            with writers.resting():
                check_arrival(served, None)
                assert served.faults() == [], statement
    served.execute("alter table projects owner to current_user")
    served.assert_correct()

    assert writers.broken == []
    assert writers.slowest_s < pace.allows(LONGEST_WRITE_S)
    assert max(took) < pace.allows(10)
    evidence(
        "P1 P4 P5",
        "VACUUM FULL, CLUSTER, REINDEX and indexes CONCURRENTLY, UNLOGGED and back, statistics, a "
        "constraint, another owner; VACUUM FULL of the log",
        times=len(MAINTENANCE),
        found=f"nothing was lost, named broken or held up (the slowest took {max(took):.1f} s); "
        f"{writers.told}",
    )
