"""P4, P5: parameters of the server's sessions change neither omnicdc's answers nor CMP's writes.

A parameter may be set for the database, for the role, or in the connection string.
"""

from __future__ import annotations

from datetime import UTC
from functools import reduce
from operator import or_
from typing import TYPE_CHECKING

import psycopg
import pytest
from psycopg import sql as pgsql
from psycopg.conninfo import make_conninfo
from support.host import Host
from support.session import opened
from support.sources import projects

from omnicdc import db
from omnicdc import verify as verification
from omnicdc.answers.status import status
from omnicdc.capture import install
from omnicdc.capture.doorbell import Wakeup
from omnicdc.clients import GenesisClient
from omnicdc.delivery import wait as waits
from omnicdc.stop import Stop

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path
    from typing import LiteralString

    from support.cmp import Cmp
    from support.session import Opened

    from omnicdc.config.settings import Config


FOREIGN_SETTINGS: dict[str, dict[str, str]] = {
    "dates of Germany": {
        "DateStyle": "German, DMY", "IntervalStyle": "iso_8601", "TimeZone": "Asia/Kathmandu",
    },
    "dates of SQL": {"DateStyle": "SQL, DMY", "IntervalStyle": "sql_standard", "TimeZone": "<+0530>-05:30"},
    "dates of POSTGRES 7": {"DateStyle": "Postgres, MDY", "IntervalStyle": "postgres_verbose"},
    "serializable": {"default_transaction_isolation": "serializable", "default_transaction_deferrable": "on"},
    "repeatable read": {"default_transaction_isolation": "repeatable read"},
    "names in quotes": {"quote_all_identifiers": "on"},
    "how values are written": {"extra_float_digits": "-15", "bytea_output": "escape", "xmlbinary": "hex"},
    "how values are read": {
        "standard_conforming_strings": "off", "backslash_quote": "off", "array_nulls": "off",
        "transform_null_equals": "on", "xmloption": "document",
    },
    "short time limits": {
        "idle_in_transaction_session_timeout": "2s", "idle_session_timeout": "2s",
        "transaction_timeout": "2s", "lock_timeout": "1ms",
    },
    "plans": {
        "jit": "on", "jit_above_cost": "0", "plan_cache_mode": "force_generic_plan",
        "enable_indexscan": "off", "enable_bitmapscan": "off", "enable_nestloop": "off",
        "enable_seqscan": "off",
    },
    "messages and search_path": {"client_min_messages": "debug5", "search_path": "nowhere"},
    "another encoding": {"client_encoding": "latin1"},
}  # fmt: skip


@pytest.fixture
def host_of_bare(bare: Cmp, tmp_path: Path) -> Iterator[Host]:
    host = Host(tmp_path / "host", bare.dsn)
    yield host
    host.close()


def alter(cmp: Cmp, what: LiteralString, name: str, settings: Mapping[str, str]) -> None:
    """Set parameters for new sessions of the database or of the role.

    A parameter that this server does not know is skipped.
    """
    known = {row[0] for row in cmp.conn.execute("select lower(name) from pg_settings").fetchall()}
    for parameter, value in settings.items():
        if parameter.lower() in known:
            cmp.conn.execute(
                pgsql.SQL("alter {} {} set {} = {}").format(
                    pgsql.SQL(what),
                    pgsql.Identifier(name),
                    pgsql.Identifier(parameter),
                    pgsql.Literal(value),
                )
            )


def assert_everything_works(host: Host, cmp: Cmp) -> None:
    """Install, run the daemon's session, write as CMP does, and run every query of a client."""
    config = host.config(OMNICDC_TABLES="projects=public.projects")
    with db.connect(config.conninfo) as conn:
        assert install.install(conn, projects("public.projects"))
        assert not install.install(conn, projects("public.projects"))
    with opened(host, OMNICDC_TABLES="projects=public.projects") as one:
        one.publish()
        project = write_project(cmp)
        generation = one.publish()
        assert generation
        assert generation.projects == 1
        assert_canary_arrives(one)
        assert_clients_work(config, project)
    assert host.canonical()[project]["name"] == "Süd ☂"


def write_project(cmp: Cmp) -> str:
    """Write a project in a new session, which has the parameters that were set.

    Return the project's id.
    """
    with psycopg.connect(cmp.dsn, client_encoding="utf8", options="-c search_path=public") as writer:
        return cmp.upsert("Süd ☂", conn=writer, github_url="https://github.com/acme/sued", domain="a\\b'c")


def assert_canary_arrives(one: Opened) -> None:
    one.canary.request()
    assert one.canary.send()
    one.publish()
    one.canary.settle(Wakeup.RANG)
    assert one.canary.fault is None


def assert_clients_work(config: Config, project: str) -> None:
    with db.connect(config.conninfo) as conn:
        db.check_schema(conn)
        verdict = waits.wait(conn, timeout_s=20, stop=Stop())
        assert verdict.status == "published", verdict
        found = status(conn)
        assert found["healthy"], found["faults"]
        assert found["consumers"][0]["seen_at"].tzinfo
        assert found["consumers"][0]["seen_at"].utcoffset() == UTC.utcoffset(None)
        report = verification.verify_project(conn, config, *verification.known_inputs(config), project)
        assert report.verified, report.as_dict()
        audit = verification.verify_all(conn, config, *verification.known_inputs(config))
        assert audit.verified, audit.as_dict()
    client = GenesisClient(config=config)
    answer = client.propagate_project("Süd ☂")
    assert answer["success"], answer
    assert client.verify_propagation(project)["verified"]


@pytest.mark.parametrize(
    "foreign",
    [
        # If two sets contradict each other, the first one counts.
        pytest.param(reduce(or_, reversed(FOREIGN_SETTINGS.values())), id="all at once"),
        *(pytest.param(one, id=name, marks=pytest.mark.campaign) for name, one in FOREIGN_SETTINGS.items()),
    ],
)
def test_parameters_of_the_database_change_nothing(
    bare: Cmp, host_of_bare: Host, foreign: dict[str, str]
) -> None:
    alter(bare, "database", bare.conn.info.dbname, foreign)

    assert_everything_works(host_of_bare, bare)


def test_parameters_of_the_role_change_nothing(bare: Cmp, host_of_bare: Host) -> None:
    """All parameters at once. They take precedence over those of the database."""
    role = f"omnicdc_foreign_{bare.conn.info.backend_pid}"
    bare.conn.execute(pgsql.SQL("create role {} superuser login").format(pgsql.Identifier(role)))
    try:
        for settings in FOREIGN_SETTINGS.values():
            alter(bare, "role", role, settings)
        host_of_bare.env["OMNICDC_DSN"] = make_conninfo(bare.dsn, user=role)

        assert_everything_works(host_of_bare, bare)
    finally:
        bare.conn.execute(pgsql.SQL("drop owned by {}").format(pgsql.Identifier(role)))
        bare.conn.execute(pgsql.SQL("drop role {}").format(pgsql.Identifier(role)))


def test_parameters_of_the_connection_string_change_nothing(bare: Cmp, host_of_bare: Host) -> None:
    """PGOPTIONS, PGDATESTYLE and PGTZ work the same way: the driver sends them when it connects."""
    options = "-c DateStyle=German -c default_transaction_isolation=serializable -c quote_all_identifiers=on"
    host_of_bare.env["OMNICDC_DSN"] = make_conninfo(bare.dsn, options=options)

    assert_everything_works(host_of_bare, bare)


def test_no_parameter_ends_a_session_that_waits(bare: Cmp) -> None:
    """A daemon that listens is idle as long as CMP is idle. A full scan is one long transaction."""
    ends = ("idle_session_timeout", "transaction_timeout")
    alter(bare, "database", bare.conn.info.dbname, dict.fromkeys(ends, "2s"))
    with db.connect(bare.dsn) as conn:
        found = [conn.execute("select current_setting(%s, true) as it", [name]).fetchone() for name in ends]

    assert {row["it"] for row in found if row} <= {"0", None}


@pytest.mark.parametrize("reader", ["status", "wait", "a canary", "the daemon"])
def test_a_serializable_writer_does_not_fail_because_of_omnicdc_s_reads(
    cmp: Cmp, host: Host, reader: str
) -> None:
    """P4. Regression: it failed with 40001 each time, because omnicdc's sessions were SERIALIZABLE as well.

    The slow writer has read a row that the quick writer then changes. PostgreSQL can order these two.
    But omnicdc reads the log between the two commits. A SERIALIZABLE read leaves no order of the three.
    """
    here = cmp.upsert("here")
    there = cmp.upsert("there")
    alter(cmp, "database", cmp.conn.info.dbname, {"default_transaction_isolation": "serializable"})
    with opened(host) as one, db.connect(cmp.dsn) as conn, cmp.connect() as slow, cmp.connect() as quick:
        one.publish()
        with slow.transaction():
            slow.execute("select name from projects").fetchall()
            quick.execute("update projects set name = 'changed' where id = %s", [here])
            read_as(reader, one, conn)
            slow.execute("update projects set name = 'slow' where id = %s", [there])
        one.publish()

    assert host.canonical()[there]["name"] == "slow"


def read_as(reader: str, one: Opened, conn: db.Connection) -> None:
    match reader:
        case "status":
            status(conn)
        case "wait":
            waits.wait(conn, timeout_s=0, stop=Stop())
        case "a canary":
            assert_canary_arrives(one)
        case _:
            one.publish()
            db.fetch_one(one.conn, "changes_waiting", {"last": one.state.snapshot})
