"""P6: what goes wrong with one source or one declared registry holds no other registry."""

from __future__ import annotations

import json
import time
from contextlib import closing
from typing import TYPE_CHECKING

import pytest
from support.agents import AGENTS, declare
from support.host import CANONICAL, Host, until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.cmp import Cmp
    from support.pace import Pace
    from support.sessions import People

PARTS = """
tables: {{parts: {table}}}
registries:
  - name: parts
    path: exports/parts.csv
    query: select id, label from parts
    format: csv
"""

TABLE = "create schema stock; create table stock.parts (id integer primary key, label text)"


def test_a_source_in_a_closed_schema_holds_only_its_registries(
    cmp: Cmp, host: Host, tmp_path: Path, people: People
) -> None:
    """A declaration that is reloaded before `omnicdc install`: the daemon may not even look the table up."""
    cmp.conn.execute(TABLE.encode())
    user = people.add("omnicdc_daemon")
    host.env["OMNICDC_DSN"] = people.dsn(user)
    host.env |= declare(tmp_path, PARTS.format(table="stock.parts"))
    daemon = host.daemon(OMNICDC_POLL_S="0.2")
    held = daemon.wait_for("held", registry="parts.csv")
    apollo = cmp.upsert("apollo")
    until(lambda: apollo in host.canonical(), "the other registries are published")
    Host(tmp_path / "admin", cmp.dsn).ask("install", **declare(tmp_path, PARTS.format(table="stock.parts")))
    cmp.conn.execute("insert into stock.parts values (1, 'bolt')")
    daemon.wait_for("published", registries=["parts.csv"])
    cmp.arrived()

    assert "has no right to the schema of table stock.parts" in held["reason"]
    assert "omnicdc install" in held["hint"]
    assert host.raw("exports/parts.csv") == b"id,label\n1,bolt\n"


@pytest.fixture
def estate(tmp_path: Path, bare: Cmp) -> Iterator[Host]:
    """A host whose daemon ends with the test. Nothing is installed."""
    with closing(Host(tmp_path / "host", bare.dsn)) as host:
        yield host


@pytest.mark.parametrize("named", [True, False])
def test_agents_that_are_released_hold_only_their_registry(bare: Cmp, estate: Host, *, named: bool) -> None:
    bare.conn.execute(AGENTS)
    estate.env |= {"OMNICDC_TABLES": "agents=public.agents"} if named else {}
    estate.ask("install")
    daemon = estate.daemon(OMNICDC_POLL_S="0.2")
    estate.ask("source", "release", "agents")
    daemon.wait_for("session_lost")
    apollo = bare.upsert("apollo")
    verdict = bare.wait()
    [consumer] = estate.ask("status")["consumers"]

    assert apollo in estate.canonical()
    assert verdict.status == ("held" if named else "published")
    assert ("canonical_agents_uuids.json" in consumer["held"]) is named
    assert ("canonical_agents_uuids.json" in consumer["unused"]) is not named


def test_a_declared_table_that_is_dropped_ends_no_wait_of_others(
    bare: Cmp, estate: Host, tmp_path: Path
) -> None:
    bare.conn.execute(TABLE.encode())
    estate.env |= declare(tmp_path, PARTS.format(table="stock.parts"))
    estate.ask("install")
    daemon = estate.daemon(OMNICDC_POLL_S="0.2")
    bare.conn.execute("drop table stock.parts")
    daemon.wait_for("held", registry="parts.csv")
    bare.wait()
    with bare.transaction() as (conn, token):
        apollo = bare.upsert("apollo", conn=conn)
    verdict = bare.wait(token)
    status = estate.ask("status")

    assert verdict.status == "published", verdict
    assert apollo in estate.canonical()
    assert not status["healthy"]
    assert "parts.csv" in status["consumers"][0]["held"]


def test_a_check_that_takes_long_does_not_keep_the_daemon_from_ending(
    host: Host, tmp_path: Path, pace: Pace
) -> None:
    begun = tmp_path / "begun"
    text = f"""
registries:
  - name: names
    path: exports/names.csv
    query: select id, name from projects
    format: csv
    check: [sh, -c, "touch {begun}; sleep 1000"]
"""
    host.env |= declare(tmp_path, text)
    daemon = host.starting()
    until(begun.exists, "the check has begun")
    began = time.monotonic()

    assert daemon.stop() == 0
    assert time.monotonic() - began < pace.allows(8)
    assert not (host.root / "exports/names.csv").exists()


@pytest.mark.parametrize(
    ("kind", "content"),
    [("json", '{"1": 5}'), ("json-list", "[1]"), ("ndjson", "5\n"), ("yaml", "- 5\n")],
)
def test_a_file_that_holds_no_entries_is_reported_and_the_others_are_compared(
    cmp: Cmp,
    host: Host,
    tmp_path: Path,
    kind: str,
    content: str,
) -> None:
    text = f"registries: [{{name: x, path: x.txt, query: 'select id, name from projects', format: {kind}}}]"
    host.env |= declare(tmp_path, text)
    cmp.upsert("apollo")
    host.once()
    (host.root / "x.txt").write_text(content)
    found = host.run("verify", "--all")
    report = json.loads(found.stdout)
    dry = host.run("rebuild", "--dry-run")

    assert found.returncode == 1, found.stderr
    by_name = {one["registry"]: one for one in report["registries"].values()}
    assert by_name["x.txt"]["status"] in {"unreadable", "differs"}
    assert by_name[CANONICAL.rpartition("/")[2]]["status"] == "current"
    assert "Traceback" not in dry.stderr
