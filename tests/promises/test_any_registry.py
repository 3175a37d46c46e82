"""Any table, any registry: agents and declared registries follow writes alone, and waits are exact."""

from __future__ import annotations

import csv
import json
from typing import TYPE_CHECKING

import pytest
from support.agents import AGENTS, REGISTRY, add_agent, declare
from support.host import Host, until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.cmp import Cmp


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
