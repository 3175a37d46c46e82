"""The kinds of findings that the delivery has: capture, held, quarantine, drift, and other faults."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING

import pytest
from support.host import CANONICAL

from omnicdc.clients.validation import Finding, ValidationClient

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.cmp import Cmp
    from support.host import Host

B = "canonical_uuid: {boreas}"
URL = "https://github.com/acme/atlas"
DELIVERY = ("capture", "held", "quarantine", "drift", "fault")


@pytest.fixture
def client(host: Host) -> Iterator[ValidationClient]:
    with ValidationClient(config=host.config()) as one:
        yield one


def delivery(client: ValidationClient) -> dict[str, list[Finding]]:
    found = client.check(DELIVERY)
    assert found["error"] is None, found
    return {kind: [it for it in found["findings"] if it["kind"] == kind] for kind in found["counts"]}


def test_a_broken_capture_is_a_kind_of_its_own(cmp: Cmp, host: Host, client: ValidationClient) -> None:
    host.daemon()
    cmp.conn.execute("alter table projects disable trigger user")

    [finding] = delivery(client)["capture"]

    assert (finding["severity"], finding["repairable"]) == ("critical", False)
    assert "omnicdc install" in finding["remedy"]


def test_a_held_registry_is_a_kind_of_its_own_here_and_elsewhere(
    cmp: Cmp, host: Host, client: ValidationClient
) -> None:
    for number in range(20):
        cmp.upsert(f"p{number}")
    host.daemon()
    cmp.conn.execute("delete from projects where name like 'p1%'")
    cmp.wait()

    with ValidationClient(cmp.dsn) as elsewhere:
        found = [delivery(client), delivery(elsewhere)]

    for kinds in found:
        assert {it["where"] for it in kinds["held"]} >= {"host: canonical_projects_uuids.json"}
        assert all("omnicdc accept" in it["remedy"] for it in kinds["held"])
        assert "fault" not in kinds


def test_a_project_in_quarantine_is_a_kind_of_its_own(cmp: Cmp, host: Host, client: ValidationClient) -> None:
    cmp.conn.execute("alter table projects alter name drop not null")
    atlas = cmp.upsert("atlas")
    host.daemon()
    cmp.conn.execute("update projects set name = null")
    cmp.wait()

    found = delivery(client)

    assert {*found} == {"quarantine"}
    assert [(it["project"], it["where"]) for it in found["quarantine"]] == [
        (atlas, "host: PROJECT_REGISTRY_V1.yaml")
    ]
    assert "its name is NULL" in found["quarantine"][0]["detail"]


def edited(host: Host, atlas: str) -> None:
    text = host.raw(CANONICAL)
    (host.root / CANONICAL).write_bytes(text.replace(b"atlas", b"ATLAS"))
    assert host.canonical()[atlas]["name"] == "ATLAS"


def test_a_registry_that_was_edited_is_drift_and_repaired(
    cmp: Cmp, host: Host, client: ValidationClient
) -> None:
    atlas = cmp.upsert("atlas")
    host.once()
    before = host.content()
    edited(host, atlas)

    [finding] = delivery(client)["drift"]

    assert (finding["where"], finding["remedy"]) == (str(host.root / CANONICAL), "omnicdc rebuild")
    assert finding["repairable"]

    host.daemon()
    repaired = client.repair(finding)

    assert repaired["success"], repaired
    assert delivery(client) == {}
    assert host.content() == before


def test_a_registry_that_lags_behind_is_not_drift(cmp: Cmp, host: Host, client: ValidationClient) -> None:
    cmp.upsert("atlas")
    host.once()
    cmp.upsert("boreas")

    found = client.check(["drift", "registry_differs"])

    assert {*found["counts"]} == {"registry_differs"}


def test_with_alert_the_remedy_is_a_command_that_works(cmp: Cmp, host: Host) -> None:
    host.env["OMNICDC_ON_DRIFT"] = "alert"
    atlas = cmp.upsert("atlas")
    host.daemon()
    before = host.content()
    edited(host, atlas)

    with ValidationClient(config=host.config()) as client:
        found = client.check(["drift", "registry_differs"])["findings"]
        refused = client.repair(found[0])
        path = found[0]["remedy"].rpartition("rm ")[2]
        shutil.move(path, f"{path}.away")
        client.repair({**found[0], "kind": "registry_differs", "repairable": True})
        again = client.check(["drift", "registry_differs"])["findings"]

    assert [(it["kind"], it["repairable"]) for it in found] == [("drift", False), ("registry_differs", False)]
    assert (refused["success"], again) == (False, [])
    assert host.content() == before


def test_any_other_fault_of_status_is_a_fault(host: Host, client: ValidationClient) -> None:
    path = host.root / "governance/registry/projects/EXCLUSION_LIST_V1.yaml"
    path.parent.mkdir(parents=True)
    path.write_text("exclusions:\n- name: atlas\n")
    host.daemon()

    [finding] = delivery(client)["fault"]

    assert "EXCLUSION_LIST_V1.yaml:2" in finding["detail"]


@pytest.mark.parametrize("text", ["{", None, "[]"])
def test_a_registry_that_does_not_parse_or_is_missing_is_repaired(
    cmp: Cmp, host: Host, client: ValidationClient, text: str | None
) -> None:
    cmp.upsert("atlas")
    host.once()
    file: Path = host.root / CANONICAL
    file.unlink() if text is None else file.write_text(text)

    finding = next(it for it in client.check(["registry_differs"])["findings"] if it["project"] is None)

    assert (finding["where"], finding["repairable"]) == ("canonical_projects_uuids.json", True)

    host.daemon()
    assert client.repair(finding)["success"]
    assert client.check(["registry_differs"])["findings"] == []


def test_the_path_of_a_clone_that_was_removed_differs_and_is_repaired(
    cmp: Cmp, host: Host, client: ValidationClient
) -> None:
    clone = host.root / "Projects/atlas"
    (clone / ".git").mkdir(parents=True)
    (clone / ".git/config").write_text(f'[remote "origin"]\n\turl = {URL}\n')
    atlas = cmp.upsert("atlas", github_url=URL)
    host.once()
    shutil.rmtree(clone)

    finding = client.check(["registry_differs"])["findings"][0]

    assert (finding["project"], finding["found"]) == (atlas, {"local_paths": [str(clone)]})

    host.daemon()
    assert client.repair(finding)["success"]
    assert client.check(["registry_differs"])["findings"] == []


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ("canonical_uuid: {atlas}", "repository.github_url"),
        (B + "\nproject: {{type: REPO}}", "project.type"),
        (B + "\ngenesis: {{anchors: {{cmp_registered: false}}}}", "genesis.anchors.cmp_registered"),
        (B + "\ngenesis: {{anchors: {{uuid_registry: false}}}}", "genesis.anchors.uuid_registry"),
        (B + "\ngenesis: {{anchors: {{project_registry: true}}}}", "genesis.anchors.project_registry"),
        (B + "\ngenesis: {{anchors: {{github_repo: false}}}}", "genesis.anchors.github_repo"),
    ],
)  # fmt: skip
def test_each_field_of_a_manifest_is_compared(
    cmp: Cmp, host: Host, client: ValidationClient, text: str, field: str
) -> None:
    """The clone of boreas, which is excluded, has a manifest that is not as CMP has it in one field."""
    ids = {
        name: cmp.upsert(name, github_url=f"https://github.com/acme/{name}") for name in ("atlas", "boreas")
    }
    path = host.root / "governance/registry/projects/EXCLUSION_LIST_V1.yaml"
    path.parent.mkdir(parents=True)
    path.write_text("exclusions:\n- repo: boreas\n")
    manifest = host.root / "Projects/boreas/.genesis/PROJECT_MANIFEST.yaml"
    manifest.parent.mkdir(parents=True)
    (manifest.parents[1] / ".git").mkdir()
    (manifest.parents[1] / ".git/config").write_text(
        '[remote "origin"]\n\turl = https://github.com/acme/boreas\n'
    )
    manifest.write_text(text.format(**ids))
    host.once()

    [finding] = client.check(["manifest_differs"])["findings"]

    assert finding["detail"] == f"{field} is not as CMP has it"
    assert finding["remedy"].endswith(f"{field.rpartition('.')[2]}: {json.dumps(finding['expected'])}")
