"""A check may refuse a new file: the old one stays, and the registry is held with the check's output."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from support.agents import declare
from support.host import until

if TYPE_CHECKING:
    from support.cmp import Cmp
    from support.host import Host

NAMES = """
registries:
  - name: names
    path: exports/names.csv
    query: select id, name from projects
    format: csv
    check: {check}
"""


def test_a_refused_file_does_not_replace_the_old_one(cmp: Cmp, host: Host, tmp_path: Path) -> None:
    """P5: the wait says held. The other registries do not wait for the check."""
    check = ["sh", "-c", "! grep -n evil {}"]
    host.env |= declare(tmp_path, NAMES.format(check=json.dumps(check)))
    host.daemon(OMNICDC_POLL_S="0.2")
    cmp.upsert("apollo")
    cmp.arrived()
    good = host.raw("exports/names.csv")
    evil = cmp.upsert("evil")
    verdict = cmp.wait()
    held = host.ask("status")["consumers"][0]["held"]["names.csv"]
    names = {entry["name"] for entry in host.canonical().values()}
    kept = host.raw("exports/names.csv")
    cmp.set(evil, name="good")
    cmp.arrived()

    assert verdict.status == "held"
    assert "its check refused the new file: sh: exit status 1" in held["reason"]
    assert ",evil" in held["reason"]
    assert names == {"apollo", "evil"}
    assert kept == good
    assert host.raw("exports/names.csv").count(b"\n") == 3
    assert not [*(host.state / "check").rglob("*.csv")]


def test_a_check_gets_the_new_file_under_its_own_name_and_no_secrets(
    cmp: Cmp, host: Host, tmp_path: Path
) -> None:
    seen = tmp_path / "seen"
    check = ["sh", "-c", f'(echo "$1"; cat "$1"; env) > {seen}', "check"]
    host.env |= declare(tmp_path, NAMES.format(check=json.dumps(check)))
    host.env["PGPASSWORD"] = "hunter2"
    cmp.upsert("apollo")
    host.once()

    lines = seen.read_text().splitlines()
    assert lines[0].endswith("/names.csv")
    assert "apollo" in lines[2]
    assert not any(word in line for line in lines for word in ("hunter2", "OMNICDC_DSN"))


def test_a_check_that_does_not_exist_or_hangs_holds_the_registry(
    cmp: Cmp, host: Host, tmp_path: Path
) -> None:
    host.env |= declare(tmp_path, NAMES.format(check='["/no/such/check"]'))
    daemon = host.daemon(OMNICDC_POLL_S="0.2")
    cmp.upsert("apollo")
    until(lambda: host.ask("status")["consumers"][0]["held"], "the registry is held")

    assert "/no/such/check" in daemon.wait_for("held")["reason"]
    assert cmp.wait().status == "held"


TARGETS = """
registries:
  - name: targets
    path: exports/targets.json
    query: |
      select id, json_build_array(concat(name, ':9100')) as targets,
             json_build_object('status', status) as labels
        from projects
    format: json-list
    entry: [targets, labels]
    check: {check}
"""


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")
def test_promtool_checks_the_targets_of_prometheus(cmp: Cmp, host: Host, tmp_path: Path) -> None:
    """The command is that of docs/add-a-registry.md."""
    page = (Path(__file__).parents[2] / "docs/add-a-registry.md").read_text()
    found = re.search(r"check: (\[sh, -c, .*?\])\n", page, re.DOTALL)
    assert found
    host.env |= declare(tmp_path, TARGETS.format(check=found[1].replace("\n", "\n      ")))
    host.ask("install")
    host.daemon(OMNICDC_POLL_S="0.2")
    cmp.upsert("apollo")
    cmp.arrived()
    good = json.loads(host.raw("exports/targets.json"))
    cmp.conn.execute("update projects set name = 'http://apollo/'")
    verdict = cmp.wait()

    assert good == [{"targets": ["apollo:9100"], "labels": {"status": "active"}}]
    assert verdict.status == "held", verdict  # a target must not be a URL
