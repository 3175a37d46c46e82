"""The cutover from Omni's scanners, with files as Omni writes them."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from support.agents import AGENTS
from support.host import CANONICAL, COMMAND, INVENTORY, PROJECT, process
from support.trial import as_omni_left_it, begin_trial

from omnicdc.answers.cutover import rulings
from omnicdc.answers.cutover.writers import schedules
from omnicdc.cli.cutover.writers import PATTERN

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.cmp import Cmp
    from support.host import Host

# One process runs these tests: a switch looks for old scanners on the whole machine, and some tests play one.
pytestmark = pytest.mark.xdist_group("old scanners")

SCANNER = """
import sys, time
file = open(sys.argv[1], "r+b")
file.write(b"{")
file.flush()
print("writing", flush=True)
time.sleep(60)  # a slow scanner: it is killed
"""


@pytest.fixture
def shadow(cmp: Cmp, host: Host) -> Path:
    """The shadow of a host where Omni's scanners have written the registries, and a daemon runs."""
    return begin_trial(cmp, host)


@pytest.fixture
def scanner(host: Host) -> Iterator[subprocess.Popen[str]]:
    """An old scanner that writes the canonical registry in place."""
    words = [sys.executable, "-c", SCANNER, str(host.root / CANONICAL), "omni.scanners.registry"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as running:
        yield running
        running.kill()


def compared(host: Host, status: int) -> dict[str, Any]:
    done = host.run("cutover", "compare")
    assert done.returncode == status, done.stdout + done.stderr
    found: dict[str, Any] = json.loads(done.stdout)["registries"]
    return found


def test_differences_by_the_rulings_are_explained_and_others_are_listed(
    cmp: Cmp, host: Host, shadow: Path
) -> None:
    explained = compared(host, 0)
    text = host.run("cutover", "compare", "-o", "text").stdout
    omni = json.loads((host.root / CANONICAL).read_text())
    uuid = next(iter(omni["uuids"]))
    omni["uuids"][uuid]["status"] = "unheard of"
    (host.root / CANONICAL).write_text(json.dumps(omni, indent=2))
    found = compared(host, 1)["canonical_projects_uuids.json"]
    refused = host.run("cutover", "switch", "--yes")
    cmp.set(uuid, status="archived")
    later = compared(host, 0)["canonical_projects_uuids.json"]

    assert explained["canonical_projects_uuids.json"]["explained"] == {}
    assert explained["PROJECT_REGISTRY_V1.yaml"]["explained"] == {rulings.DOMAIN: 2}
    assert explained["repo_inventory.json"]["explained"] == {rulings.IDS: 1, rulings.ONLY_CMP: 1}
    assert f"      2: {rulings.DOMAIN}" in text
    assert found["unexplained"] == [{
        "entry_key": uuid,
        "name": omni["uuids"][uuid]["name"],
        "kind": "differs",
        "fields": {"status": {"omnicdc": "active", "omni": "unheard of"}},
    }]  # fmt: skip
    assert refused.returncode == 2
    assert "omnicdc cutover compare" in refused.stderr
    assert later["explained"] == {rulings.LATER: 1}
    assert shadow.is_dir()


def test_the_daemon_publishes_into_the_shadow_then_below_the_root_and_back(
    cmp: Cmp, host: Host, shadow: Path
) -> None:
    by_omni = {path: host.raw(path) for path in (CANONICAL, PROJECT, INVENTORY)}
    if os.geteuid() == 0:  # only root gives a file to another user, and back
        os.chown(host.root / PROJECT, 12345, 12346)
    (host.root / PROJECT).chmod(0o640)
    attributes = [as_omni_left_it(host.root / path) for path in by_omni]
    cmp.upsert("before the switch")
    cmp.arrived()
    in_shadow = json.loads((shadow / CANONICAL).read_text())["count"]
    untouched = {path: host.raw(path) for path in by_omni}
    switched = host.run("cutover", "switch", "--yes")
    after = cmp.upsert("after the switch")
    cmp.arrived()
    below_root = host.canonical()
    verified = host.run("verify", "--all").returncode
    writers = host.run("cutover", "writers", "--pattern", "no such scanner")
    back = host.run("cutover", "back-out", "--yes", "-o", "text")
    restored = {path: host.raw(path) for path in by_omni}
    restored_attributes = [as_omni_left_it(host.root / path) for path in by_omni]
    cmp.upsert("after the back-out")
    cmp.arrived()

    assert in_shadow == 3
    assert untouched == by_omni
    assert switched.returncode == 0, switched.stdout + switched.stderr
    assert json.loads(switched.stdout)["verified"]
    assert after in below_root
    assert verified == 0
    assert writers.returncode == 0, writers.stdout
    assert back.returncode == 0, back.stderr
    assert restored == by_omni
    assert restored_attributes == attributes
    assert {path: host.raw(path) for path in by_omni} == by_omni
    assert json.loads((shadow / CANONICAL).read_text())["count"] == 5
    assert host.root.with_name("omnicdc.yaml").read_text() == (
        f"# of the registry host\nroot: {host.root}\nshadow: {shadow}\npoll_s: 1\n"
    )


def test_a_trial_is_shown_as_one_and_is_no_fault(cmp: Cmp, host: Host, shadow: Path) -> None:
    cmp.arrived()
    [trial] = host.ask("status")["consumers"]
    text = " ".join(host.run("status", "-o", "text").stdout.split())
    doctor = host.ask("doctor")
    stale = host.ask("doctor", "consumers", OMNICDC_CONFIG="", OMNICDC_ROOT=str(host.root))
    switched = host.run("cutover", "switch", "--yes")
    [served] = host.ask("status")["consumers"]

    assert (trial["root"], trial["shadow_of"]) == (str(shadow), str(host.root))
    assert f"host: a trial: it publishes into the shadow {shadow}, not below {host.root} " in text
    assert {it["check"] for it in doctor["checks"] if it["status"] == "fail"} == set()
    [root] = [it["seen"] for it in doctor["checks"] if it["check"] == "root"]
    assert root.startswith(f"{shadow}, the shadow of {host.root}: a trial, on the mount ")
    [fault] = [it for it in stale["checks"] if it["status"] == "fail"]
    assert (fault["check"], fault["remedy"][:16]) == ("this host", "`omnicdc reload`")
    assert switched.returncode == 0, switched.stderr
    assert (served["root"], served["shadow_of"]) == (str(host.root), None)


def test_a_refused_switch_changes_nothing(host: Host, shadow: Path) -> None:
    """There is no daemon to take the new configuration; or Omni has no files there."""
    file = host.root.with_name("omnicdc.yaml")
    before = file.read_bytes()
    host.close()
    without_daemon = host.run("cutover", "switch", "--yes")
    (host.root / CANONICAL).unlink()
    missing = compared(host, 1)["canonical_projects_uuids.json"]

    assert (without_daemon.returncode, missing["agrees"]) == (2, False)
    assert f"no daemon publishes below {shadow} on this host" in without_daemon.stderr
    assert "there is no such file of Omni's" in missing["fault"]
    assert file.read_bytes() == before
    assert not (host.state / "cutover").exists()


def test_a_switch_that_could_not_write_is_refused_before_anything_changes(host: Host, shadow: Path) -> None:
    """Here a file stands where the copies would be kept. `test_cutover_access` has the other cases."""
    file = host.root.with_name("omnicdc.yaml")
    before = file.read_bytes()
    (host.state / "cutover").write_text("")
    refused = host.run("cutover", "switch", "--yes")

    assert refused.returncode == 2
    assert f"{host.state}/cutover cannot be written in by this user - " in refused.stderr
    assert "kept in" not in refused.stderr
    assert file.read_bytes() == before
    assert shadow.is_dir()


@pytest.mark.usefixtures("shadow")
def test_a_table_that_is_not_captured_yet_is_the_named_cause(cmp: Cmp, host: Host) -> None:
    cmp.conn.execute(AGENTS)
    cmp.conn.execute("insert into agents (name) values ('gardener')")
    refused = host.run("cutover", "switch", "--yes")
    report = host.ask("verify", "--all")["registries"]["cmp_agents"]
    cause = "the file does not exist; the changes of CMP's agents are not captured yet"

    assert refused.returncode == 2
    assert refused.stderr == (
        f"omnicdc: {host.root.with_name('shadow')}: canonical_agents_uuids.json differs from CMP: {cause} - "
        "run `omnicdc install`\n"
    )
    assert (report["detail"], report["hint"]) == (cause, "run `omnicdc install`")


def test_an_old_scanner_that_writes_is_named_and_refuses_the_switch(
    host: Host, shadow: Path, scanner: subprocess.Popen[str]
) -> None:
    assert scanner.stdout
    assert scanner.stdout.readline() == "writing\n"
    found = json.loads(host.run("cutover", "writers").stdout)
    refused = host.run("cutover", "switch", "--yes")

    assert shadow.is_dir()
    assert [it["pid"] for it in found["writing"]] == [scanner.pid]
    assert found["writing"][0]["file"] == str(host.root / CANONICAL)
    assert scanner.pid in [it["pid"] for it in found["processes"]]
    assert refused.returncode == 2
    assert f"process {scanner.pid} of " in refused.stderr
    assert f"`kill {scanner.pid}`" in refused.stderr


@pytest.mark.usefixtures("shadow")
def test_a_switch_warns_of_lines_that_still_start_an_old_scanner(host: Host) -> None:
    """Here a line of systemd's own units stands for it: tests change nothing in /etc."""
    units = [it for it in schedules(re.compile("^Description=")) if it.text.isprintable()]
    if not units:
        pytest.skip("there is no unit of systemd here")
    one = units[0]
    switched = host.run("cutover", "switch", "--yes", "--pattern", re.escape(one.text))

    assert switched.returncode == 0, switched.stderr
    assert f"{one.file}:{one.line} still starts an old scanner: {one.text} - comment it" in switched.stderr
    assert {"file": one.file, "line": one.line, "text": one.text} in json.loads(switched.stdout)["schedules"]


@pytest.mark.usefixtures("shadow")
def test_a_write_is_named_as_it_happens(host: Host) -> None:
    env = host.env | {"COLUMNS": "200"}  # a line for each
    with process([COMMAND, "cutover", "writers", "--follow", "-o", "text"], env, stdout=-1) as watching:
        assert watching.stdout
        first = watching.stdout.readline()
        words = [sys.executable, "-c", SCANNER, str(host.root / CANONICAL)]
        with subprocess.Popen(words, stdout=subprocess.DEVNULL) as old:
            line = watching.stdout.readline()
            old.kill()
        watching.kill()

    assert first.startswith("watching 4 files below")
    assert f"{CANONICAL} was written: process {old.pid} of " in line


def test_schedules_are_found_and_comments_are_not(tmp_path: Path) -> None:
    (tmp_path / "etc/cron.d").mkdir(parents=True)
    (tmp_path / "etc/cron.d/omni").write_text(
        "# */5 * * * * omni old-scan\n*/5 * * * * omni python -m omni.cli scan --all\n"
    )
    (tmp_path / "etc/systemd/system").mkdir(parents=True)
    (tmp_path / "etc/systemd/system/omnicdc.service").write_text("ExecStart=omnicdc run # registry\n")

    found = schedules(re.compile(PATTERN, re.IGNORECASE), tmp_path)

    assert [(it.line, it.text) for it in found] == [(2, "*/5 * * * * omni python -m omni.cli scan --all")]
