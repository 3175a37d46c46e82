"""Users change omnicdc's own tables, or install and uninstall it, while CMP writes."""

from __future__ import annotations

import signal
import threading
import time
from typing import TYPE_CHECKING, Any, Self

import psycopg
import pytest
from faults.schema.arrival import LONGEST_WRITE_S, check_arrival
from faults.schema.capture import EDITED_FUNCTION
from faults.schema.statements import CHANGES
from support.frozen_daemon import freeze
from support.host import until
from support.served_cmp import PROJECTS, ServedCmp, Writers
from support.sources import projects

from omnicdc import db
from omnicdc.capture import install
from omnicdc.db import sql
from omnicdc.errors import LockBusy

if TYPE_CHECKING:
    import random

    from support.evidence import Evidence
    from support.pace import Pace


LOG_DELETED = "delete from omnicdc.change"
"""Only a comparison with the files shows this loss: the daemon's periodic sweep finds it."""

OURS: list[tuple[str, str]] = [
    ("drop schema omnicdc cascade", "install"),
    ("delete from omnicdc.consumer", ""),
    ("truncate omnicdc.change", ""),
    ("delete from omnicdc.history", ""),
    (LOG_DELETED, ""),
]
"""Statements on omnicdc's own tables, and the command that repairs them, if one is needed."""


@pytest.mark.campaign
def test_manual_edits_of_omnicdc_s_tables_harm_no_write_and_are_repaired(
    served: ServedCmp, dice: random.Random, evidence: Evidence, pace: Pace
) -> None:
    """P1, P4, P5, P8: a manual edit under a running daemon loses no change of CMP.

    The daemon also publishes changes whose rows the log loses while the daemon hangs.
    """
    daemon = served.serve(OMNICDC_SWEEP_S="2")
    chosen = dice.sample(OURS, len(OURS))
    with Writers(served.writer_dsn) as writers:
        for statement, remedy in chosen:
            with writers.resting():
                served.arrived()
                freeze(daemon, served.cmp)
                token = served.write(*CHANGES)
                served.execute(statement)
                daemon.process.send_signal(signal.SIGCONT)
            if remedy:
                refused = served.host.run("status")
                assert refused.returncode, statement
                assert "`omnicdc install`" in refused.stdout + refused.stderr, statement
                assert served.host.run(remedy, OMNICDC_DSN=served.cmp.dsn).returncode == 0
            served.wait_until_healthy()
            with writers.resting():
                if statement == LOG_DELETED:
                    until(served.holds, "the sweep")
                check_arrival(served, None)
            served.arrived(token)
    served.assert_correct()

    assert writers.broken == []
    assert writers.slowest_s < pace.allows(LONGEST_WRITE_S)
    evidence(
        "P1 P4 P5 P8",
        "while the daemon hung and had changes to read, and no session wrote: the schema omnicdc dropped "
        "CASCADE, the log emptied by TRUNCATE or by DELETE, "
        "the consumer's row deleted, the history deleted",
        times=len(chosen),
        found=f"named, and fixed by `omnicdc install` or by itself; never called published before the files "
        f"held it, but for rows deleted from the log, which the sweep found; {writers.told}",
    )


class SlowWriters:
    """Writers whose transactions stay open between two writes, like those of a user at a prompt."""

    def __init__(self, dsn: str, dice: random.Random) -> None:
        self.slowest_s = 0.0
        self.writes = 0
        self.broken: list[str] = []
        self._dsn = dsn
        self._ended = threading.Event()
        self._threads = [threading.Thread(target=self._write, args=(dice, number)) for number in range(5)]

    def _write(self, dice: random.Random, number: int) -> None:
        with psycopg.connect(self._dsn, autocommit=True) as conn:
            while not self._ended.is_set():
                try:
                    with conn.transaction():
                        # In every other transaction, only the last write is logged: the first has no effect.
                        self._timed(conn, f"update projects set name = name where key = 'key-{number}'")
                        if dice.random() < 0.5:
                            self._timed(conn, "insert into projects (name) values ('first')")
                        time.sleep(dice.random() * 0.3)  # keeps the transaction open
                        self._timed(conn, "insert into projects (name) values ('last')")
                except psycopg.Error as exc:
                    self.broken.append(f"{type(exc).__name__}: {exc}")

    def _timed(self, conn: psycopg.Connection[Any], statement: str) -> None:
        started = time.perf_counter()
        conn.execute(statement.encode())
        self.writes += 1
        self.slowest_s = max(self.slowest_s, time.perf_counter() - started)

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_exc: object) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join()


@pytest.mark.campaign
def test_install_and_uninstall_harm_no_writer_whose_transaction_is_open(
    served: ServedCmp, dice: random.Random, evidence: Evidence, monkeypatch: pytest.MonkeyPatch, pace: Pace
) -> None:
    """P4: an upgrade that alters the log must not let CMP's writes fail as deadlocks."""
    later = sql.Migration(
        9999, sql.Script("9999_later.sql", "alter table omnicdc.change alter op set not null")
    )
    known = [*sql.migrations(), later]
    monkeypatch.setattr(sql, "migrations", lambda: known)
    served.cmp.fill(PROJECTS)
    busy = 0
    times = 20
    with SlowWriters(served.writer_dsn, dice) as writers, db.connect(served.cmp.dsn) as conn:
        for number in range(times):
            if conn.execute("select to_regclass('omnicdc.migration') as installed").fetchone() != {
                "installed": None
            }:
                conn.execute("delete from omnicdc.migration where version = 9999")
                conn.execute(EDITED_FUNCTION.format("log_update_1").encode())
            try:
                if number % 4 == 3:
                    install.uninstall(conn)
                install.install(conn, projects())
            except LockBusy:
                busy += 1

    assert writers.broken == []
    assert writers.slowest_s < pace.allows(LONGEST_WRITE_S)
    assert busy < times / 2
    evidence(
        "P4",
        "`omnicdc install` with a migration that alters the log and triggers to renew, and `omnicdc "
        "uninstall`, while five writers keep "
        "transactions open",
        times=times,
        found=f"{writers.writes:,} writes of CMP meanwhile: 0 failed, the slowest waited "
        f"{writers.slowest_s * 1000:.0f} ms for a lock; "
        f"{busy} gave up as another session's lock could not be had",
    )
