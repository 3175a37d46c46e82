"""Any table, any registry: agents and declared registries follow writes alone, and waits are exact."""

from __future__ import annotations

import csv
import json
import threading
from typing import TYPE_CHECKING

import pytest
from support.agents import AGENTS, REGISTRY, add_agent, declare
from support.host import Host, until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.cmp import Cmp


ALIKE = """
registries:
  - name: states
    path: exports/states.txt
    query: select id, status from projects
    format: lines
    entry: "{{ status | default('', true) }}"
    sort: [status]
"""


@pytest.fixture
def estate(bare: Cmp, tmp_path: Path) -> Iterator[Host]:
    """A host with agents and declared registries, whose capture is installed by the command."""
    bare.conn.execute(AGENTS)
    host = Host(tmp_path / "host", bare.dsn)
    host.env |= declare(tmp_path)
    installed = host.ask("install")
    assert {*installed["sources"]} == {"projects", "agents"}
    yield host
    host.close()


def test_agents_and_declared_registries_follow_writes_alone(bare: Cmp, estate: Host) -> None:
    estate.daemon()
    with bare.transaction() as (conn, token):
        apollo = bare.upsert("apollo", conn=conn)
        ada = add_agent(bare, "ada", kind="human", project_id=apollo, conn=conn)
    verdict = bare.arrived(token)

    agents = json.loads(estate.raw(REGISTRY))
    teams = json.loads(estate.raw("governance/registry/teams.json"))
    lines = estate.raw("nginx/upstreams.conf").decode()
    [row] = csv.DictReader(estate.raw("exports/agents.csv").decode().splitlines())
    targets = json.loads(estate.raw("prometheus/targets.json"))
    assert agents["entity_type"] == "agents"
    assert agents["uuids"][ada]["kind"] == "human"
    assert teams["teams"] == {apollo: {"name": "apollo", "agents": ["ada"]}}
    assert lines == '# 1 projects\nmap $host $project {\n  "apollo" active;\n}\n'
    assert row == {"id": ada, "name": "ada", "kind": "human"}
    assert targets == [{"targets": ["ada:9100"], "labels": {"project": "apollo"}}]
    # The inventory has no repository: apollo has no URL.
    assert len(verdict.registries) == 7


def test_a_change_of_a_joined_table_arrives_and_a_lost_row_deletes_the_entry(bare: Cmp, estate: Host) -> None:
    apollo = bare.upsert("apollo")
    ada = add_agent(bare, "ada", project_id=apollo)
    estate.daemon()
    bare.conn.execute("update agents set name = 'eva'")
    bare.arrived()
    renamed = json.loads(estate.raw("governance/registry/teams.json"))["teams"][apollo]["agents"]
    bare.conn.execute("update projects set name = 'artemis'")
    bare.arrived()
    labels = json.loads(estate.raw("prometheus/targets.json"))[0]["labels"]
    bare.conn.execute("update agents set project_id = null")
    bare.arrived()

    assert renamed == ["eva"]
    assert labels == {"project": "artemis"}
    assert json.loads(estate.raw("prometheus/targets.json")) == []
    assert json.loads(estate.raw("governance/registry/teams.json"))["teams"][apollo]["agents"] is None
    assert estate.ask("verify", "--all")["verified"] is True
    assert estate.ask("verify", ada)["verified"] is True
    assert estate.ask("verify", apollo)["verified"] is True


def test_waits_end_while_a_joined_table_is_written_without_a_pause(bare: Cmp, estate: Host) -> None:
    """P5: a registry that always has changes to come shows everything that was committed at the barrier."""
    apollo = bare.upsert("apollo")
    add_agent(bare, "ada", project_id=apollo)
    estate.daemon()
    end = threading.Event()

    def write() -> None:
        with bare.connect() as conn:
            while not end.is_set():
                conn.execute("update agents set name = name || 'a' where length(name) < 500")
                conn.execute("update agents set name = 'ada' where length(name) >= 500")

    writer = threading.Thread(target=write)
    writer.start()
    try:
        verdicts = [bare.wait() for _ in range(10)]
        with bare.transaction() as (conn, token):
            bare.upsert("artemis", id=apollo, conn=conn)
        exact = bare.wait(token)
        name = json.loads(estate.raw("governance/registry/teams.json"))["teams"][apollo]["name"]
    finally:
        end.set()
        writer.join()
    bare.arrived()

    assert {verdict.status for verdict in (*verdicts, exact)} == {"published"}
    assert name == "artemis"
    assert estate.ask("verify", "--all")["verified"] is True


def test_a_name_with_a_line_break_is_held_back_from_lines_alone(bare: Cmp, estate: Host) -> None:
    estate.daemon()
    good = bare.upsert("apollo")
    bad = bare.upsert("x\n}; evil")
    verdict = bare.wait()

    status = estate.ask("status")
    assert estate.raw("nginx/upstreams.conf").decode().count("\n") == 5
    assert {*json.loads(estate.raw("governance/registry/teams.json"))["teams"]} == {good, bad}
    assert verdict.arrived, verdict
    assert status["healthy"], status["faults"]


def test_without_agents_the_registry_is_not_published_and_status_says_so(cmp: Cmp, host: Host) -> None:
    host.daemon()
    cmp.arrived()
    [consumer] = host.ask("status")["consumers"]

    assert host.ask("status")["healthy"] is True
    assert "CMP has no table agents" in consumer["unused"]["canonical_agents_uuids.json"]["reason"]
    assert not (host.root / REGISTRY).exists()


def test_agents_that_are_installed_later_are_published_without_a_restart(cmp: Cmp, host: Host) -> None:
    daemon = host.daemon(OMNICDC_POLL_S="0.2")
    cmp.conn.execute(AGENTS)
    ada = add_agent(cmp, "ada")
    host.ask("install")
    daemon.wait_for("serving")
    daemon.wait_for("published", registries=["canonical_agents_uuids.json"])

    assert {*json.loads(host.raw(REGISTRY))["uuids"]} == {ada}


def test_the_registries_are_listed_with_their_state(bare: Cmp, estate: Host) -> None:
    estate.daemon()
    bare.upsert("apollo")
    bare.arrived()
    listed = {one["name"]: one for one in estate.ask("registries")["registries"]}

    assert listed["teams"]["format"] == "json"
    assert listed["teams"]["sources"] == {
        "projects": ["id", "name"], "agents": ["id", "name", "project_id"],
    }  # fmt: skip
    assert (listed["teams"]["count"], listed["teams"]["state"]) == (1, "published")
    assert estate.ask("check-config")["faults"] == {}


def test_a_source_is_released_and_its_registries_are_held(bare: Cmp, estate: Host) -> None:
    daemon = estate.daemon(OMNICDC_POLL_S="0.2")
    released = estate.ask("source", "release", "agents")
    daemon.wait_for("held", registry="teams.json")
    held = estate.ask("status")["consumers"][0]["held"]
    estate.ask("install")
    until(lambda: estate.ask("status")["healthy"], "the registries are published again")
    bare.arrived()

    assert released == {"released": "agents"}
    assert "table public.agents is not watched" in held["teams.json"]["reason"]


ODD = """
registries:
  - name: parts
    path: exports/parts.yaml
    query: select number, label from parts
    format: yaml
  - name: words
    path: exports/words.ndjson
    query: select word, count(*) over () as total from words
    format: ndjson
  - name: days
    path: exports/days.csv
    query: select day, what from days
    format: csv
    mode: "0640"
"""
"""Keys of other types: an integer, a text, and a date, of which every change scans everything."""


def test_tables_with_other_keys_are_followed_and_verified_by_their_keys(bare: Cmp, tmp_path: Path) -> None:
    bare.conn.execute(
        """create table parts (number integer primary key, label text);
           create table words (word text primary key);
           create table days (day date primary key, what text);
           insert into parts values (7, 'seven'), (10, 'ten'); insert into words values ('a "b" \\');
           insert into days values ('2026-01-02', 'x')"""
    )
    host = Host(tmp_path / "host", bare.dsn)
    host.env |= declare(tmp_path, ODD)
    host.ask("install")
    host.daemon()
    bare.conn.execute(
        """update parts set label = 'SEVEN' where number = 7; insert into words values ('{c}');
           update days set what = 'y'"""
    )
    bare.arrived()
    verified = [host.ask("verify", key) for key in ("7", 'a "b" \\', "2026-01-02")]
    absent = host.ask("verify", "8")
    host.close()

    assert host.raw("exports/parts.yaml") == b"---\n- number: 7\n  label: SEVEN\n- number: 10\n  label: ten\n"
    words = [json.loads(line) for line in host.raw("exports/words.ndjson").splitlines()]
    assert words == [{"word": 'a "b" \\', "total": 2}, {"word": "{c}", "total": 2}]
    assert host.raw("exports/days.csv") == b"day,what\n2026-01-02,y\n"
    assert (host.root / "exports/days.csv").stat().st_mode & 0o777 == 0o640
    assert [it["checks"] for it in verified] == [{"in_parts": True}, {"in_words": True}, {"in_days": True}]
    assert (absent["verified"], absent["in_cmp"]) == (False, False)


@pytest.mark.parametrize(
    ("query", "place", "message"),
    [
        ("select id, nme from agents", "", "does not watch agents.nme"),
        ("select id, name from agents order by name", "49", "must not be ordered"),
        ("select id, pg_sleep(1) as x from agents", "", "calls pg_sleep"),
        ("select name, id from teamz", "", "table teamz does not exist"),
    ],
)
def test_a_declared_registry_that_cannot_be_is_reported_and_holds_only_itself(
    bare: Cmp, tmp_path: Path, query: str, place: str, message: str
) -> None:
    bare.conn.execute(AGENTS)
    host = Host(tmp_path / "host", bare.dsn)
    text = f"registries:\n  - name: bad\n    format: csv\n    path: bad.csv\n    query: {query}\n"
    with_text = declare(tmp_path, text)
    installed = host.run("install", **with_text)
    checked = host.run("check-config", **with_text)
    if place:
        assert (installed.returncode, checked.returncode) == (2, 2)
        assert f"omnicdc.yaml:5:{place}: registry bad: the query {message}" in checked.stderr
        return
    if installed.returncode:
        host.ask("install")
    daemon = host.daemon(**with_text)
    bare.upsert("apollo")
    held = daemon.wait_for("held", registry="bad.csv")
    until(host.canonical, "the other registries are published")
    host.close()

    assert message in held["reason"]
    assert checked.returncode == 1, checked.stderr
    assert "bad" in json.loads(checked.stdout)["faults"]


def test_lines_that_are_equal_for_several_projects_are_verified(bare: Cmp, tmp_path: Path) -> None:
    host = Host(tmp_path / "host", bare.dsn)
    host.env |= declare(tmp_path, ALIKE)
    host.ask("install")
    host.daemon()
    apollo, hermes = bare.upsert("apollo", status="active"), bare.upsert("hermes", status="active")
    bare.upsert("zeus", status="retired")
    bare.arrived()
    lines = host.raw("exports/states.txt").decode().splitlines()
    verified = [host.ask("verify", project)["checks"]["in_states"] for project in (apollo, hermes)]
    bare.conn.execute("update projects set status = null where id = %s", [hermes])
    bare.arrived()
    host.close()

    assert lines == ["active", "active", "retired"]
    assert verified == [True, True]
    assert host.raw("exports/states.txt").decode().splitlines() == ["active", "retired"]


def test_a_registry_is_served_as_soon_as_its_columns_are_watched(bare: Cmp, tmp_path: Path) -> None:
    host = Host(tmp_path / "host", bare.dsn)
    host.ask("install")
    host.env |= declare(tmp_path, ALIKE.replace("status", "description"))
    daemon = host.daemon(OMNICDC_POLL_S="0.2")
    bare.set(bare.upsert("apollo"), description="the first")
    daemon.wait_for("held", registry="states.txt")
    host.ask("install")
    daemon.wait_for("published", registries=["states.txt"])
    bare.set(bare.upsert("hermes"), description="the second")
    bare.arrived()
    host.close()

    assert host.raw("exports/states.txt").decode().splitlines() == ["the first", "the second"]


TIMED = """
registries:
  - {name: as_json, path: t/a.json, query: "select id, name from projects", format: json, entries: rows,
     header: {note: "NOTE", updated: "{generated_at}"}}
  - {name: as_list, path: t/b.json, query: "select id, name from projects", format: json-list, entries: rows,
     header: {note: "NOTE", 'odd "name"': "{generated_at}"}}
  - {name: as_yaml, path: t/c.yaml, query: "select id, name from projects", format: yaml, entries: rows,
     header: {note: "NOTE", updated: "{generated_at}"}}
  - {name: as_lines, path: t/d.txt, query: "select id, name from projects", format: lines,
     header: "# NOTE\\n# {{ count }} projects at {{ generated_at }}", entry: "{{ name }}", footer: "# end"}
""".replace("NOTE", "x" * 500)
"""Every format whose header can show the time: by another name than omnicdc's own, and late in the file."""


@pytest.mark.parametrize("count", [0, 3])
def test_a_file_that_shows_when_it_was_written_is_current(
    cmp: Cmp, host: Host, tmp_path: Path, count: int
) -> None:
    """Regression: `verify --all` reported it for ever as in another order or layout."""
    (file := tmp_path / "timed.yaml").write_text(TIMED)
    host.env["OMNICDC_CONFIG"] = str(file)
    cmp.fill(count)
    host.ask("run", "--once")

    found = host.ask("verify", "--all")
    planned = host.run("rebuild", "--dry-run", "-o", "text")

    assert found["verified"] is True, found
    assert planned.returncode == 0, planned.stdout


def test_a_file_that_shows_when_it_was_written_is_recognised(cmp: Cmp, host: Host, tmp_path: Path) -> None:
    """Regression: without a manifest, it was backed up as a foreign file and written again."""
    (file := tmp_path / "timed.yaml").write_text(TIMED)
    host.env["OMNICDC_CONFIG"] = str(file)
    cmp.fill(3)
    host.ask("run", "--once")
    names = ("t/a.json", "t/b.json", "t/c.yaml", "t/d.txt")
    before = {name: host.raw(name) for name in names}
    (host.root / "governance/registry/omnicdc_manifest.json").unlink()

    assert host.ask("run", "--once")["registries"] == []
    assert {name: host.raw(name) for name in names} == before
