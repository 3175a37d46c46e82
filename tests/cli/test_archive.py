"""`omnicdc archive` on a pipe and on a terminal."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from support.host import COMMAND
from support.terminal import GREEN, on_a_terminal

if TYPE_CHECKING:
    from support.cmp import Cmp
    from support.host import Host

STATUS = "select status from projects where name = 'atlas'"


def test_a_project_is_archived_listed_and_restored(cmp: Cmp, host: Host) -> None:
    cmp.upsert("atlas", status="snapshot")
    host.daemon()

    dry = host.run("archive", "add", "atlas", "--dry-run")
    unchanged = cmp.value(STATUS)
    done = host.run("archive", "add", "atlas", "--reason", "moved", "--yes")
    listed = host.ask("archive", "list")["projects"]
    repeated = host.run("archive", "add", "atlas", "--yes")
    restored = host.run("archive", "restore", "atlas", "--yes")

    assert (dry.returncode, json.loads(dry.stdout)["dry_run"], unchanged) == (0, True, "snapshot")
    assert (done.returncode, done.stderr, json.loads(done.stdout)["success"]) == (0, "", True)
    assert [(it["name"], it["status_before"], it["reason"]) for it in listed] == [
        ("atlas", "snapshot", "moved")
    ]
    assert (repeated.returncode, repeated.stdout) == (2, "")
    assert "is archived already - restore it first" in repeated.stderr
    assert (restored.returncode, cmp.value(STATUS)) == (0, "snapshot")


def test_without_a_daemon_the_exit_status_says_not_yet(cmp: Cmp, host: Host) -> None:
    cmp.upsert("atlas")

    done = host.run("archive", "add", "atlas", "--yes", "--timeout", "0")

    assert done.returncode == 3
    assert json.loads(done.stdout)["report"]["applied"] == 1


def test_without_a_terminal_it_needs_a_yes_and_on_one_it_asks(cmp: Cmp, host: Host) -> None:
    cmp.upsert("atlas")
    host.daemon()

    piped = host.run("archive", "add", "atlas")
    declined = on_a_terminal([COMMAND, "archive", "add", "atlas"], host.env, typed="n\n", columns=80)
    left = cmp.value(STATUS)
    agreed = on_a_terminal([COMMAND, "archive", "add", "atlas"], host.env, typed="y\n", columns=80)

    assert (piped.returncode, left) == (2, "active")
    assert piped.stderr.endswith("add --yes\n")
    assert declined.status == 1
    assert agreed.status == 0
    assert "is now archived; before: active" in agreed.text
    assert GREEN in agreed.raw
    assert cmp.value(STATUS) == "archived"


def test_retire_shows_the_line_and_a_dry_run_does_not_write_it(cmp: Cmp, host: Host) -> None:
    cmp.upsert("atlas", github_url="https://github.com/acme/atlas")
    words = [COMMAND, "archive", "retire", "atlas", "--write-exclusion", "--dry-run"]

    shown = on_a_terminal(words, host.env | {"NO_COLOR": "1"}, columns=80)

    assert shown.status == 0
    assert "would become archived" in shown.text
    assert "- repo: acme/atlas: not yet in\n  /" in shown.text  # folded; the path is whole
    assert GREEN not in shown.raw
    assert not (host.root / "governance/registry/projects/EXCLUSION_LIST_V1.yaml").exists()


def test_an_unknown_project_is_one_line_and_exit_2(cmp: Cmp, host: Host) -> None:
    cmp.upsert("atlas")

    done = host.run("archive", "restore", "boreas", "--yes")

    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert "no project in CMP is named 'boreas'" in done.stderr


def test_an_ambiguous_name_is_one_line_with_one_remedy(cmp: Cmp, host: Host) -> None:
    """Regression: the remedy was printed twice."""
    cmp.upsert("atlas")
    cmp.upsert("atlas")

    done = host.run("archive", "add", "atlas", "--yes")

    assert (done.returncode, done.stderr.count("\n"), done.stderr.count("give the UUID")) == (2, 1, 1)


def test_a_uuid_is_whole_on_a_narrow_terminal(cmp: Cmp, host: Host) -> None:
    """Regression: it was cut, and could not be copied."""
    atlas = cmp.upsert("atlas", status="archived")

    shown = on_a_terminal([COMMAND, "archive", "list"], host.env, columns=80)

    assert "…" not in shown.text
    assert atlas[:8] in shown.text
