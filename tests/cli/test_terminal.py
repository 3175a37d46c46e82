"""What a person sees on a terminal.

The answer in words, its verdict in colour, and what each fault asks for.
"""

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


def test_running_once_tells_what_was_written_and_that_a_repeat_writes_nothing(cmp: Cmp, host: Host) -> None:
    """P7. While it lasts it shows how far it is."""
    cmp.upsert("atlas", github_url=ATLAS)

    first, second = (shown(host, "run", "--once") for _ in range(2))

    assert first.status == second.status == 0
    assert first.line("generation 1: ").split(": ")[1].split(", ") == [
        name.rpartition("/")[2] for name in (CANONICAL, PROJECT, INVENTORY)
    ]
    assert GREEN in first.raw
    assert "publishing" in first.text
    assert second.line("generation 1: ") == "generation 1: nothing to write"


def test_running_once_says_in_red_what_the_guard_holds_and_what_lets_it_through(cmp: Cmp, host: Host) -> None:
    """P6. As JSON it says the same."""
    cmp.fill(20)
    publish(host)
    cmp.conn.execute("truncate projects")

    held = shown(host, "run", "--once")
    told = host.run("run", "--once")

    assert held.status == told.returncode == 1
    assert held.text.count(": it would lose 20 of its 20 entries at once - look at CMP") == 3
    assert RED in held.raw
    assert {fault["reason"] for fault in json.loads(told.stdout)["held"].values()} == {
        "it would lose 20 of its 20 entries at once"
    }


def test_verify_shows_what_cmp_has_and_what_the_file(cmp: Cmp, host: Host) -> None:
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
    assert plain.raw.replace("\r", "") == bad.text  # it held what ends a colour


def test_verify_says_what_it_could_not_compare(cmp: Cmp, host: Host) -> None:
    """Who cannot read the state directory does not know clones, overrides and GitHub."""
    atlas = cmp.upsert("atlas", github_url=ATLAS)
    publish(host)

    seen = shown(host, "verify", atlas, OMNICDC_STATE_DIR=str(host.root / "elsewhere"))

    assert seen.status == 0
    assert "not compared, as the state directory cannot be read: local_paths" in seen.text


def test_verify_all_counts_what_differs(cmp: Cmp, host: Host) -> None:
    cmp.fill(3)
    publish(host)
    good = shown(host, "verify", "--all")
    cmp.upsert("atlas", github_url=ATLAS)
    cmp.conn.execute("delete from projects where name = 'project-1'")

    bad = shown(host, "verify", "--all")

    assert (good.status, good.line("PROJECT_REGISTRY_V1.yaml")) == (0, "PROJECT_REGISTRY_V1.yaml: current")
    assert bad.status == 1
    assert bad.line("canonical_projects_uuids.json: ").startswith(
        "canonical_projects_uuids.json: 1 missing, 1 unexpected - `omnicdc wait`"
    )


def test_a_dry_run_shows_the_lines_that_would_change_and_changes_none(cmp: Cmp, host: Host) -> None:
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


def test_a_dry_run_says_what_it_cannot_tell(cmp: Cmp, host: Host) -> None:
    """P6: of a registry for which CMP cannot be read no difference is made up."""
    publish(host)
    cmp.conn.execute("alter table projects drop column status")

    seen = shown(host, "rebuild", "--dry-run")

    assert "CMP cannot be read for project: " in seen.line("PROJECT_REGISTRY_V1.yaml: ")
    assert "put the column or table back" in seen.text


def test_waiting_rebuilding_and_accepting_end_in_their_verdict(cmp: Cmp, host: Host) -> None:
    cmp.upsert("atlas", github_url=ATLAS)
    nobody = shown(host, "wait", "--timeout", "0")
    host.daemon()

    waited, rebuilt, accepted = (shown(host, command) for command in ("wait", "rebuild", "accept"))

    assert (nobody.status, "no_consumer: no omnicdc daemon is alive" in nobody.text) == (3, True)
    assert RED in nobody.raw
    assert (waited.status, "published: the registries hold it" in waited.text) == (0, True)
    assert GREEN in waited.raw
    assert (rebuilt.status, "published: the registries hold it" in rebuilt.text) == (0, True)
    assert (accepted.status, accepted.line("accepted")) == (
        0,
        "accepted; rewritten: nothing, for nothing was held",
    )


def test_uninstall_asks_and_takes_no_for_an_answer(cmp: Cmp, host: Host) -> None:
    no = shown(host, "uninstall", typed="n\n")
    still = cmp.value("select to_regnamespace('omnicdc') is not null")

    yes = shown(host, "uninstall", typed="y\n")

    assert (no.status, still) == (1, True)
    assert "Remove the capture and its log from omnicdc_" in no.text
    assert (yes.status, yes.text.endswith("uninstalled\n")) == (0, True)
    assert cmp.value("select to_regnamespace('omnicdc') is null")


def test_install_names_what_it_watches(bare: Cmp, host: Host) -> None:
    seen = shown(host, "install", OMNICDC_DSN=bare.dsn)

    assert seen.status == 0
    assert seen.line("installed on projects; watched: ").endswith("name, status, type")
