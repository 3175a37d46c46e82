"""What a user sees on a terminal: the answer in words, a coloured verdict, and the remedy of each fault."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from support.host import CANONICAL, COMMAND, INVENTORY, PROJECT
from support.session import publish
from support.terminal import GREEN, RED, on_a_terminal

if TYPE_CHECKING:
    from support.cmp import Cmp
    from support.host import Host
    from support.terminal import Shown

ATLAS = "https://github.com/acme/atlas"


def shown(host: Host, *arguments: str, typed: str = "", **env: str) -> Shown:
    return on_a_terminal([COMMAND, *arguments], host.env | env, typed=typed)


def test_run_once_names_the_files_and_a_repeat_writes_nothing(cmp: Cmp, host: Host) -> None:
    """P7. The command shows its progress while it runs."""
    cmp.upsert("atlas", github_url=ATLAS)

    first, second = (shown(host, "run", "--once") for _ in range(2))

    assert first.status == second.status == 0
    assert first.line("generation 1: ").split(": ")[1].split(", ") == [
        name.rpartition("/")[2] for name in (CANONICAL, PROJECT, INVENTORY)
    ]
    assert GREEN in first.raw
    assert "publishing" in first.text
    assert second.line("generation 1: ") == "generation 1: nothing to write"


def test_run_once_shows_in_red_what_the_guard_holds(cmp: Cmp, host: Host) -> None:
    """P6. The JSON answer has the same reasons."""
    cmp.fill(20)
    publish(host)
    cmp.conn.execute("truncate projects")

    held = shown(host, "run", "--once")
    as_json = host.run("run", "--once")

    assert held.status == as_json.returncode == 1
    assert held.text.count(": it would lose 20 of its 20 entries at once - look at CMP") == 3
    assert RED in held.raw
    assert {fault["reason"] for fault in json.loads(as_json.stdout)["held"].values()} == {
        "it would lose 20 of its 20 entries at once"
    }


def test_verify_shows_the_value_of_cmp_and_of_the_file(cmp: Cmp, host: Host) -> None:
    atlas = cmp.upsert("atlas", github_url=ATLAS)
    publish(host)
    good = shown(host, "verify", atlas)
    path = host.root / CANONICAL
    path.write_text(path.read_text().replace('"status": "active"', '"status": "frozen"'))
    (host.root / PROJECT).unlink()

    bad = shown(host, "verify", atlas)
    plain = shown(host, "verify", atlas, NO_COLOR="1")

    assert (good.status, good.line("atlas")) == (0, "atlas: verified")
    assert GREEN in good.raw
    assert RED not in good.raw
    assert (bad.status, bad.line("atlas")) == (1, "atlas: not verified")
    assert bad.line("    status: CMP") == "    status: CMP has 'active', the file 'frozen'"
    assert bad.line("  PROJECT_REGISTRY_V1.yaml") == "  PROJECT_REGISTRY_V1.yaml: missing"
    assert "the file does not exist - `omnicdc wait`" in bad.text
    assert RED in bad.raw
    assert plain.raw.replace("\r", "") == bad.text  # regression: the sequences that end a colour remained


def test_verify_names_the_fields_that_it_could_not_compare(cmp: Cmp, host: Host) -> None:
    """Clones, overrides and GitHub are unknown to a user who cannot read the state directory."""
    atlas = cmp.upsert("atlas", github_url=ATLAS)
    publish(host)

    seen = shown(host, "verify", atlas, OMNICDC_STATE_DIR=str(host.root / "elsewhere"))

    assert seen.status == 0
    assert "cannot be read, or none are saved yet: local_paths" in seen.text


def test_verify_all_counts_what_differs(cmp: Cmp, host: Host) -> None:
    cmp.fill(3)
    publish(host)
    good = shown(host, "verify", "--all")
    atlas = cmp.upsert("atlas", github_url=ATLAS)
    cmp.conn.execute("delete from projects where name = 'project-1'")

    bad = shown(host, "verify", "--all")
    report = host.ask("verify", "--all")["registries"]["cmp_projects"]

    assert (good.status, good.line("PROJECT_REGISTRY_V1.yaml")) == (0, "PROJECT_REGISTRY_V1.yaml: current")
    assert bad.status == 1
    assert bad.line("canonical_projects_uuids.json: ").startswith(
        "canonical_projects_uuids.json: 1 missing, 1 unexpected - `omnicdc wait`"
    )
    assert f"  missing: {atlas} atlas\n" in bad.text
    assert report["missing"] == {"count": 1, "units": [atlas], "names": {atlas: "atlas"}}
    assert list(report["unexpected"]["names"].values()) == ["project-1"]
    assert report["stale"]["names"] == {}


def test_verify_all_names_the_first_twenty_of_many(cmp: Cmp, host: Host) -> None:
    """What is stale is shown with both values."""
    atlas = cmp.upsert("atlas", status="active")
    publish(host)
    cmp.fill(25)
    cmp.conn.execute("update projects set status = 'frozen' where id = %s", [atlas])

    bad = shown(host, "verify", "--all")

    assert bad.text.count("  missing: ") == 3 * 20  # in three registries
    assert bad.text.count("  and 5 more missing\n") == 3
    assert f"  stale: {atlas} atlas: status: CMP has 'frozen', the file 'active'\n" in bad.text


def test_a_dry_run_shows_the_lines_that_would_change(cmp: Cmp, host: Host) -> None:
    """P7."""
    cmp.upsert("atlas", github_url=ATLAS)
    publish(host)
    same = shown(host, "rebuild", "--dry-run")
    cmp.conn.execute("update projects set status = 'frozen'")
    before = host.stats()

    differs = shown(host, "rebuild", "--dry-run")

    assert (same.status, same.text.split("\n")[-2]) == (0, "nothing would change")
    assert differs.status == 1
    assert f"{RED}-  status: active" in differs.raw
    assert f"{GREEN}+  status: frozen" in differs.raw
    assert host.rewritten(before) == set()


def test_a_dry_run_reports_what_it_cannot_compare(cmp: Cmp, host: Host) -> None:
    """P6: if CMP cannot be read for a registry, the dry run reports that, and no difference."""
    publish(host)
    cmp.conn.execute("alter table projects drop column status")

    seen = shown(host, "rebuild", "--dry-run")

    assert "CMP cannot be read for project: " in seen.line("PROJECT_REGISTRY_V1.yaml: ")
    assert "put the column or table back" in seen.text


def test_wait_rebuild_and_accept_show_their_verdict(cmp: Cmp, host: Host) -> None:
    cmp.upsert("atlas", github_url=ATLAS)
    no_daemon = shown(host, "wait", "--timeout", "0")
    host.daemon()

    waited, rebuilt, accepted = (shown(host, command) for command in ("wait", "rebuild", "accept"))
    with cmp.transaction() as (conn, token):
        conn.execute("update projects set status = 'frozen'")
    of_token = host.ask("wait", "--token", token)

    assert (no_daemon.status, "no_consumer: no omnicdc daemon is alive" in no_daemon.text) == (3, True)
    assert RED in no_daemon.raw
    assert (waited.status, "published: the registries hold it" in waited.text) == (0, True)
    assert GREEN in waited.raw
    assert waited.line("consumer  ").split() == [
        "consumer", "generation", "after", "published", "files", "rewritten",
    ]  # fmt: skip
    [(consumer, arrival)] = of_token["hosts"].items()
    assert (consumer, arrival["generation"]) == ("host", of_token["generation"])
    assert arrival["milliseconds"] == of_token["milliseconds"] > 0
    assert arrival["registries"] == ["canonical_projects_uuids.json", "PROJECT_REGISTRY_V1.yaml"]
    assert arrival["published_at"]
    assert (rebuilt.status, "published: the registries hold it" in rebuilt.text) == (0, True)
    assert (accepted.status, accepted.line("accepted")) == (
        0,
        "accepted; rewritten: nothing, for nothing was held",
    )


def test_uninstall_asks_and_does_nothing_after_no(cmp: Cmp, host: Host) -> None:
    no = shown(host, "uninstall", typed="n\n")
    installed = cmp.value("select to_regnamespace('omnicdc') is not null")

    yes = shown(host, "uninstall", typed="y\n")

    assert (no.status, installed) == (1, True)
    assert "Remove the capture and its log from omnicdc_" in no.text
    assert (yes.status, yes.text.endswith("uninstalled\n")) == (0, True)
    assert cmp.value("select to_regnamespace('omnicdc') is null")


def test_install_names_what_it_watches(bare: Cmp, host: Host) -> None:
    seen = shown(host, "install", OMNICDC_DSN=bare.dsn)

    assert seen.status == 0
    assert seen.line("installed on public.projects; watched: ").endswith("name, status, type")


def test_an_error_is_folded_on_a_terminal_and_its_command_stays_whole(host: Host) -> None:
    failed = shown(host, "status", COLUMNS="80", OMNICDC_DSN="host=/nowhere port=5999 dbname=cms_db")
    wrong = shown(host, "status", "--bogus", COLUMNS="80")
    incomplete = shown(host, "consumer")

    lines = failed.text.splitlines()
    assert failed.status == wrong.status == incomplete.status == 2
    assert len(lines) > 1
    assert max(map(len, lines)) <= 80
    assert lines[0].startswith("omnicdc: host=/nowhere port=5999 dbname=cms_db")
    assert all(line.startswith("  ") for line in lines[1:])
    assert wrong.text == "omnicdc: No such option '--bogus' - see `omnicdc status --help`\n"
    assert incomplete.text.startswith("Usage: omnicdc consumer [OPTIONS] COMMAND")
