"""The service under a real systemd.

Rehearsal.py plays an operator's day inside `boot`, and here is what it must come to.

Skipped, with the reason, where the machine does not let one boot: no root, no overlay, no cgroup2.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from systemd.page import CHECKOUT

HERE = Path(__file__).parent
LIMIT_S = 240
CANNOT = 77

# One boot for all of them, also when several processes share the tests.
pytestmark = [pytest.mark.systemd, pytest.mark.xdist_group("systemd"), pytest.mark.timeout(LIMIT_S + 10)]

Scene = dict[str, Any]


@pytest.fixture(scope="module")
def day(request: pytest.FixtureRequest) -> Scene:
    """What rehearsal.py saw, by scene; a campaign plays the whole day."""
    whole = ["--whole"] if request.config.option.campaign else []
    sees = ":".join({sys.prefix, sys.base_prefix, str(CHECKOUT)})
    program = [
        "/usr/bin/env",
        f"PYTHONPATH={CHECKOUT / 'tests'}",
        sys.executable,
        str(HERE / "rehearsal.py"),
        *whole,
    ]
    done = subprocess.run(
        [HERE / "boot", str(LIMIT_S), *program],
        check=False, text=True, capture_output=True, env={**os.environ, "BOOT_SEES": sees},
    )  # fmt: skip
    if done.returncode == CANNOT:
        pytest.skip(done.stderr.strip())
    assert done.returncode == 0, done.stderr
    seen: Scene = json.loads(done.stdout)
    print("\n".join(seen["journal"].pop("lines")))  # noqa: T201 - shown when a test fails
    return seen


def test_the_documented_commands_end_in_a_service_that_runs(day: Scene) -> None:
    """`systemctl enable --now` returns when the registries hold what CMP held already."""
    scene = day["installed"]

    assert scene["statuses"] == [0] * 10, scene["talk"]
    assert (scene["ActiveState"], scene["SubState"]) == ("active", "running")
    assert scene["UnitFileState"] == "enabled"
    assert "before omnicdc" in scene["canonical"]


def test_only_root_reads_the_password_and_only_the_service_the_configuration(day: Scene) -> None:
    assert day["installed"]["modes"] == {"/etc/omnicdc": "0o750", "/etc/omnicdc/cmp_password": "0o600"}


def test_a_write_to_cmp_is_published_under_systemd(day: Scene) -> None:
    scene = day["published"]

    assert scene["waited"] == 0, scene["verdict"]
    assert scene["healthy"]
    assert len(scene["holding"]) == 3


def test_the_registries_belong_to_the_service_and_everybody_reads_them(day: Scene) -> None:
    assert day["published"]["owners"] == ["omnicdc"] * 3
    assert day["published"]["modes"] == ["0o644"] * 3


def test_the_daemon_has_no_privileges(day: Scene) -> None:
    scene = day["confined"]

    assert scene["user"] == "omnicdc"
    assert int(scene["CapEff"], 16) == int(scene["CapBnd"], 16) == 0
    assert scene["NoNewPrivs"] == "1"
    assert scene["Seccomp"] == "2"  # a filter


def test_the_registries_and_the_state_are_all_that_can_be_written_to(day: Scene) -> None:
    """Not even root could, where the daemon lives."""
    assert day["confined"]["writable"] == ["/srv/infrastructure/governance/registry", "/var/lib/omnicdc"]


def test_a_reload_takes_the_new_configuration_into_the_running_process(day: Scene) -> None:
    scene = day["reloaded"]

    assert scene["status"] == 0
    assert scene["same_process"]
    assert scene["running"]
    assert scene["waited"] == 0


def test_clones_of_other_users_below_home_are_found(day: Scene) -> None:
    assert day["reloaded"]["found"]


def test_a_killed_daemon_comes_back_by_itself(day: Scene) -> None:
    assert day["killed"]["back"]
    assert day["killed"]["NRestarts"] == "1"


def test_a_rewritten_registry_keeps_its_group_and_mode(day: Scene) -> None:
    """The filter of system calls lets that one through."""
    scene = day["killed"]

    assert scene["rewritten"]
    assert (scene["group"], scene["mode"]) == ("people", "0o660")


@pytest.mark.campaign
def test_a_daemon_that_hangs_is_killed_by_the_watchdog_tells_where_and_is_right_afterwards(
    day: Scene,
) -> None:
    """Its process is stopped, so that it says nothing, as after a deadlock, or if a disk does not answer."""
    scene = day["hung"]

    assert scene["back"]
    assert int(scene["NRestarts"]) >= 1
    assert "Fatal Python error: Aborted" in scene["said"]
    assert scene["caught_up"]


@pytest.mark.campaign
def test_memory_that_can_be_written_to_and_run_is_refused(day: Scene) -> None:
    """MemoryDenyWriteExecute, tried by a program that runs by the unit's own rules."""
    assert "memory that can be written to and run: refused" in day["hung"]["said"]


def test_every_restriction_of_the_unit_is_in_force(day: Scene) -> None:
    """An older systemd ignores what it does not know; this one knew it all."""
    in_force = dict(line.split("=", 1) for line in day["confined"]["in_force"])
    switched_on = re.findall(r"^(\w+)=yes$", (CHECKOUT / "systemd/omnicdc.service").read_text(), re.MULTILINE)

    assert len(switched_on) > 15
    assert {name: in_force.get(name) for name in switched_on} == dict.fromkeys(switched_on, "yes")


def test_the_password_is_shown_neither_by_ps_nor_in_the_journal(day: Scene) -> None:
    assert not day["confined"]["password_shown"]
    assert not day["journal"]["password"]


@pytest.mark.campaign
def test_a_daemon_outlives_an_outage_of_the_database(day: Scene) -> None:
    scene = day["outage"]

    assert scene["same_process"]
    assert scene["watchdog_fed"]
    assert scene["endured"]


@pytest.mark.campaign
def test_a_start_waits_for_the_database(day: Scene) -> None:
    """Being down is no failure: nothing is restarted, and what was written since is published."""
    scene = day["outage"]

    assert scene["starting"]["ActiveState"] in ("activating", "active")
    assert scene["started"]
    assert scene["NRestarts"] == "0"


def test_a_stop_is_quick_and_clean(day: Scene) -> None:
    scene = day["stopped"]

    assert scene["Result"] == "success"
    assert scene["ExecMainStatus"] == "0"


@pytest.mark.campaign
def test_a_wrong_password_is_one_line_and_stays_down(day: Scene) -> None:
    scene = day["refused"]["wrong"]

    assert scene["status"] != 0
    assert (scene["ActiveState"], scene["ExecMainStatus"], scene["NRestarts"]) == ("failed", "2", "0")
    assert len(scene["said"]) == 1
    assert "password authentication failed" in scene["said"][0]


@pytest.mark.campaign
def test_a_missing_password_file_stays_down(day: Scene) -> None:
    scene = day["refused"]["missing"]

    assert (scene["ActiveState"], scene["ExecMainStatus"], scene["NRestarts"]) == ("failed", "243", "0")


@pytest.mark.campaign
def test_what_was_mended_starts(day: Scene) -> None:
    assert day["refused"]["mended"]["ActiveState"] == "active"


@pytest.mark.campaign
def test_another_root_is_closed_until_the_documented_drop_in_opens_it(day: Scene) -> None:
    scene = day["moved"]

    assert (scene["closed"]["ActiveState"], scene["closed"]["ExecMainStatus"]) == ("failed", "2")
    assert scene["opened"]["ActiveState"] == "active"
    assert scene["there"]
