"""Publications of CMP's database.

omnicdc's tables join a publication only with permission. They then stop neither subscriber nor daemon.
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
from support.sources import projects

from omnicdc import db
from omnicdc.answers.status import status
from omnicdc.capture import install, script
from omnicdc.db import sql
from omnicdc.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import LiteralString

    from support.host import Host

QUIET = "set client_min_messages = error"


def install_capture(cmp: Cmp, *allowed: str) -> bool:
    with db.connect(cmp.dsn) as conn:
        return install.install(conn, projects(), allowed=allowed)


def publication_faults(cmp: Cmp) -> list[str]:
    """Return the faults of publications that `omnicdc status` reports."""
    with db.connect(cmp.dsn) as conn:
        return [fault for fault in status(conn)["faults"] if fault.startswith("publication")]


def schema_exists(cmp: Cmp) -> bool:
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
    """P4: a subscriber without the tables would stop, and CMP's server would keep more and more WAL."""
    if "in schema" in statements and bare.conn.info.server_version < 150_000:
        pytest.skip("PostgreSQL 14 has no publications of a schema")
    bare.conn.execute(f"{QUIET}; {statements}".encode())

    with pytest.raises(ConfigError, match=r"publication other .*subscriber") as refused:
        install_capture(bare)

    assert "`omnicdc install --allow-publication other`" in refused.value.hint
    assert bare.value("select to_regclass('omnicdc.change') is null")


def test_the_printed_script_refuses_as_install_does(bare: Cmp) -> None:
    bare.conn.execute(f"{QUIET}; create publication everything for all tables")
    refused = psql(bare.dsn, script.script(projects()))
    installed = schema_exists(bare)
    done = psql(bare.dsn, script.script(projects(), allowed=["everything"]))

    assert refused.returncode
    assert "publication everything is for all tables" in refused.stderr
    assert not installed
    assert (done.returncode, done.stderr) == (0, "")
    assert publication_faults(bare) == []


def test_only_a_publication_that_was_not_allowed_is_a_fault(bare: Cmp) -> None:
    bare.conn.execute(f"{QUIET}; create publication everything for all tables")
    install_capture(bare, "everything")
    allowed = publication_faults(bare)
    bare.conn.execute("create publication later for table omnicdc.change")
    bare.conn.execute("create publication proper for table projects")
    later = publication_faults(bare)
    changed = install_capture(bare, "later")

    assert allowed == []
    assert ["publication later carries" in fault for fault in later] == [True]
    assert not changed
    assert publication_faults(bare) == []


def test_an_upgrade_needs_the_permission_again_and_a_repeated_install_does_not(
    bare: Cmp, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A table or a column that a migration adds stops a subscriber as well."""
    bare.conn.execute(f"{QUIET}; create publication everything for all tables")
    install_capture(bare, "everything")
    repeated = install_capture(bare)
    later = sql.Migration(3, sql.Script("0003_later.sql", "alter table omnicdc.change add remark text"))
    known = [*sql.migrations(), later]
    monkeypatch.setattr(sql, "migrations", lambda: known)

    with pytest.raises(ConfigError, match="publication everything"):
        install_capture(bare)
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
            # On one server, a subscription that creates its slot would wait for its own transaction.
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
                "the subscriber is in sync",
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


def assert_replicated(cmp: Cmp, other: Cmp, name: str) -> None:
    """Write a project, and wait until the subscriber has it."""
    cmp.upsert(name)
    until(lambda: other.value("select count(*) from projects where name = %s", name), f"{name} is replicated")


def test_a_subscriber_of_all_tables_goes_on(bare: Cmp) -> None:
    """Regression: it stopped at the first row of omnicdc's tables.

    It goes on after a refused install. If it has the tables, it goes on after an allowed install as well.
    """
    with subscriber(bare) as other:
        assert_replicated(bare, other, "before")
        with pytest.raises(ConfigError):
            install_capture(bare)
        assert_replicated(bare, other, "after the refusal")
        tables = psql(other.dsn, script.tables_script())
        install_capture(bare, "everything")
        bare.value("select omnicdc.release_canary()::text")
        assert_replicated(bare, other, "beside omnicdc")

        assert (tables.returncode, tables.stderr) == (0, "")


def test_a_subscriber_without_the_tables_stops(bare: Cmp) -> None:
    """This is the reason for the refusal. It is PostgreSQL's own behaviour."""
    with subscriber(bare) as other:
        install_capture(bare, "everything")
        bare.upsert("never replicated")
        until(
            lambda: bare.value(
                """select not exists (select from pg_stat_replication r
                                        join pg_replication_slots s on s.active_pid = r.pid
                                       where s.slot_name = %s)""",
                other.conn.info.dbname,
            ),
            "the subscriber stops",
        )

        assert other.value("select count(*) from projects where name = 'never replicated'") == 0
        assert psql(other.dsn, script.tables_script()).returncode == 0
        until(lambda: other.value("select count(*) from projects"), "the subscriber goes on with the tables")


def test_every_table_has_a_replica_identity(cmp: Cmp) -> None:
    """Else PostgreSQL refuses an UPDATE or DELETE as soon as a publication carries the table."""
    lacking = cmp.conn.execute(
        """select c.relname from pg_class c
            where c.relnamespace = 'omnicdc'::regnamespace and c.relkind = 'r' and c.relreplident <> 'f'
              and not (c.relreplident = 'd'
                       and exists (select from pg_index i where i.indrelid = c.oid and i.indisprimary))"""
    ).fetchall()

    assert lacking == []


def test_the_daemon_is_healthy_with_a_publication_of_all_tables(cmp: Cmp, host: Host) -> None:
    """Regression: READY was never sent, because the canary's row could not be deleted."""
    cmp.conn.execute(f"{QUIET}; create publication everything for all tables")
    install_capture(cmp, "everything")
    daemon = host.daemon()
    until(lambda: cmp.value(CANARY_ARRIVED), "the canary arrives")
    answer = host.ask("status")

    assert answer["faults"] == []
    assert "canary_lost" not in [event["event"] for event in daemon.events]


CANARY_ARRIVED: LiteralString = """
select exists (select from pg_stat_all_tables t
                where t.relid = 'omnicdc.change'::regclass and t.n_tup_del > 0)
"""
"""Whether the daemon has deleted the canary's row from the log. No other row is deleted here."""
