"""MigrationClient: plan, apply, undo."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from omnicdc.clients.migration import MigrationClient

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.cmp import Cmp
    from support.host import Host


@pytest.fixture
def client(cmp: Cmp, host: Host) -> Iterator[MigrationClient]:
    with MigrationClient(cmp.dsn, root=host.root) as one:
        yield one


def test_a_plan_shows_the_effect_and_apply_has_it(cmp: Cmp, host: Host, client: MigrationClient) -> None:
    atlas = cmp.upsert("atlas", github_url="https://github.com/acme/atlas", status="active")
    cmp.upsert("boreas")
    host.daemon()

    plan = client.plan([{"uuid": atlas, "set": {"status": "archived", "metadata_.domain": "labs"}}])

    assert plan["success"], plan
    [item] = plan["items"]
    assert item["before"] == {"status": "active"}
    assert item["after"] == {"status": "archived", "metadata_.domain": "labs"}
    assert item["registries"] == ["canonical_projects_uuids.json", "PROJECT_REGISTRY_V1.yaml"]
    assert host.canonical()[atlas]["status"] == "active"

    report = client.apply(plan)

    assert report["success"], report
    assert (report["total"], report["applied"], report["verified"]) == (1, 1, 1)
    assert host.canonical()[atlas]["status"] == "archived"
    assert host.canonical()[atlas]["domain"] == "labs"

    back = client.undo(report)

    assert back["success"], back
    assert host.canonical()[atlas]["status"] == "active"
    assert "domain" not in (cmp.value("select metadata_ from projects where name = 'atlas'") or {})
