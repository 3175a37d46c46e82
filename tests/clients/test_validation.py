"""ValidationClient: each kind of finding is provoked, and what can be repaired is repaired."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from support.agents import AGENTS
from support.host import CANONICAL, INVENTORY

from omnicdc.clients.validation import KINDS, Finding, ValidationClient

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from support.cmp import Cmp
    from support.host import Host

URL = "https://github.com/acme/atlas"
SHARED = "00000000-0000-4000-8000-00000000000a"


@pytest.fixture
def client(host: Host) -> Iterator[ValidationClient]:
    with ValidationClient(config=host.config()) as one:
        yield one


def people(host: Host, file: str, text: str) -> None:
    path = host.root / "governance/registry/projects" / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def edit(host: Host, path: str, change: Callable[[Any], None]) -> None:
    file = host.root / path
    found = json.loads(file.read_text())
    change(found)
    file.write_text(json.dumps(found, indent=2))


def only(client: ValidationClient, kind: str) -> Finding:
    found = client.check([kind])
    assert found["error"] is None, found
    [finding] = found["findings"]
    assert found["counts"] == {kind: 1}
    return finding


def test_an_estate_that_is_right_has_no_finding(cmp: Cmp, host: Host, client: ValidationClient) -> None:
    cmp.upsert("atlas", type="PROJECT", status="active", key="github:acme/atlas", github_url=URL)
    host.daemon()

    found = client.check()

    assert {*found["counts"]} <= {"unlisted_repository"}
    assert (found["success"], found["not_checked"]) == (True, [])
    assert found["checked"] == sorted(KINDS)


@pytest.mark.parametrize(
    ("kind", "column"), [("duplicate_name", "name"), ("duplicate_key", "key"), ("duplicate_url", "URL")]
)
def test_what_two_projects_share_is_found(cmp: Cmp, client: ValidationClient, kind: str, column: str) -> None:
    one = cmp.upsert("atlas", key="a", github_url=URL)
    other = cmp.upsert("atlas", key="a", github_url="git@github.com:Acme/Atlas.git")

    found = only(client, kind)

    assert found["found"] == sorted([one, other])
    assert f"2 projects have the {column} " in found["detail"]


@pytest.mark.parametrize(
    ("kind", "url", "repairable"),
    [
        ("bad_url", "atlas", False),
        ("bad_url", f" {URL} ", True),
        ("foreign_url", "https://gitlab.com/acme/atlas", False),
    ],
)
def test_a_url_that_is_no_repository_on_github_is_found(
    cmp: Cmp, host: Host, client: ValidationClient, kind: str, url: str, repairable: bool
) -> None:
    atlas = cmp.upsert("atlas", github_url=url)
    host.daemon()

    found = only(client, kind)

    assert (found["project"], found["found"], found["repairable"]) == (atlas, url, repairable)

    repaired = client.repair(found)

    assert repaired["success"] is repairable
    if repairable:
        assert cmp.value("select metadata_ ->> 'github_url' from projects") == URL
        assert client.check([kind])["findings"] == []


def test_ids_that_are_shared_or_placeholders_are_found(cmp: Cmp, client: ValidationClient) -> None:
    cmp.conn.execute(AGENTS)
    cmp.upsert("atlas", id=SHARED)
    cmp.conn.execute("insert into agents (id, name) values (%s, 'ada')", [SHARED])
    cmp.upsert("default", id="00000000-0000-0000-0000-000000000001")
    cmp.upsert("lazy", id="11111111-1111-1111-1111-111111111111")

    shared, placeholder = only(client, "shared_id"), only(client, "placeholder_id")

    assert shared["project"] == SHARED
    assert placeholder["name"] == "lazy"


def test_a_status_or_a_type_outside_the_known_ones_is_found(cmp: Cmp, host: Host) -> None:
    cmp.upsert("atlas", status="retired", type="thing")

    with ValidationClient(config=host.config(), statuses=["active"], types=["PROJECT"]) as client:
        status, kind = only(client, "unknown_status"), only(client, "unknown_type")

    assert (status["found"], status["expected"]) == ("retired", ["active"])
    assert (kind["found"], kind["expected"]) == ("thing", ["PROJECT"])


def test_a_registry_that_was_edited_is_found_entry_by_entry_and_repaired(
    cmp: Cmp, host: Host, client: ValidationClient
) -> None:
    atlas, boreas = cmp.upsert("atlas", github_url=URL), cmp.upsert("boreas")
    host.once()
    edit(host, CANONICAL, lambda found: found["uuids"][atlas].update(github_url=f"{URL}2"))

    found, contradicting = only(client, "registry_differs"), client.check(["registries_disagree"])

    assert (found["project"], found["found"]) == (atlas, {"github_url": f"{URL}2"})
    assert found["expected"] == {"github_url": URL}
    assert found["where"] == "canonical_projects_uuids.json"
    assert [(it["project"], it["expected"], it["found"]) for it in contradicting["findings"]] == [
        (atlas, f"{URL}2", URL)
    ] * 2

    host.daemon()
    repaired = client.repair(found)

    assert repaired["success"], repaired
    assert client.check(["registry_differs", "registries_disagree"])["findings"] == []
    assert {*host.canonical()} == {atlas, boreas}


def test_overrides_and_exclusions_that_match_nothing_and_paths_that_are_missing_are_found(
    cmp: Cmp, host: Host, client: ValidationClient
) -> None:
    cmp.upsert("atlas", github_url=URL, status="active")
    people(
        host,
        "LOCAL_OVERRIDES_V1.yaml",
        f"overrides:\n- github_url: {URL}\n  local_paths: [/srv/none]\n- github_url: {URL}2\n",
    )
    people(host, "EXCLUSION_LIST_V1.yaml", "exclusions:\n- repo: boreas\n")

    missing, useless = only(client, "missing_path"), client.check(["useless_entry"])["findings"]

    assert (missing["found"], missing["where"][-2:]) == ("/srv/none", ":2")
    assert [it["found"] for it in useless] == [f"{URL}2", "boreas"]

    cmp.conn.execute("update projects set status = 'archived'")
    assert client.check(["missing_path"])["findings"] == []


def test_what_the_inventory_and_cmp_do_not_share_is_found(
    cmp: Cmp, host: Host, client: ValidationClient
) -> None:
    element = {"name": "boreas", "url": "https://github.com/acme/boreas", "visibility": "PUBLIC"}
    file = host.root / INVENTORY
    file.parent.mkdir(parents=True)
    file.write_text(json.dumps([element]))
    atlas = cmp.upsert("atlas", github_url=URL)
    host.once()

    unused, unlisted = only(client, "unused_repository"), only(client, "unlisted_repository")

    assert unused["where"] == "https://github.com/acme/boreas"
    assert unlisted["project"] == atlas


def test_a_manifest_that_contradicts_cmp_is_found(cmp: Cmp, host: Host, client: ValidationClient) -> None:
    atlas = cmp.upsert("atlas", github_url=URL, domain="labs")
    clone = host.root / "Projects/atlas"
    (clone / ".git").mkdir(parents=True)
    (clone / ".git/config").write_text(f'[remote "origin"]\n\turl = {URL}\n')
    manifest = clone / ".genesis/PROJECT_MANIFEST.yaml"
    manifest.parent.mkdir()
    manifest.write_text(
        f"canonical_uuid: {atlas}\n"
        f"project: {{name: atlas, domain: web}}\n"
        f"repository: {{github_url: {URL}.git}}\n"
    )

    found = only(client, "manifest_differs")

    assert (found["where"], found["expected"], found["found"]) == (str(manifest), "labs", "web")

    manifest.write_text("canonical_uuid: [")
    assert "is no project in CMP" in only(client, "manifest_differs")["detail"]


def test_elsewhere_the_kinds_that_need_files_are_named_as_not_checked(cmp: Cmp) -> None:
    cmp.upsert("atlas", status="retired")

    with ValidationClient(cmp.dsn) as client:
        found = client.check()

    assert found["counts"].get("unknown_status") == 1
    assert {"registry_differs", "manifest_differs", "missing_path"} <= {*found["not_checked"]}


def test_an_unknown_kind_is_refused(client: ValidationClient) -> None:
    found = client.check(["colour"])

    assert found["error"] is not None
    assert "no kind of finding is named 'colour'" in found["error"]
