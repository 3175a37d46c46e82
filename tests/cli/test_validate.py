"""`omnicdc validate` on a pipe and on a terminal."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from support.host import CANONICAL, COMMAND
from support.terminal import GREEN, RED, on_a_terminal

if TYPE_CHECKING:
    from support.cmp import Cmp
    from support.host import Host

URL = "https://github.com/acme/atlas"
HINT = "look at CMP; if it is meant, run `omnicdc accept`"
STORED = "select metadata_ ->> 'github_url' from projects"


def test_a_url_with_blanks_is_found_and_fixed(cmp: Cmp, host: Host) -> None:
    cmp.upsert("atlas", github_url=f"{URL} ")
    host.daemon()
    words = ["validate", "--kind", "bad_url"]

    found = host.run(*words)
    refused = host.run(*words, "--fix")
    dry = host.run(*words, "--fix", "--dry-run")
    unchanged = cmp.value(STORED)
    fixed = host.run(*words, "--fix", "--yes")

    assert (found.returncode, json.loads(found.stdout)["counts"]) == (1, {"bad_url": 1})
    assert (refused.returncode, unchanged) == (2, f"{URL} ")
    assert "--yes" in refused.stderr
    [repair] = json.loads(dry.stdout)["repairs"]
    assert (dry.returncode, repair["dry_run"], repair["success"]) == (1, True, True)
    assert (fixed.returncode, json.loads(fixed.stdout)["findings"]) == (0, [])
    assert cmp.value(STORED) == URL


def test_a_repair_that_has_not_arrived_is_exit_3(cmp: Cmp, host: Host) -> None:
    cmp.upsert("atlas", github_url=f"{URL} ")

    done = host.run("validate", "--kind", "bad_url", "--fix", "--yes", "--timeout", "0")

    assert done.returncode == 3
    assert [it["verdict"] for it in json.loads(done.stdout)["repairs"]] == ["no_consumer"]


def test_a_wrong_kind_is_one_line_and_the_near_one_is_suggested(cmp: Cmp, host: Host) -> None:
    cmp.upsert("atlas")

    done = host.run("validate", "--kind", "duplicate_nane")
    several = host.run("validate", "--kind", "duplicate")
    dry = host.run("validate", "--dry-run")

    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert "did you mean duplicate_name?" in done.stderr
    assert "did you mean duplicate_name or duplicate_key or duplicate_url?" in several.stderr
    assert dry.returncode == 2
    assert "add --fix" in dry.stderr


def test_findings_are_readable_on_a_narrow_terminal(cmp: Cmp, host: Host) -> None:
    uuids = sorted(cmp.upsert("atlas") for _ in range(2))
    words = [COMMAND, "validate", "--kind", "duplicate_name"]

    bad = on_a_terminal(words, host.env, columns=80)
    plain = on_a_terminal(words, host.env | {"NO_COLOR": "1"}, columns=80)
    cmp.conn.execute("delete from projects where id = %s", [uuids[0]])
    good = on_a_terminal(words, host.env, columns=80)

    assert bad.status == 1
    assert "warn duplicate_name atlas\n  2 projects have the name atlas" in bad.text
    assert RED in bad.raw
    assert RED not in plain.raw
    assert "checking" in bad.text
    assert (good.status, GREEN in good.raw) == (0, True)
    assert "nothing found; checked: duplicate_name" in good.text


def test_a_registry_that_was_edited_is_repaired_by_the_daemon(cmp: Cmp, host: Host) -> None:
    cmp.upsert("atlas", status="active")
    host.once()
    path = host.root / CANONICAL
    path.write_text(path.read_text().replace('"active"', '"frozen"'))

    found = host.run("validate", "--kind", "registry_differs")
    host.daemon()
    fixed = host.run("validate", "--kind", "registry_differs", "--fix", "--yes")

    assert (found.returncode, fixed.returncode) == (1, 0), fixed.stdout
    assert '"frozen"' not in path.read_text()


def test_a_difference_of_a_held_registry_names_the_hold_and_offers_no_rebuild(cmp: Cmp, host: Host) -> None:
    atlas = cmp.upsert("atlas", status="active", github_url="https://github.com/acme/atlas")
    cmp.fill(40)
    host.daemon()
    cmp.conn.execute("delete from projects where name <> 'atlas'")
    cmp.set(atlas, status="archived", github_url="https://github.com/acme/atlas2")
    assert cmp.wait().status == "held"
    words = ["validate", "--kind", "registry_differs", "--kind", "registries_disagree"]

    found = host.ask(*words)
    text = " ".join(host.run(*words, "-o", "text").stdout.split())
    fixed = host.run(*words, "--fix", "--yes")
    host.run("accept")
    cmp.arrived()
    accepted = host.ask(*words)

    assert len(found["findings"]) > 80
    for it in found["findings"]:
        assert "the registry is held: it would lose 40 of its 41 entries at once" in it["detail"], it
        assert (it["remedy"], it["repairable"]) == (HINT, False)
    assert HINT in text
    assert "omnicdc rebuild" not in text
    assert (fixed.returncode, json.loads(fixed.stdout)["repairs"]) == (1, [])
    assert accepted["findings"] == []
