"""`explain`: why a project is in a registry or not, where each value comes from, and what is on its way."""

from __future__ import annotations

import json
import subprocess
from typing import TYPE_CHECKING

import pytest
from support.host import CANONICAL, INVENTORY, PROJECT, until

from omnicdc import db
from omnicdc.clients import GenesisClient
from omnicdc.registries.scanner import OTHERS
from omnicdc.registries.scanners import scanners
from omnicdc.verify import known_inputs, verify_projects

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.cmp import Cmp
    from support.host import Host

    from omnicdc.answers.explain.answers import Explanation, RegistryExplanation

URL = "https://github.com/acme/atlas"

DECLARED = """
registries:
  - name: active
    path: governance/active.json
    query: select id, name from projects where status = 'active'
    format: json
"""


@pytest.fixture
def client(host: Host) -> Iterator[GenesisClient]:
    with GenesisClient(config=host.config()) as one:
        yield one


def people(host: Host, file: str, text: str) -> Path:
    path: Path = host.root / "governance/registry/projects" / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def of(found: Explanation, path: str) -> RegistryExplanation:
    return next(one for one in found["registries"] if one["path"].endswith(path))


def test_each_value_has_its_origin_and_place(cmp: Cmp, host: Host, client: GenesisClient) -> None:
    overrides = people(
        host, "LOCAL_OVERRIDES_V1.yaml",
        f"overrides:\n  - github_url: {URL}\n    status: snapshot\n    notes: moved\n",
    )  # fmt: skip
    clone = host.root / "Projects/atlas"
    subprocess.run(["git", "init", "-q", clone], check=True)
    subprocess.run(["git", "-C", clone, "remote", "add", "origin", URL], check=True)
    atlas = cmp.upsert("atlas", key="github:acme/atlas", status="active", type=None, github_url=URL)
    host.daemon()
    cmp.arrived()

    found = client.explain("atlas")
    fields = of(found, PROJECT)["fields"]

    assert (found["success"], found["uuid"], found["in_cmp"], found["verified"]) == (True, atlas, True, True)
    assert found["on_its_way"] == []
    assert (fields["status"]["value"], fields["status"]["origin"]) == ("snapshot", "override")
    assert fields["status"]["where"] == fields["notes"]["where"] == f"{overrides}:2"
    assert (fields["local_paths"]["value"], fields["local_paths"]["where"]) == ([str(clone)], str(clone))
    assert (fields["name"]["origin"], fields["name"]["where"]) == ("CMP", "public.projects.key")
    assert fields["github_url"]["where"] == "public.projects.metadata_.github_url"
    assert (fields["classification"]["origin"], fields["classification"]["value"]) == ("omnicdc", "project")
    assert fields["visibility"]["origin"] == "omnicdc"
    assert of(found, CANONICAL)["fields"]["status"]["value"] == "active"
    assert of(found, INVENTORY)["reason"] == f"its URL names {URL}"
    assert of(found, INVENTORY)["fields"]["source"]["where"] == "only CMP knows the repository"
    assert client.explain("github:acme/atlas") == client.explain(atlas) == found


def test_every_field_of_every_registry_has_an_origin(cmp: Cmp, host: Host, client: GenesisClient) -> None:
    people(host, "LOCAL_OVERRIDES_V1.yaml", f"overrides: [{{github_url: '{URL}', local_paths: [/srv/a]}}]\n")
    adopted = {"name": "atlas", "owner": {"id": "1", "login": "acme"}, "url": URL, "stars": 3}
    (host.root / INVENTORY).parent.mkdir(parents=True, exist_ok=True)
    (host.root / INVENTORY).write_text(json.dumps([adopted]))
    atlas = cmp.upsert("atlas", github_url=URL)
    host.daemon()
    cmp.arrived()

    found = client.explain(atlas)

    assert len(found["registries"]) == len([it for it in scanners().values() if it.source == "projects"])
    for one in found["registries"]:
        assert one["status"] == "current", one
        shown = {field for field, it in one["fields"].items() if it["origin"] and it["where"]}
        assert shown == {*one["fields"]}
        assert one["fields"].keys() - {OTHERS} == one["fields"].keys() != set()
    inventory = of(found, INVENTORY)["fields"]
    assert inventory["stars"]["origin"] == "inventory"
    assert (inventory["uuid"]["origin"], inventory["uuid"]["where"]) == ("CMP", "public.projects.id")
    assert of(found, PROJECT)["fields"]["local_paths"]["origin"] == "override"


def test_a_project_that_is_left_out_has_the_rule_and_its_line(
    cmp: Cmp, host: Host, client: GenesisClient
) -> None:
    file = people(host, "EXCLUSION_LIST_V1.yaml", "exclusions:\n  - repo: other\n  - repo: acme/atlas\n")
    cmp.upsert("atlas", github_url=URL)
    cmp.upsert("loner")
    host.daemon()
    cmp.arrived()

    excluded, loner = client.explain("atlas"), client.explain("loner")

    registry = of(excluded, PROJECT)
    assert (registry["in_file"], registry["expected"], registry["status"]) == (False, False, "not_expected")
    assert registry["reason"] == "it is excluded: exclusion acme/atlas"
    assert registry["where"] == f"{file}:3"
    assert (excluded["verified"], of(excluded, INVENTORY)["in_file"]) == (True, True)
    assert of(loner, INVENTORY)["reason"] == "its URL names no repository of GitHub"


def test_a_value_that_differs_is_shown_beside_the_one_in_the_file(
    cmp: Cmp, host: Host, client: GenesisClient
) -> None:
    atlas = cmp.upsert("atlas", status="active")
    daemon = host.daemon()
    cmp.arrived()
    daemon.stop()
    cmp.upsert("atlas", id=atlas, status="archived")

    found = client.explain(atlas)
    status = of(found, CANONICAL)["fields"]["status"]

    assert (status["value"], status["found"], status["differs"]) == ("archived", "active", True)
    assert (found["verified"], of(found, CANONICAL)["in_file"]) == (False, True)
    assert "status: not as CMP has it" in of(found, CANONICAL)["reason"]
    [line] = found["on_its_way"]
    assert line.startswith("host: 1 change is not published yet: its daemon does not run - on ")
    newest, first = found["changes"]
    assert (newest["op"], newest["fields"]) == ("update", ["status"])
    assert [(it["read"], it["generation"]) for it in newest["published"]] == [(False, None)]
    assert first["op"] == "insert"
    [published] = first["published"]
    assert published["read"]
    assert published["generation"] == cmp.value("select min(generation) from omnicdc.history")
    assert isinstance(published["milliseconds"], float)


def test_a_deleted_project_is_explained_by_its_uuid(cmp: Cmp, host: Host, client: GenesisClient) -> None:
    atlas = cmp.upsert("atlas")
    host.daemon()
    cmp.arrived()
    cmp.conn.execute("delete from projects")
    cmp.arrived()

    found = client.explain(atlas)

    assert (found["success"], found["in_cmp"], found["verified"]) == (True, False, False)
    assert {one["reason"] for one in found["registries"]} == {"the project is not in CMP"}
    assert {one["in_file"] for one in found["registries"]} == {False}
    assert [it["op"] for it in found["changes"]] == ["delete", "insert"]


def test_quarantine_and_a_held_registry_are_named(cmp: Cmp, host: Host, client: GenesisClient) -> None:
    atlas = cmp.upsert("atlas", github_url=URL)
    host.daemon()
    cmp.arrived()
    cmp.conn.execute("alter table projects alter name drop not null")
    cmp.conn.execute("update projects set name = null")
    until(lambda: "quarantine" in "".join(client.explain(atlas)["on_its_way"]), "it is in quarantine")

    found = client.explain(atlas)

    [line] = found["on_its_way"]
    assert line.startswith("host: the project is in quarantine in PROJECT_REGISTRY_V1.yaml: ValueError")
    assert of(found, PROJECT)["expected"] is None
    assert "its name is NULL" in of(found, PROJECT)["reason"]
    assert of(found, PROJECT)["hint"]


@pytest.mark.parametrize("name", ["nothing", "a\0b", "\ud800"])
def test_an_unknown_name_is_refused(cmp: Cmp, client: GenesisClient, name: str) -> None:
    cmp.upsert("atlas")

    found = client.explain(name)

    assert (found["success"], found["registries"]) == (False, [])
    assert str(found["error"]).startswith("no project in CMP ")


def test_a_name_that_two_projects_have_is_refused_with_both(cmp: Cmp, client: GenesisClient) -> None:
    two = sorted([cmp.upsert("atlas", key="a"), cmp.upsert("atlas", key="b")])

    found = client.explain("atlas")

    assert found["error"] == f"2 projects are named 'atlas': {', '.join(two)} - give the UUID"


def test_on_another_computer_the_log_and_the_consumers_are_explained(cmp: Cmp, host: Host) -> None:
    atlas = cmp.upsert("atlas")
    host.daemon()
    cmp.arrived()

    with GenesisClient(cmp.dsn) as client:
        found = client.explain("atlas")

    assert (found["success"], found["uuid"], found["in_cmp"], found["registries"]) == (True, atlas, None, [])
    assert "PROJECT_REGISTRY_V1.yaml" in found["not_checked"]
    assert [one["alive"] for one in found["consumers"]] == [True]
    assert found["changes"][0]["published"][0]["read"]


def test_a_project_that_a_declared_registry_leaves_out_is_in_cmp(
    cmp: Cmp, host: Host, tmp_path: Path
) -> None:
    """Regression: `verify` and its answers for many projects gave two reasons, and both were wrong."""
    file = tmp_path / "omnicdc.yaml"
    file.write_text(DECLARED)
    host.env["OMNICDC_CONFIG"] = str(file)
    assert host.run("install").returncode == 0
    atlas = cmp.upsert("atlas", status="archived")
    assert host.once()

    with GenesisClient(config=host.config()) as client:
        found = client.explain(atlas)
    config = host.config()
    with db.connect(config.target) as conn:
        reports = [
            verify_projects(conn, config, *known_inputs(config), [atlas], few=few)[0].as_dict()["details"]
            for few in (0, 1)
        ]

    registry = of(found, "governance/active.json")
    assert (found["in_cmp"], registry["in_file"], registry["expected"]) == (True, False, False)
    assert registry["reason"] == "the registry's query or template leaves it out"
    assert [it["in_active"]["detail"] for it in reports] == [registry["reason"]] * 2
