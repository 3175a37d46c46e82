"""ArchiveClient: archive, restore, list, retire."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from psycopg.types.json import Jsonb
from support.host import until

from omnicdc.clients.archive import ArchiveClient

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.cmp import Cmp
    from support.host import Host

URL = "https://github.com/acme/atlas"


@pytest.fixture
def client(host: Host) -> Iterator[ArchiveClient]:
    with ArchiveClient(config=host.config()) as one:
        yield one


def row(cmp: Cmp) -> object:
    return cmp.conn.execute("select status, metadata_, name, key, type from projects").fetchone()


@pytest.mark.parametrize("metadata", [None, {}, {"github_url": URL, "archive": 1}])
def test_restore_is_exact(cmp: Cmp, host: Host, client: ArchiveClient, metadata: object) -> None:
    atlas = cmp.upsert("atlas", status="snapshot")
    cmp.conn.execute("update projects set metadata_ = %s", [None if metadata is None else Jsonb(metadata)])
    host.daemon()
    before = row(cmp)

    archived = client.archive("atlas", reason="moved to labs")
    status = host.canonical()[atlas]["status"]
    [listed] = client.list()
    again = client.archive("atlas")
    restored = client.restore(atlas)

    assert archived["success"], archived
    assert status == "archived"
    assert (listed["uuid"], listed["status_before"], listed["reason"]) == (atlas, "snapshot", "moved to labs")
    assert (again["success"], again["error"]) == (
        False,
        f"atlas ({atlas}) is archived already - restore it first",
    )
    assert restored["success"], restored
    assert row(cmp) == before
    assert client.list() == []


def test_a_dry_run_shows_the_effect_and_changes_nothing(cmp: Cmp, client: ArchiveClient) -> None:
    cmp.upsert("atlas", status="active")
    before = row(cmp)

    found = client.archive("atlas", dry_run=True)

    assert found["plan"] is not None
    assert found["plan"]["items"][0]["after"]["status"] == "archived"
    assert found["report"] is None
    assert row(cmp) == before


def test_retire_tells_the_line_and_writes_it_only_on_request(
    cmp: Cmp, host: Host, client: ArchiveClient
) -> None:
    file = exclusions(
        host, "# ours\nexclusions:\n  # noisy\n  - repo: boreas   # since May\n    reason: old\n"
    )
    atlas = cmp.upsert("atlas", status="active", github_url=URL)
    host.daemon()
    text = file.read_text()

    told = client.retire("atlas")
    unchanged = file.read_text() == text
    client.restore("atlas")
    written = client.retire("atlas", write_exclusion=True)
    until(lambda: atlas not in host.projects(), "the project has left the project registry")

    assert told["exclusion"] == {
        "file": str(file), "line": "- repo: acme/atlas", "there": False, "written": False,
    }  # fmt: skip
    assert unchanged
    assert written["exclusion"] is not None
    assert written["exclusion"]["written"]
    assert file.read_text() == text + "  - repo: acme/atlas\n"


def test_a_project_that_cannot_be_excluded_or_has_a_clone_is_told(
    cmp: Cmp, host: Host, client: ArchiveClient
) -> None:
    cmp.upsert("atlas", github_url=URL)
    cmp.upsert("nowhere")
    path = host.root / "Projects/atlas"
    (path / ".git").mkdir(parents=True)
    (path / ".git/config").write_text(f'[remote "origin"]\n\turl = {URL}\n')

    cloned, nowhere = client.retire("atlas", dry_run=True), client.retire("nowhere", dry_run=True)

    assert cloned["notices"] == [f"atlas: its clone is still at {path}"]
    assert nowhere["exclusion"] is None
    assert "cannot be excluded" in nowhere["notices"][0]


def test_a_project_that_was_not_archived_here_is_not_restored(cmp: Cmp, client: ArchiveClient) -> None:
    cmp.upsert("atlas", status="archived")

    found = client.restore("atlas")

    assert not found["success"]
    assert "was not archived by omnicdc" in str(found["error"])
    assert [(it["name"], it["status_before"]) for it in client.list()] == [("atlas", None)]


def exclusions(host: Host, text: str) -> Path:
    path = host.root / "governance/registry/projects/EXCLUSION_LIST_V1.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path
