"""Publications of CMP's database.

Omnicdc's tables join none unasked, and one that carries them stops nothing.
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

import psycopg
import pytest
from psycopg import sql as pgsql
from support.cmp import TABLE, Cmp
from support.host import until
from support.sessions import psql

from omnicdc import db
from omnicdc.capture import install, script
from omnicdc.capture.watch_list import derive
from omnicdc.db import sql
from omnicdc.delivery.status import status
from omnicdc.errors import ConfigError
from omnicdc.registries.scanners import scanners

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import LiteralString

    from support.host import Host

WATCHED = derive(scanners().values()).fields
QUIET = "set client_min_messages = error"


def installed(cmp: Cmp, *allowed: str) -> bool:
    with db.connect(cmp.dsn) as conn:
        return install.install(conn, "projects", WATCHED, allowed=allowed)


def faults(cmp: Cmp) -> list[str]:
    """Return what `omnicdc status` says of publications."""
    with db.connect(cmp.dsn) as conn:
        return [fault for fault in status(conn)["faults"] if fault.startswith("publication")]


def exists(cmp: Cmp) -> bool:
    return bool(cmp.value("select to_regnamespace('omnicdc') is not null"))


PUBLICATIONS = (
    "create publication other for all tables",
    (
        "create schema omnicdc authorization omnicdc_owner; create publication other for tables in schema "
        "omnicdc"
    ),
    (
        "create schema omnicdc authorization omnicdc_owner; create table omnicdc.x (); alter table omnicdc.x "
        "owner to omnicdc_owner; create publication other for table omnicdc.x"
    ),
)


@pytest.mark.parametrize("statements", PUBLICATIONS)
def test_install_refuses_where_a_publication_would_carry_its_tables(bare: Cmp, statements: str) -> None:
    """P4: a subscriber that lacks the tables would stop, and WAL would pile up on CMP's server."""
    if "in schema" in statements and bare.conn.info.server_version < 150_000:
        pytest.skip("PostgreSQL 14 has no publications of a schema")
    bare.conn.execute(f"{QUIET}; {statements}".encode())

    with pytest.raises(ConfigError, match=r"publication other .*subscriber") as refused:
        installed(bare)

    assert "`omnicdc install --allow-publication other`" in refused.value.hint
    assert bare.value("select to_regclass('omnicdc.change') is null")


def test_the_printed_script_refuses_as_install_does(bare: Cmp) -> None:
    bare.conn.execute(f"{QUIET}; create publication everything for all tables")
    refused = psql(bare.dsn, script.script("projects", WATCHED))
    there = exists(bare)
    done = psql(bare.dsn, script.script("projects", WATCHED, allowed=["everything"]))

    assert refused.returncode
    assert "publication everything is for all tables" in refused.stderr
    assert not there
    assert (done.returncode, done.stderr) == (0, "")
    assert faults(bare) == []


def test_one_that_was_allowed_is_no_fault_and_one_made_later_is(bare: Cmp) -> None:
    bare.conn.execute(f"{QUIET}; create publication everything for all tables")
    installed(bare, "everything")
    allowed = faults(bare)
    bare.conn.execute("create publication later for table omnicdc.change")
    bare.conn.execute("create publication proper for table projects")
    later = faults(bare)
    changed = installed(bare, "later")

    assert allowed == []
    assert ["publication later carries" in fault for fault in later] == [True]
    assert not changed
    assert faults(bare) == []


def test_an_upgrade_asks_again_and_an_install_without_one_does_not(
    bare: Cmp, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A table, or a column, that a migration adds stops a subscriber as well."""
    bare.conn.execute(f"{QUIET}; create publication everything for all tables")
    installed(bare, "everything")
    repeated = installed(bare)
    later = sql.Migration(2, sql.Script("0002_later.sql", "alter table omnicdc.change add remark text"))
    known = [*sql.migrations(), later]
    monkeypatch.setattr(sql, "migrations", lambda: known)

    with pytest.raises(ConfigError, match="publication everything"):
        installed(bare)
    assert not repeated


@contextmanager
def subscriber(cmp: Cmp) -> Iterator[Cmp]:
    """Another database of the same server, which subscribes to all tables of `cmp`."""
    name = f"subscriber_{os.getpid()}"
    with psycopg.connect(cmp.dsn, autocommit=True) as admin:
        admin.execute(pgsql.SQL("create database {} template template0").format(pgsql.Identifier(name)))
        with Cmp(psycopg.conninfo.make_conninfo(cmp.dsn, dbname=name)) as other:
            other.conn.execute(TABLE)
            cmp.conn.execute(f"{QUIET}; create publication everything for all tables")
            # On one server, the subscription would wait for its own transaction to make the slot.
            cmp.conn.execute("select pg_create_logical_replication_slot(%s, 'pgoutput')", [name])
            other.conn.execute(
                pgsql.SQL(
                    "create subscription {} connection {} publication everything with (create_slot = false, "
                    "slot_name = {})"
                ).format(pgsql.Identifier(name), cmp.dsn, pgsql.Literal(name))
            )
            until(
                lambda: other.value(
                    "select count(*) = 1 and bool_and(srsubstate = 'r') from pg_subscription_rel"
                ),
                "the subscriber follows",
            )
            try:
                yield other
            finally:
                drop = pgsql.SQL(
                    "alter subscription {0} disable; alter subscription {0} set (slot_name = none); drop "
                    "subscription {0}"
                )
                for statement in drop.format(pgsql.Identifier(name)).as_string().split(";"):
                    other.conn.execute(statement.encode())
        admin.execute(pgsql.SQL("drop database {} with (force)").format(pgsql.Identifier(name)))
        until(
            lambda: cmp.value("select not active from pg_replication_slots where slot_name = %s", name),
            "the slot is free",
        )
        cmp.conn.execute("select pg_drop_replication_slot(%s)", [name])


def follows(cmp: Cmp, other: Cmp, name: str) -> None:
    """Write a project, and wait until the subscriber has it."""
    cmp.upsert(name)
    until(lambda: other.value("select count(*) from projects where name = %s", name), f"{name} is replicated")


def test_a_subscriber_of_all_tables_goes_on(bare: Cmp) -> None:
    """It stopped at the first row of omnicdc's tables.

    Refused, it goes on; with the tables, after --allow-publication, too.
    """
    with subscriber(bare) as other:
        follows(bare, other, "before")
        with pytest.raises(ConfigError):
            installed(bare)
        follows(bare, other, "after the refusal")
        tables = psql(other.dsn, script.tables_script())
        installed(bare, "everything")
        bare.value("select omnicdc.release_canary()::text")
        follows(bare, other, "beside omnicdc")

        assert (tables.returncode, tables.stderr) == (0, "")


def test_without_the_tables_a_subscriber_really_stops(bare: Cmp) -> None:
    """What the refusal is for; PostgreSQL's own behaviour."""
    with subscriber(bare) as other:
        installed(bare, "everything")
        bare.upsert("never replicated")
        until(
            lambda: bare.value(
                """select not exists (select from pg_stat_replication r
                                        join pg_replication_slots s on s.active_pid = r.pid
                                       where s.slot_name = %s)""",
                other.conn.info.dbname,
            ),
            "the subscriber gave up",
        )

        assert other.value("select count(*) from projects where name = 'never replicated'") == 0
        assert psql(other.dsn, script.tables_script()).returncode == 0
        until(lambda: other.value("select count(*) from projects"), "it goes on once it has the tables")


def test_every_table_that_loses_or_changes_rows_has_a_replica_identity(cmp: Cmp) -> None:
    """Else PostgreSQL refuses the UPDATE or DELETE as soon as a publication carries the table."""
    lacking = cmp.conn.execute(
        """select c.relname from pg_class c
            where c.relnamespace = 'omnicdc'::regnamespace and c.relkind = 'r' and c.relreplident <> 'f'
              and not (c.relreplident = 'd'
                       and exists (select from pg_index i where i.indrelid = c.oid and i.indisprimary))"""
    ).fetchall()

    assert lacking == []


def test_beside_a_publication_of_all_tables_the_canary_is_sent_and_the_daemon_healthy(
    cmp: Cmp, host: Host
) -> None:
    """READY was never sent, for the canary's row could not be deleted."""
    cmp.conn.execute(f"{QUIET}; create publication everything for all tables")
    installed(cmp, "everything")
    daemon = host.daemon()
    until(lambda: cmp.value(HOME), "its canary arrives")
    answer = host.ask("status")

    assert answer["faults"] == []
    assert "canary_lost" not in [event["event"] for event in daemon.events]


HOME: LiteralString = """
select exists (select from pg_stat_all_tables t
                where t.relid = 'omnicdc.change'::regclass and t.n_tup_del > 0)
"""
"""The daemon has followed a canary and then deleted its row, the only one that is deleted here."""
