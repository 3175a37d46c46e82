"""PostgreSQL cannot return a row that it holds."""

from __future__ import annotations

import os
import tempfile
from bisect import bisect_left
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import pytest
from faults.data.commands import assert_verified, assert_verified_and_rebuilt, quarantined_rows
from faults.data.comparison import QUICK, assert_files_show, read_rows
from faults.data.samples import UNREADABLE
from psycopg import errors as pg
from support.cmp import TABLE, Cmp, undo
from support.host import CANONICAL, INVENTORY, REGISTRIES, Host, until
from support.sources import projects

from omnicdc import db
from omnicdc.capture import install
from omnicdc.testing.embedded import EmbeddedServer

if TYPE_CHECKING:
    import random
    from collections.abc import Iterator

    from support.evidence import Evidence, Scale

NAMES = [path.rsplit("/", 1)[-1] for path in REGISTRIES]


def test_a_row_that_postgresql_cannot_read_back_is_quarantined_alone(
    cmp: Cmp, host: Host, scale: Scale, dice: random.Random, evidence: Evidence
) -> None:
    """P5, P6: the row is quarantined with its id and its reason, also after a start of the daemon.

    When the row is repaired, it is published automatically.

    Regression: one such row held all registries, and one that was nested too deeply ended every session.
    """
    rounds = scale(2, 30)
    cmp.conn.execute("alter table projects alter metadata_ type json")
    cmp.fill(40)
    every = [*UNREADABLE, deepest_json(cmp)]
    daemon = host.daemon()
    for turn in range(rounds):
        good, bad = dice.choice([*read_rows(cmp)]), every[-1 - turn % len(every)]
        with cmp.transaction() as (conn, spoilt):
            if turn % 2:
                victim = dice.choice([project for project in read_rows(cmp) if project != good])
                conn.execute("update projects set metadata_ = %s where id = %s", [bad, victim])
            else:
                row = conn.execute(
                    "insert into projects (name, metadata_) values ('bad', %s) returning id::text", [bad]
                ).fetchone()
                victim = str(row and row[0])
        verdict = cmp.wait(spoilt)
        if bad == every[-1] and verdict.arrived:
            cmp.conn.execute("delete from projects where id = %s", [victim])
            continue  # this server's stack can read all that it accepts
        assert (verdict.status, victim in verdict.detail) == ("quarantined", True)
        if turn % 3 == 2:
            daemon.kill()
            daemon = host.daemon()
        with cmp.transaction() as (conn, token):
            conn.execute("update projects set status = %s where id = %s", [f"after {turn}", good])
            later = cmp.upsert(f"later {turn}", conn=conn)
        cmp.arrived(token)
        assert_files_show(host, read_rows(cmp, without=victim), QUICK)
        assert host.canonical()[good]["status"] == f"after {turn}"
        assert later in host.projects()
        assert victim not in host.raw(INVENTORY).decode()
        if turn < scale(1, 10):
            held_back = quarantined_rows(host)
            assert {name: [*projects] for name, projects in held_back.items()} == {
                name: [victim] for name in NAMES
            }
            answers = {which: host.run("verify", which) for which in (victim, good, "--all")}
            waited = host.run("wait")
            assert [answers[which].returncode for which in (victim, good, "--all")] == [1, 0, 1]
            for command in (answers[victim], answers["--all"], waited):
                assert held_back[NAMES[0]][victim] in command.stdout, command
            assert (waited.returncode, victim in waited.stdout) == (1, True)
        remedy = (
            "delete from projects where id = %s"
            if turn % 4 == 3
            else "update projects set metadata_ = '{}' where id = %s"
        )
        cmp.conn.execute(remedy, [victim])
        cmp.arrived()
        assert (victim in host.canonical()) == (turn % 4 != 3)
        assert_files_show(host, read_rows(cmp), QUICK)
    assert_verified_and_rebuilt(cmp, host, scale)

    assert quarantined_rows(host) == {}
    evidence(
        "P5 P6",
        "in a column of type json: `\\u0000`, lone surrogates, thousands of levels; new rows and old ones, "
        "the daemon killed meanwhile",
        times=rounds,
        found="every write succeeded; that row was held back by id, reported by `status`, `wait` and "
        "`verify`; all others went on; there once it was fixed",
    )


def deepest_json(cmp: Cmp) -> str:
    """Return the deepest JSON value that the server accepts. It is too deep to read its parts."""

    def nested(levels: int) -> str:
        return f'{{"domain": {"[" * levels}{"]" * levels}}}'

    def accepted(levels: int) -> bool:
        with cmp.conn.transaction():
            try:
                cmp.conn.execute(
                    "insert into projects (name, metadata_) values ('deep', %s)", [nested(levels)]
                )
            except pg.StatementTooComplex:
                return False
            undo()
        return True

    return nested(bisect_left(range(200_000), True, key=lambda levels: not accepted(levels)) - 1)


@contextmanager
def created_database(server: str, *options: str) -> Iterator[Cmp]:
    """Create a CMP with the capture in a database with these options, and drop it in the end."""
    name = f"omnicdc_data_{os.getpid()}"
    with psycopg.connect(server, autocommit=True) as admin:
        admin.execute(f"create database {name} template template0 {' '.join(options)}".encode())
        try:
            with Cmp(psycopg.conninfo.make_conninfo(server, dbname=name, client_encoding="utf8")) as cmp:
                cmp.conn.execute(TABLE)
                with db.connect(cmp.dsn) as conn:
                    install.install(conn, projects())
                yield cmp
        finally:
            admin.execute(f"drop database {name} with (force)".encode())


@pytest.mark.campaign
def test_bytes_that_are_not_a_text(server: str, tmp_path: Path, evidence: Evidence) -> None:
    """P6: a database with the encoding SQL_ASCII accepts any bytes.

    Too many such rows hold the registry, and this is reported.
    """
    few, many = 64, 110
    with created_database(server, "encoding 'SQL_ASCII'", "locale 'C'") as cmp:
        host = Host(tmp_path / "host", cmp.dsn)
        host.env |= {"OMNICDC_POLL_S": "0.1", "OMNICDC_GUARD_SHARE": "1"}
        try:
            cmp.fill(200)
            host.daemon()
            cmp.conn.execute(
                "update projects set name = %s || convert_from('\\xe9', 'SQL_ASCII') where key in (select "
                "'key-' || i from generate_series(1, %s) i)",
                ["caf", few],
            )
            assert cmp.wait().status == "quarantined"
            found = quarantined_rows(host)
            shown = {*host.canonical()}, {*host.projects()}
            cmp.upsert("meanwhile")
            cmp.wait()
            good = host.content()
            cmp.conn.execute(
                "update projects set name = %s || convert_from('\\xff', 'SQL_ASCII') where key in (select "
                "'key-' || i from generate_series(1, %s) i)",
                ["bad", many],
            )
            until(lambda: cmp.wait().status == "held", "held")
            verdict, kept = cmp.wait(), host.content()
            cmp.conn.execute("update projects set name = 'repaired ' || key where key <> ''")
            until(lambda: cmp.wait().status == "published", "published after the repair")
            assert_files_show(host, read_rows(cmp), QUICK)
            assert_verified(host)
        finally:
            host.close()

    assert {name: len(projects) for name, projects in found.items()} == dict.fromkeys(NAMES, few)
    assert all("0xe9" in why for projects in found.values() for why in projects.values())
    assert [len(projects) for projects in shown] == [200 - few] * 2
    assert b"meanwhile" in good[CANONICAL]
    assert kept == good
    assert "more than 100" in verdict.detail
    evidence(
        "P6",
        f"Latin-1 bytes in a database of encoding SQL_ASCII: {few} rows, then {many} of 200",
        times=few + many,
        found="the few held back by id; of more than 100 the registries were held with the last good files, "
        "and reported it; all healed when fixed",
    )


@pytest.mark.campaign
def test_a_row_on_a_lost_block(tmp_path: Path, evidence: Evidence) -> None:
    """P4, P6: the disk of the server has lost a block.

    The row on that block is quarantined, and all other rows are published.

    Regression: the UPDATE trigger built whole rows, so that writes failed which PostgreSQL accepts.
    """
    server = EmbeddedServer(Path(tempfile.mkdtemp(prefix="omnicdc-test-")), {"autovacuum": "off"})
    host = Host(tmp_path / "host", server.dsn())
    try:
        server.create()
        server.start()
        with Cmp(server.dsn()) as cmp:
            cmp.conn.execute(TABLE)
            cmp.conn.execute("alter table projects alter name set storage external")
            assert host.run("install").returncode == 0
            cmp.fill(50)
            lost = cmp.upsert("apart " + "x" * 100_000)
            file = cmp.value(
                "select pg_relation_filepath(reltoastrelid) from pg_class where oid = 'projects'::regclass"
            )
            cmp.conn.execute("checkpoint")
        host.daemon()
        server.stop()
        place = server.directory / "data" / file
        place.write_bytes(bytes(place.stat().st_size))
        server.start()
        with Cmp(server.dsn()) as cmp:
            # One of these rows holds the damaged value; the triggers must not read it.
            cmp.conn.execute("update projects set status = 'goes on'")
            until(lambda: cmp.wait().status == "quarantined", "the row is quarantined")
            found = quarantined_rows(host)
            others = {entry["status"] for entry in host.canonical().values()}
            cmp.conn.execute("update projects set name = 'written again' where id = %s", [lost])
            until(lambda: cmp.wait().status == "published", "published after the repair")
            assert_files_show(host, read_rows(cmp))
            assert_verified(host, lost)
    finally:
        host.close()
        server.delete()

    assert {name: [*projects] for name, projects in found.items()} == {name: [lost] for name in NAMES}
    assert "missing chunk" in found[NAMES[0]][lost]
    assert others == {"goes on"}
    evidence(
        "P4 P6",
        "a block of CMP's table zeroed on the disk, with a name of 100 kB on it; then that row updated, and "
        "the others",
        times=1,
        found="every write succeeded; the row was held back by id with PostgreSQL's reason, the others went "
        "on; there once its name was written anew",
    )
