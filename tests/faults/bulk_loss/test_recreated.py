"""The table or the database is dropped and created again without its rows."""

from __future__ import annotations

import shutil
import subprocess
from typing import TYPE_CHECKING

import psycopg
import pytest
from faults.bulk_loss.guard import ACCEPT, NAMES, held_reasons, loss_reason
from faults.bulk_loss.rows import project_ids
from psycopg import sql as pgsql
from support.cmp import TABLE, Cmp
from support.host import Host, until

from omnicdc.errors import ConfigError
from omnicdc.testing.embedded import bundled

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from support.evidence import Evidence, Scale


@pytest.mark.campaign
def test_a_loss_by_an_empty_new_table_is_held(cmp: Cmp, host: Host, scale: Scale, evidence: Evidence) -> None:
    """P5, P6: a broken capture is reported. After `omnicdc install` the loss is held.

    Regression: `wait` reported "published" between the installation and the next sweep, because the log held
    no change.
    """
    times = scale(1, 4)
    cmp.fill(40)
    daemon = host.daemon()
    for turn in range(times):
        content = host.content()
        cmp.conn.execute("drop table projects")
        dropped = cmp.wait(timeout_s=0.1)
        cmp.conn.execute(TABLE)
        recreated = cmp.wait(timeout_s=0.1)
        if turn % 2:
            daemon.kill()
            daemon = host.daemon()
        assert host.run("install").returncode == 0
        verdict = cmp.wait()
        assert dropped.status == recreated.status == "capture_broken"
        assert "omnicdc install" in recreated.hint
        assert (verdict.status, ACCEPT in verdict.hint) == ("held", True)
        assert held_reasons(host) == dict.fromkeys(NAMES, loss_reason(40, 40))
        assert host.content() == content
        cmp.fill(40)
        cmp.arrived()
        assert {*host.canonical()} == {*host.projects()} == {*project_ids(cmp)}

    evidence(
        "P5 P6",
        "the table dropped and made anew, empty, in every other round with the daemon killed and started in "
        "between; "
        "then `omnicdc install`",
        times=times,
        found="`capture_broken` until installed, held after it; released when the rows were back",
    )


@pytest.fixture
def programs() -> Callable[..., subprocess.CompletedProcess[bytes]]:
    """Return a function that runs one of PostgreSQL's programs."""
    try:
        where: Path | None = bundled()
    except ConfigError:
        where = None

    def run(program: str, *arguments: str, given: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        found = str(where / program) if where else shutil.which(program)
        if not found:
            pytest.skip(f"{program} is not installed")
        return subprocess.run([found, *arguments], input=given, capture_output=True, check=True)

    return run


@pytest.mark.campaign
@pytest.mark.timeout(300)
def test_a_database_restored_without_its_rows_is_held(
    cmp: Cmp,
    host: Host,
    programs: Callable[..., subprocess.CompletedProcess[bytes]],
    evidence: Evidence,
) -> None:
    """P6, P8: the same daemon keeps running and finds another database under the same name.

    Regression: after the restore of a dump without data, `omnicdc install` failed because its table existed.
    """
    times = 4
    daemon = host.daemon()
    for turn in range(times):
        cmp.fill(40)
        cmp.arrived()
        content, seen = host.content(), len(daemon.events)
        dump = programs("pg_dump", ("--schema-only", "--exclude-table-data=projects")[turn % 2], cmp.dsn)
        recreate_database(cmp)
        programs("psql", "-q", "-v", "ON_ERROR_STOP=1", cmp.dsn, given=dump.stdout)
        daemon.wait_for("session_lost", after=seen)
        installed = host.run("install")
        assert installed.returncode == 0, installed.stderr
        until(lambda: cmp.wait().status == "held", "held")
        assert held_reasons(host) == dict.fromkeys(NAMES, loss_reason(40, 40))
        assert host.content() == content
        assert host.run("accept").returncode == 0
        assert (host.canonical(), host.projects(), host.inventory()) == ({}, {}, [])

    evidence(
        "P6 P8",
        "the database dropped under the daemon and restored from `pg_dump --schema-only`, or from one "
        "without CMP's rows",
        times=times,
        found="held by the same daemon, the last good files untouched; let through when it was accepted",
    )


def recreate_database(cmp: Cmp) -> None:
    """Drop the database with all its connections, create it empty, and connect `cmp` to the new one."""
    name = pgsql.Identifier(cmp.conn.info.dbname)
    cmp.close()
    admin = psycopg.conninfo.make_conninfo(cmp.dsn, dbname="postgres")
    with psycopg.connect(admin, autocommit=True) as conn:
        conn.execute(pgsql.SQL("drop database {} with (force)").format(name))
        conn.execute(pgsql.SQL("create database {} template template0").format(name))
    cmp.conn = cmp.connect()
