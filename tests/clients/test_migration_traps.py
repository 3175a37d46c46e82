"""What an operator would regret after a migration is in the plan before it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from support.host import INVENTORY

from omnicdc.clients.migration import MigrationClient

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.cmp import Cmp
    from support.host import Host

    from omnicdc.clients.migration import PlanAnswer

OLD, NEW = "https://github.com/acme/atlas", "https://github.com/newco/atlas"


@pytest.fixture
def client(host: Host) -> Iterator[MigrationClient]:
    with MigrationClient(config=host.config()) as one:
        yield one


def kinds(plan: PlanAnswer) -> list[str]:
    assert plan["success"], plan
    return [it["kind"] for it in (*plan["conflicts"], *plan["losses"])]


def people(host: Host, file: str, text: str) -> Path:
    path = host.root / "governance/registry/projects" / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def fake_clone(host: Host, name: str, url: str) -> Path:
    path = host.root / "Projects" / name
    (path / ".git").mkdir(parents=True)
    (path / ".git/config").write_text(f'[remote "origin"]\n\turl = {url}\n')
    return path


def test_an_owner_move_names_what_still_has_the_old_url(
    cmp: Cmp, host: Host, client: MigrationClient
) -> None:
    atlas = cmp.upsert("atlas", github_url=OLD, key="github:acme/atlas")
    cmp.upsert("boreas", github_url="https://github.com/other/boreas")
    path = fake_clone(host, "atlas", "git@github.com:Acme/atlas.git")
    overrides = people(host, "LOCAL_OVERRIDES_V1.yaml", f"overrides:\n- github_url: {OLD}\n  notes: ours\n")
    exclusions = people(host, "EXCLUSION_LIST_V1.yaml", "exclusions:\n- repo: acme/atlas\n")

    changes = client.move_owner("ACME", "newco")
    plan = client.plan(changes)

    assert changes == [
        {"uuid": atlas, "set": {"metadata_.github_url": NEW, "key": "github:newco/atlas"}, "unset": []}
    ]
    assert kinds(plan) == ["clone_has_old_url", "override_names_old_url", "exclusion_names_old_url"]
    assert [it["where"] for it in plan["losses"]] == [str(path), f"{overrides}:2", f"{exclusions}:2"]
    assert [it["hint"] for it in plan["losses"]] == [
        f"git -C {path} remote set-url origin {NEW}",
        f"write `github_url: {NEW}` there",
        "write `repo: newco/atlas` there",
    ]


def test_the_metadata_of_github_that_would_be_lost_is_named(
    cmp: Cmp, host: Host, client: MigrationClient
) -> None:
    cmp.upsert("atlas", github_url=OLD)
    file = host.root / INVENTORY
    file.parent.mkdir(parents=True)
    file.write_text(json.dumps([{"name": "atlas", "url": OLD, "visibility": "PUBLIC"}]))
    host.once()

    assert kinds(client.plan(client.move_owner("acme", "newco"))) == ["github_metadata_lost"]


def test_elsewhere_a_plan_names_what_it_did_not_check(cmp: Cmp) -> None:
    cmp.upsert("atlas", github_url=OLD)

    with MigrationClient(cmp.dsn) as client:
        plan = client.plan(client.move_owner("acme", "newco"))

    assert (kinds(plan), plan["total"]) == ([], 1)
    assert plan["not_checked"] == ["clones", "overrides", "exclusions", "GitHub metadata"]


@pytest.mark.parametrize("url", ["git@github.com:acme/atlas.git", "http://www.GitHub.com/Acme/atlas/"])
def test_an_owner_move_keeps_the_form_of_the_url(cmp: Cmp, client: MigrationClient, url: str) -> None:
    cmp.upsert("atlas", github_url=url)

    [change] = client.move_owner("acme", "newco")

    assert change["set"] == {
        "metadata_.github_url": url.replace("acme", "newco").replace("Acme", "newco"),
    }


def test_an_archived_project_under_an_override_is_named(
    cmp: Cmp, host: Host, client: MigrationClient
) -> None:
    cmp.upsert("atlas", github_url=OLD, status="active")
    file = people(host, "LOCAL_OVERRIDES_V1.yaml", f"overrides:\n- github_url: {OLD}\n  status: active\n")

    plan = client.plan(client.set_status(["atlas"], "archived"))

    assert kinds(plan) == ["override_masks_status"]
    assert (plan["losses"][0]["where"], plan["losses"][0]["hint"]) == (
        f"{file}:2", "remove the line `status: active` from the override"
    )  # fmt: skip
    assert plan["items"][0]["registries"] == ["canonical_projects_uuids.json"]


def test_a_second_project_of_a_name_is_a_conflict_that_must_be_accepted(
    cmp: Cmp, host: Host, client: MigrationClient
) -> None:
    atlas, boreas = cmp.upsert("atlas"), cmp.upsert("boreas")
    host.daemon()

    plan = client.plan(client.rename("boreas", "atlas"))
    refused = client.apply(plan)
    left = cmp.value("select name from projects where id = %s", boreas)
    done = client.apply(plan, accept=["duplicate_name"])

    assert kinds(plan) == ["duplicate_name"]
    assert {*plan["conflicts"][0]["projects"]} == {atlas, boreas}
    assert (refused["success"], refused["applied"], left) == (False, 0, "boreas")
    assert (done["success"], done["applied"]) == (True, 1)
    with pytest.raises(Exception, match="2 projects are named 'atlas'"):
        client.rename("atlas", "zephyr")


def test_a_domain_move_reaches_the_registries(cmp: Cmp, host: Host, client: MigrationClient) -> None:
    projects = [cmp.upsert(f"p{number}", domain="labs") for number in range(3)]
    cmp.upsert("other", domain="web")
    host.daemon()

    plan = client.plan(client.move_domain("labs", "research"))
    done = client.apply(plan)

    assert (done["success"], done["applied"], done["verified"]) == (True, 3, 3)
    assert {host.canonical()[it]["domain"] for it in projects} == {"research"}


def test_a_change_that_empties_a_registry_by_more_than_half_is_named(
    cmp: Cmp, client: MigrationClient
) -> None:
    for number in range(20):
        cmp.upsert(f"p{number}", github_url=f"https://github.com/acme/p{number}")
    changes = [
        {"uuid": one, "unset": ["metadata_.github_url"]}
        for (one,) in cmp.conn.execute("select id::text from projects where name like 'p1%'").fetchall()
    ]

    plan = client.plan(changes)

    assert len(changes) == 11
    assert kinds(plan) == ["guard"]
    assert plan["losses"][0]["where"] == "repo_inventory.json"


def test_a_row_that_somebody_changed_after_the_plan_is_not_written(
    cmp: Cmp, host: Host, client: MigrationClient
) -> None:
    cmp.upsert("atlas", status="active")
    boreas = cmp.upsert("boreas", status="active")
    host.daemon()
    plan = client.plan(client.set_status({"status": "active"}, "archived"))
    cmp.upsert("boreas", id=boreas, status="snapshot")

    done = client.apply(plan)

    assert (done["success"], done["applied"]) == (False, 0)
    [error] = done["errors"]
    assert (error["uuid"], error["fields"]) == (boreas, ["status"])
    assert cmp.value("select status from projects where name = 'atlas'") == "active"


def test_a_project_that_was_deleted_after_the_plan_is_named(
    cmp: Cmp, host: Host, client: MigrationClient
) -> None:
    atlas = cmp.upsert("atlas", status="active")
    host.daemon()
    plan = client.plan(client.set_status(["atlas"], "archived"))
    cmp.conn.execute("delete from projects where id = %s", [atlas])

    done = client.apply(plan)

    assert (done["success"], done["applied"]) == (False, 0)
    assert "it is not in CMP any more" in str(done["error"])


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"uuid": "x", "set": {"status": "a"}}, "not a UUID"),
        ({"uuid": "{}", "set": {"id": "a"}}, "id is never changed"),
        ({"uuid": "{}", "set": {"colour": "a"}}, "has no column 'colour'"),
        ({"uuid": "{}", "set": {"name.first": "a"}}, "is not of type json"),
        ({"uuid": "{}", "unset": ["status"]}, "only a key of a json column"),
        ({"uuid": "{}"}, "it changes nothing"),
        ({"uuid": "{}", "sets": {"status": "a"}}, "unknown key 'sets'"),
        ({"uuid": "00000000-0000-4000-8000-000000000009", "set": {"status": "a"}}, "not in CMP"),
        ({"uuid": "{}", "set": {"created_at": "yesterdays"}}, "refused"),
        ({"uuid": "{}", "set": {"name": None}}, "refused"),
    ],
)
def test_a_change_that_cannot_be_is_refused_in_one_line(
    cmp: Cmp, client: MigrationClient, change: dict[str, Any], named: str
) -> None:
    atlas = cmp.upsert("atlas")
    uuid = atlas if change["uuid"] == "{}" else change["uuid"]

    plan = client.plan([change | {"uuid": uuid}])

    found = plan["error"] if not plan["success"] else plan["conflicts"][0]["kind"]
    assert named in str(found)
    assert "\n" not in str(found)


def test_a_lock_on_the_table_ends_a_plan_in_time_and_its_holder_is_named(
    cmp: Cmp, client: MigrationClient
) -> None:
    atlas = cmp.upsert("atlas")
    with cmp.connect() as holder, holder.transaction():
        holder.execute("lock table projects")
        plan = client.plan([{"uuid": atlas, "set": {"status": "archived"}}], timeout=0.5)

        pid = holder.info.backend_pid

    assert not plan["success"]
    assert f"another session holds a lock on public.projects (pid {pid}" in plan["detail"]
    assert "did not release it in 0.5 s" in plan["detail"]
    assert f"pg_terminate_backend({pid})" in plan["hint"]
