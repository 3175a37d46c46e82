"""After a switch: which files are Omni's, and which were overwritten since then."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import pytest
from support.host import PROJECT, until
from support.trial import begin_trial

from omnicdc.answers.cutover import rulings

if TYPE_CHECKING:
    from support.cmp import Cmp
    from support.host import Host

# One process runs these tests: a switch looks for old scanners on the whole machine, and some tests play one.
pytestmark = pytest.mark.xdist_group("old scanners")


def switched(host: Host) -> dict[str, Any]:
    done = host.run("cutover", "switch", "--yes")
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def edited(host: Host) -> list[str]:
    found = host.ask("cutover", "writers", "--pattern", "no such scanner")["edited"]
    return [it["registry"] for it in found]


def backups(host: Host) -> int:
    return len([*(host.state / "drift").glob("PROJECT_REGISTRY_V1.yaml.*")])


@pytest.fixture
def kept(cmp: Cmp, host: Host) -> str:
    """The directory of Omni's files, after a switch."""
    begin_trial(cmp, host)
    return str(switched(host)["kept"])


def test_after_the_switch_omni_s_kept_files_are_compared(cmp: Cmp, host: Host, kept: str) -> None:
    found = host.ask("cutover", "compare")
    text = host.run("cutover", "compare", "-o", "text").stdout
    lines = " ".join(text.split())
    cmp.set(next(iter(host.canonical())), status="archived")
    cmp.arrived()
    later = host.ask("cutover", "compare")["registries"]
    host.run("cutover", "back-out", "--yes", "--keep-files")
    again = host.run("cutover", "switch", "--yes")

    assert found["omnis"] == kept
    assert found["registries"]["PROJECT_REGISTRY_V1.yaml"]["path"].startswith(kept)
    assert found["registries"]["PROJECT_REGISTRY_V1.yaml"]["explained"] == {rulings.DOMAIN: 2}
    assert f"below {host.root} are omnicdc's own files; Omni's are those kept in {kept} " in lines
    assert re.search(r"Omni wrote it at \d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ ", lines)
    assert text.splitlines()[-1] == "each difference has a known reason"
    assert later["canonical_projects_uuids.json"]["explained"] == {rulings.LATER: 1}
    assert list(later["PROJECT_REGISTRY_V1.yaml"]["explained"]) == [rulings.DOMAIN, rulings.LATER]
    assert rulings.LATER not in later["repo_inventory.json"]["explained"]
    assert again.returncode == 0, again.stderr


def test_without_files_of_omni_s_there_is_nothing_to_compare(cmp: Cmp, host: Host) -> None:
    cmp.upsert("garden")
    host.once()
    refused = host.run("cutover", "compare")

    assert refused.returncode == 2
    assert (
        f"the files below {host.root} are omnicdc's own, and no files of a cutover are kept" in refused.stderr
    )
    assert "`omnicdc verify --all` compares them with CMP" in refused.stderr


def test_each_overwrite_since_the_last_switch_is_listed_and_no_other(host: Host, kept: str) -> None:
    """An old scanner writes the same as before the switch, which is an overwrite as well."""
    at_once = edited(host)
    by_omni = (host.state / "cutover" / kept / PROJECT).read_bytes()
    for content in (by_omni + b"\n", by_omni):
        before = backups(host)
        (host.root / PROJECT).write_bytes(content)
        until(lambda before=before: backups(host) > before, "the daemon backs up the file")  # type: ignore[misc]
    overwritten = edited(host)
    assert host.run("cutover", "back-out", "--yes").returncode == 0
    backed_out = edited(host)
    switched(host)

    assert at_once == []
    assert overwritten == ["PROJECT_REGISTRY_V1.yaml"] * 2
    assert backed_out == []
    assert edited(host) == []
