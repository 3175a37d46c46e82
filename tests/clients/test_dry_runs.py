"""A dry run of each client answers with the real effect, and changes nothing. Progress and `as_json`."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from uuid import UUID

import pytest

from omnicdc.clients import (
    ArchiveClient,
    AsyncGenesisClient,
    GenesisClient,
    MigrationClient,
    ValidationClient,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.cmp import Cmp
    from support.host import Host

URL = "https://github.com/acme/atlas"
ROWS = "select array_agg(p order by id)::text || array_agg(p.xmin order by id)::text from projects p"


@pytest.fixture
def client(host: Host) -> Iterator[MigrationClient]:
    with MigrationClient(config=host.config()) as one:
        yield one


def test_a_dry_apply_and_a_dry_undo_say_what_the_real_ones_do(
    cmp: Cmp, host: Host, client: MigrationClient, tmp_path: Path
) -> None:
    atlas, boreas = cmp.upsert("atlas", status="active"), cmp.upsert("boreas", status="active")
    host.daemon()
    plan = client.plan(client.set_status(["atlas", "boreas"], "archived"))
    cmp.upsert("boreas", id=boreas, status="archived")
    cmp.arrived()
    journal, rows, files = tmp_path / "journal", cmp.value(ROWS), host.stats()

    dry = client.apply(plan, dry_run=True, journal=journal)

    assert (dry["success"], dry["dry_run"], dry["verdict"]) == (True, True, None), dry
    assert {it["uuid"]: it["result"] for it in dry["items"]} == {atlas: "applied", boreas: "skipped"}
    assert dry["registries_updated"] == ["canonical_projects_uuids.json", "PROJECT_REGISTRY_V1.yaml"]
    assert (cmp.value(ROWS), host.stats(), journal.exists()) == (rows, files, False)

    real = client.apply(plan, journal=journal)
    rows = cmp.value(ROWS)
    undone_dry = client.undo(real, dry_run=True)
    finished = client.apply(plan, journal=journal, dry_run=True)
    not_applied = client.undo(dry)

    assert [it["result"] for it in real["items"]] == [it["result"] for it in dry["items"]]
    assert (undone_dry["success"], undone_dry["applied"], undone_dry["total"]) == (True, 1, 1)
    assert cmp.value(ROWS) == rows
    assert "this plan was applied" in str(finished["error"])
    assert "report of a dry run" in str(not_applied["error"])
    assert client.undo(real)["applied"] == 1


@pytest.mark.parametrize(("batch_size", "applied"), [(None, 0), (1, 1)])
def test_a_dry_apply_names_every_row_that_changed_since_the_plan(
    cmp: Cmp, client: MigrationClient, batch_size: int | None, applied: int
) -> None:
    """Of several transactions, those before the first such row would be written."""
    ids = sorted(cmp.upsert(name, status="active") for name in ("atlas", "boreas", "castor"))
    plan = client.plan([{"uuid": one, "set": {"status": "archived"}} for one in ids])
    cmp.conn.execute("update projects set status = 'snapshot' where id = %s", [ids[1]])
    cmp.conn.execute("delete from projects where id = %s", [ids[2]])

    dry = client.apply(plan, dry_run=True, batch_size=batch_size)

    assert (dry["success"], dry["applied"]) == (False, applied)
    assert [(it["uuid"], it["fields"]) for it in dry["errors"]] == [(ids[1], ["status"]), (ids[2], ["id"])]
    assert cmp.value("select count(*) from projects where status = 'archived'") == 0


def test_a_dry_apply_names_what_postgresql_refuses(cmp: Cmp, client: MigrationClient) -> None:
    cmp.upsert("atlas", status="active")
    plan = client.plan(client.set_status(["atlas"], "archived"))
    cmp.conn.execute("alter table projects add constraint known check (status <> 'archived')")

    dry, real = client.apply(plan, dry_run=True), client.apply(plan)

    assert (dry["success"], dry["applied"], real["success"]) == (False, 0, False)
    assert "known" in str(dry["error"])
    assert "known" in str(real["error"])


def test_a_dry_archive_is_refused_where_the_real_one_is(cmp: Cmp, host: Host) -> None:
    cmp.upsert("atlas", status="active", github_url=URL)
    cmp.conn.execute("alter table projects add constraint known check (status <> 'archived')")

    with ArchiveClient(config=host.config()) as client:
        dry, real = client.archive("atlas", dry_run=True), client.archive("atlas")

    assert dry["error"] == real["error"]
    assert (dry["success"], dry["report"]) == (False, None)


@pytest.mark.parametrize("dry_run", [True, False])
def test_nothing_is_retired_if_the_exclusion_cannot_be_written(cmp: Cmp, host: Host, dry_run: bool) -> None:
    """Regression: the project was archived first, and then the file was found not to parse."""
    cmp.upsert("atlas", status="active", github_url=URL)
    file = host.root / "governance/registry/projects/EXCLUSION_LIST_V1.yaml"
    file.parent.mkdir(parents=True)
    file.write_text("exclusions: [")

    with ArchiveClient(config=host.config()) as client:
        found = client.retire("atlas", write_exclusion=True, dry_run=dry_run)

    assert not found["success"]
    assert "EXCLUSION_LIST_V1.yaml" in str(found["error"])
    assert cmp.value("select status from projects") == "active"
    assert file.read_text() == "exclusions: ["


def test_a_dry_repair_of_a_url_says_what_it_would_change(cmp: Cmp, host: Host) -> None:
    """Regression: a repair that would be refused was a success."""
    cmp.upsert("atlas", github_url=f" {URL}")
    rows = cmp.value(ROWS)

    with ValidationClient(config=host.config()) as client:
        [finding] = client.check(["bad_url"])["findings"]
        dry = client.repair(finding, dry_run=True)
        cmp.conn.execute("delete from projects")
        gone = client.repair(finding, dry_run=True)

    assert rows is not None
    assert (dry["success"], dry["dry_run"]) == (True, True)
    assert "canonical_projects_uuids.json" in dry["registries_updated"]
    assert not gone["success"]


def test_progress_is_a_line_for_each_step_of_a_call(cmp: Cmp, host: Host) -> None:
    atlas = cmp.upsert("atlas", status="active")
    host.daemon()
    lines: list[str] = []

    with MigrationClient(config=host.config(), progress=lines.append) as client:
        plan = client.plan(client.set_status(["atlas"], "archived"))
        planned = [*lines]
        client.apply(plan)
    with GenesisClient(config=host.config(), progress=lines.append) as genesis:
        genesis.propagate_project("atlas")
        genesis.verify_propagation(atlas)

    assert "project" in planned
    assert lines[len(planned)] == "transaction 1: 1 projects"
    assert lines[len(planned) + 1].startswith("waiting for transaction ")
    assert lines[-3:] == [
        "verifying 1 projects",
        "waiting for everything committed so far",
        f"verifying {atlas}",
    ]


def test_as_json_is_what_the_command_prints(cmp: Cmp, host: Host) -> None:
    atlas = cmp.upsert("atlås", status="active")
    host.once()

    with MigrationClient(config=host.config()) as client:
        plan = client.plan([{"uuid": atlas, "set": {"status": "archived"}}])
    printed = host.run("migrate", "plan", "--where", "true", "--set", "status=archived").stdout

    assert MigrationClient.as_json(plan) + "\n" == printed
    for kind in (GenesisClient, AsyncGenesisClient):
        text = kind.as_json({"id": UUID(int=1), "at": datetime(2026, 11, 27, tzinfo=UTC)})
        assert json.loads(text) == {"id": str(UUID(int=1)), "at": "2026-11-27T00:00:00+00:00"}
