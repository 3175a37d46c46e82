"""The service under a real systemd.

scenarios.py runs inside `boot`, and these tests check its results.

They are skipped, with the reason, if this machine cannot boot one: no root, no overlay, no cgroup2.
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

# One process runs these tests, so that systemd is booted once.
pytestmark = [pytest.mark.systemd, pytest.mark.xdist_group("systemd"), pytest.mark.timeout(LIMIT_S + 10)]

Result = dict[str, Any]


@pytest.fixture(scope="module")
def results(request: pytest.FixtureRequest) -> Result:
    """The result of each scenario. A campaign runs all scenarios."""
    whole = ["--whole"] if request.config.option.campaign else []
    sees = ":".join({sys.prefix, sys.base_prefix, str(CHECKOUT)})
    program = [
        "/usr/bin/env",
        f"PYTHONPATH={CHECKOUT / 'tests'}",
        sys.executable,
        str(HERE / "scenarios.py"),
        *whole,
    ]
    done = subprocess.run(
        [HERE / "boot", str(LIMIT_S), *program],
        check=False, text=True, capture_output=True, env={**os.environ, "BOOT_SEES": sees},
    )  # fmt: skip
    if done.returncode == CANNOT:
        pytest.skip(done.stderr.strip())
    assert done.returncode == 0, done.stderr
    found: Result = json.loads(done.stdout)
    print("\n".join(found["journal"].pop("lines")))  # noqa: T201 - shown when a test fails
    return found


def test_the_documented_commands_start_the_service(results: Result) -> None:
    """`systemctl enable --now` returns after the registries hold what CMP already held."""
    result = results["installed"]

    assert result["statuses"] == [0] * 10, result["output"]
    assert (result["ActiveState"], result["SubState"]) == ("active", "running")
    assert result["UnitFileState"] == "enabled"
    assert "before omnicdc" in result["canonical"]


def test_only_root_may_read_the_password_and_only_the_service_the_configuration(results: Result) -> None:
    assert results["installed"]["modes"] == {"/etc/omnicdc": "0o750", "/etc/omnicdc/cmp_password": "0o600"}


def test_a_write_to_cmp_is_published_under_systemd(results: Result) -> None:
    result = results["published"]

    assert result["waited"] == 0, result["verdict"]
    assert result["healthy"]
    assert len(result["holding"]) == 3


def test_doctor_finds_the_documented_service_healthy_as_root_and_as_its_user(results: Result) -> None:
    """Both log in as the service does. What is changed in the unit is found, and only that."""
    examined = {who: failed(found) for who, found in results["examined"].items()}

    assert examined == {
        "root": [],
        "service": [],
        "closed": ["service: paths"],
        "changed": ["service: unit", "service: paths"],
    }
    assert failed(results["examined when stopped"]["root"]) == ["consumers: daemons", "service: unit"]


def failed(found: Result) -> list[str]:
    assert "service: unit" in found, found
    return [check for check, (status, *_) in found.items() if status == "fail"]


def test_a_service_of_root_is_reloaded_when_a_registry_is_replaced(results: Result) -> None:
    assert results["watched"] == {"before": False, "reloaded": True}


def test_the_registries_belong_to_the_service_and_all_users_may_read_them(results: Result) -> None:
    assert results["published"]["owners"] == ["omnicdc"] * 3
    assert results["published"]["modes"] == ["0o644"] * 3


def test_the_daemon_has_no_privileges(results: Result) -> None:
    result = results["confined"]

    assert result["user"] == "omnicdc"
    assert int(result["CapEff"], 16) == int(result["CapBnd"], 16) == 0
    assert result["NoNewPrivs"] == "1"
    assert result["Seccomp"] == "2"  # a filter


def test_the_daemon_can_write_only_the_registries_and_its_state(results: Result) -> None:
    """In the daemon's mount namespace, not even root can write elsewhere."""
    assert results["confined"]["writable"] == ["/srv/infrastructure/governance/registry", "/var/lib/omnicdc"]


def test_a_reload_keeps_the_process_running(results: Result) -> None:
    result = results["reloaded"]

    assert result["status"] == 0
    assert result["same_process"]
    assert result["running"]
    assert result["waited"] == 0


def test_a_reload_with_a_fault_fails_and_the_status_shows_generation_and_lag(results: Result) -> None:
    assert results["reloaded"]["refused"] != 0
    assert re.match(r"generation \d+ of \d{4}-\d\d-\d\dT[\d:]{8}Z, lag 0 s", results["reloaded"]["shown"])


def test_the_journal_has_fields_and_explains_the_event(results: Result) -> None:
    result = results["edited"]

    assert result["entry"]["_SYSTEMD_UNIT"] == "omnicdc.service"
    assert result["entry"]["PRIORITY"] == "4"
    assert result["entry"]["OMNICDC_REGISTRY"] == "canonical_projects_uuids.json"
    assert "Registry canonical_projects_uuids.json was changed by another program" in result["explained"]
    assert result["restored"]


def test_a_reload_applies_a_workspace_of_another_user_below_home(results: Result) -> None:
    assert results["reloaded"]["found"]


def test_systemd_restarts_a_killed_daemon(results: Result) -> None:
    assert results["killed"]["back"]
    assert results["killed"]["NRestarts"] == "1"


def test_a_rewritten_registry_keeps_its_group_and_mode(results: Result) -> None:
    """The unit's filter allows the system calls that this needs."""
    result = results["killed"]

    assert result["rewritten"]
    assert (result["group"], result["mode"]) == ("people", "0o660")


@pytest.mark.campaign
def test_the_watchdog_restarts_a_daemon_that_hangs(
    results: Result,
) -> None:
    """Its process is stopped: it is as silent as after a deadlock. The log shows where it hung."""
    result = results["hung"]

    assert result["back"]
    assert int(result["NRestarts"]) >= 1
    assert "Fatal Python error: Aborted" in result["output"]
    assert result["caught_up"]


@pytest.mark.campaign
def test_writable_and_executable_memory_is_refused(results: Result) -> None:
    """MemoryDenyWriteExecute, tried by a program that runs under the unit's own rules."""
    assert "writable and executable memory: refused" in results["hung"]["output"]


def test_every_restriction_of_the_unit_is_in_force(results: Result) -> None:
    """An older systemd ignores settings that it does not know. This systemd knows all of them."""
    in_force = dict(line.split("=", 1) for line in results["confined"]["in_force"])
    switched_on = re.findall(r"^(\w+)=yes$", (CHECKOUT / "systemd/omnicdc.service").read_text(), re.MULTILINE)

    assert len(switched_on) > 15
    assert {name: in_force.get(name) for name in switched_on} == dict.fromkeys(switched_on, "yes")


def test_the_password_is_shown_neither_by_ps_nor_in_the_journal(results: Result) -> None:
    assert not results["confined"]["password_shown"]
    assert not results["journal"]["password"]


@pytest.mark.campaign
def test_a_daemon_survives_an_outage_of_the_database(results: Result) -> None:
    result = results["outage"]

    assert result["same_process"]
    assert result["watchdog_fed"]
    assert result["caught_up"]


@pytest.mark.campaign
def test_a_start_waits_for_the_database(results: Result) -> None:
    """An outage is no failure: systemd does not restart the service, and later writes are published."""
    result = results["outage"]

    assert result["starting"]["ActiveState"] in ("activating", "active")
    assert result["started"]
    assert result["NRestarts"] == "0"


def test_a_stop_is_clean(results: Result) -> None:
    """A stop that exceeds the unit's time limit has the result `timeout`."""
    result = results["stopped"]

    assert result["Result"] == "success"
    assert result["ExecMainStatus"] == "0"


@pytest.mark.campaign
def test_a_wrong_password_logs_one_line_and_is_not_retried(results: Result) -> None:
    result = results["refused"]["wrong"]

    assert result["status"] != 0
    assert (result["ActiveState"], result["ExecMainStatus"], result["NRestarts"]) == ("failed", "2", "0")
    assert len(result["output"]) == 1
    assert "password authentication failed" in result["output"][0]


@pytest.mark.campaign
def test_a_missing_password_file_is_not_retried(results: Result) -> None:
    result = results["refused"]["missing"]

    assert (result["ActiveState"], result["ExecMainStatus"], result["NRestarts"]) == ("failed", "243", "0")


@pytest.mark.campaign
def test_the_service_starts_with_the_corrected_password(results: Result) -> None:
    assert results["refused"]["corrected"]["ActiveState"] == "active"


@pytest.mark.campaign
def test_another_root_needs_the_documented_drop_in(results: Result) -> None:
    result = results["moved"]

    assert (result["closed"]["ActiveState"], result["closed"]["ExecMainStatus"]) == ("failed", "2")
    assert result["opened"]["ActiveState"] == "active"
    assert result["there"]
