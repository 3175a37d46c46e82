"""What each client needs granted: docs/client-roles.md. A missing right is an answer that names the GRANT."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from omnicdc.clients import ArchiveClient, GenesisClient, MigrationClient, ValidationClient
from omnicdc.errors import SchemaMismatch

if TYPE_CHECKING:
    from collections.abc import Callable

    from support.cmp import Cmp
    from support.host import Host
    from support.sessions import People

    from omnicdc.config.settings import Config

PAGE = Path(__file__).parents[2] / "docs/client-roles.md"

DECLARED = """
registries:
  - name: descriptions
    path: governance/descriptions.json
    query: select id, name, description from projects
    format: json
"""


def granted(cmp: Cmp, people: People, role: str) -> str:
    """Create a role, and run the page's grants for `role`; return its name."""
    statements = re.findall(r"^grant .*;$", PAGE.read_text("utf-8"), re.MULTILINE)
    name = people.add()
    mine = [it for it in statements if it.endswith(f" to {role};")]
    assert mine
    for statement in mine:
        cmp.conn.execute(statement.replace(f" to {role};", f" to {name}").encode())
    return name


@pytest.fixture
def apollo(cmp: Cmp, host: Host) -> str:
    project = cmp.upsert("apollo", type="tool", github_url=" https://github.com/acme/apollo")
    host.daemon()
    cmp.arrived()
    return project


def config_of(host: Host, people: People, role: str) -> Config:
    return host.config(OMNICDC_DSN=people.dsn(role))


def stored(cmp: Cmp) -> list[tuple[Any, ...]]:
    return cmp.conn.execute("select * from projects order by id").fetchall()


def change(project: str) -> list[dict[str, Any]]:
    return [{"uuid": project, "set": {"status": "snapshot"}}]


READING: dict[str, Callable[[Config, str], object]] = {
    "wait": lambda config, _: GenesisClient(config=config).wait()["success"],
    "propagate": lambda config, _: GenesisClient(config=config).propagate_project("apollo")["success"],
    "verify": lambda config, it: GenesisClient(config=config).verify_propagation(it)["verified"],
    "rebuild": lambda config, _: GenesisClient(config=config).rebuild_all_registries()["success"],
    "explain": lambda config, _: len(GenesisClient(config=config).explain("apollo")["changes"]) == 1,
    "check": lambda config, _: "bad_url" in ValidationClient(config=config).check()["counts"],
    "make changes": lambda config, it: MigrationClient(config=config).set_status([it], "snapshot"),
    "list": lambda config, _: ArchiveClient(config=config).list() == [],
}
"""What needs omnicdc_client alone; each is true if it worked."""

WRITING: dict[str, Callable[[Config, str, Any], Any]] = {
    "plan": lambda config, it, _: MigrationClient(config=config).plan(change(it)),
    "apply": lambda config, _, plan: MigrationClient(config=config).apply(plan),
    "archive": lambda config, _, __: ArchiveClient(config=config).archive("apollo"),
    "archive, dry run": lambda config, _, __: ArchiveClient(config=config).archive("apollo", dry_run=True),
    "retire": lambda config, _, __: ArchiveClient(config=config).retire("apollo"),
}
"""What needs UPDATE as well."""


def test_a_client_that_reads_needs_omnicdc_client_alone(
    cmp: Cmp, host: Host, people: People, apollo: str
) -> None:
    config = config_of(host, people, granted(cmp, people, "genesis"))

    failed = [name for name, call in READING.items() if not call(config, apollo)]

    assert failed == []


def test_omnicdc_client_may_not_change_cmp_and_the_answer_is_the_grant(
    cmp: Cmp, host: Host, people: People, apollo: str
) -> None:
    role = granted(cmp, people, "genesis")
    config = config_of(host, people, role)
    plan = MigrationClient(config=host.config()).plan(change(apollo))
    before = stored(cmp)

    answers = {name: call(config, apollo, plan) for name, call in WRITING.items()}

    for name, answer in answers.items():
        assert not answer["success"], name
        assert answer["hint"] == f"grant select, update on public.projects to {role}", name
        assert "permission denied" in answer["error"], name
        assert "\n" not in answer["error"], name
    assert answers["apply"]["applied"] == 0
    assert stored(cmp) == before


def test_a_role_with_the_grants_of_the_page_changes_cmp(
    cmp: Cmp, host: Host, people: People, apollo: str
) -> None:
    config = config_of(host, people, granted(cmp, people, "migrator"))
    with (
        MigrationClient(config=config) as migration,
        ArchiveClient(config=config) as archive,
        ValidationClient(config=config) as validation,
    ):
        report = migration.apply(migration.plan(change(apollo)))
        undone = migration.undo(report)
        archived = archive.archive("apollo")
        restored = archive.restore("apollo")
        [bad_url] = validation.check(["bad_url"])["findings"]
        repaired = validation.repair(bad_url)

    for answer in (report, undone, archived, restored, repaired):
        assert answer["success"], answer
    assert (report["applied"], undone["applied"]) == (1, 1)
    assert cmp.value("select metadata_ ->> 'github_url' from projects") == "https://github.com/acme/apollo"


def test_a_role_without_any_grant_is_told_which_one(host: Host, people: People, apollo: str) -> None:
    role = people.add()
    config = config_of(host, people, role)
    genesis, migration = GenesisClient(config=config), MigrationClient(config=config)
    answers: list[Any] = [
        genesis.wait(),
        genesis.verify_propagation(apollo),
        genesis.rebuild_all_registries(),
        ValidationClient(config=config).check(),
        migration.plan(change(apollo)),
    ]

    for answer in answers:
        assert answer["error"]
        assert answer["hint"].startswith(f"`grant omnicdc_client to {role}` (omnicdc_daemon for ")
    with pytest.raises(SchemaMismatch) as refused:
        migration.set_status([apollo], "snapshot")
    assert role in refused.value.hint


def test_a_declared_registry_is_verified_after_grant_clients(
    cmp: Cmp, host: Host, people: People, tmp_path: Path
) -> None:
    file = tmp_path / "omnicdc.yaml"
    file.write_text(DECLARED)
    host.env["OMNICDC_CONFIG"] = str(file)
    assert host.run("install").returncode == 0
    apollo = cmp.upsert("apollo", type="tool")
    assert host.once()
    config = config_of(host, people, granted(cmp, people, "genesis"))

    refused = GenesisClient(config=config).verify_propagation(apollo)
    checked = ValidationClient(config=config).check(["registry_differs"])
    assert host.run("install", "--grant-clients").returncode == 0
    verified = GenesisClient(config=config).verify_propagation(apollo)

    assert not refused["verified"]
    assert "omnicdc install --grant-clients" in str(refused)
    assert not checked["success"]
    assert "omnicdc install --grant-clients" in str(checked)
    assert verified["verified"], verified
