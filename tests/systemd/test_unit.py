"""The unit as systemd reads it, and the documentation that goes with it.

test_boot.py tests the running service.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from omnicdc.config import settings
from omnicdc.daemon import supervisor
from omnicdc.db import conninfo
from omnicdc.delivery import waiting
from systemd.page import CHECKOUT, blocks, commands

UNIT = CHECKOUT / "systemd/omnicdc.service"

needs_analyze = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="there is no systemd-analyze here"
)


def setting(name: str) -> list[str]:
    """Return the values that the unit assigns to a setting, in order."""
    return re.findall(rf"^{name}=(.*)$", UNIT.read_text(), re.MULTILINE)


def seconds(span: str) -> float:
    """Return the length of one of the unit's time spans, in seconds."""
    units = {"s": 1, "min": 60}
    found = re.fullmatch(r"(\d+)(s|min)", span)
    assert found
    return int(found[1]) * units[found[2]]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A root directory with the files of an installation that `systemd-analyze verify` reads."""
    units = next(
        path for path in (Path("/usr/lib/systemd/system"), Path("/lib/systemd/system")) if path.is_dir()
    )
    shutil.copytree(units, tmp_path / "usr/lib/systemd/system", symlinks=True)
    for program in ("opt/omnicdc/bin/omnicdc", "bin/kill"):
        (tmp_path / program).parent.mkdir(parents=True)
        (tmp_path / program).touch(mode=0o755)
    (tmp_path / "etc/systemd/system").mkdir(parents=True)
    shutil.copy(UNIT, tmp_path / "etc/systemd/system")
    return tmp_path


def verify(root: Path) -> str:
    """Return the complaints of systemd about the unit."""
    command = ["systemd-analyze", "verify", "--man=no", "--recursive-errors=no", f"--root={root}", UNIT.name]
    return subprocess.run(command, check=False, text=True, stdout=-1, stderr=subprocess.STDOUT).stdout


@needs_analyze
def test_systemd_accepts_the_unit(root: Path) -> None:
    assert verify(root) == ""


@needs_analyze
def test_systemd_reports_a_mistake_in_the_unit(root: Path) -> None:
    """This shows that the test above can fail."""
    with (root / "etc/systemd/system" / UNIT.name).open("a") as unit:
        unit.write("WantedBi=multi-user.target\n")

    assert "Unknown key" in verify(root)


@needs_analyze
def test_systemd_accepts_the_documented_drop_ins(root: Path) -> None:
    drop_ins = root / "etc/systemd/system" / f"{UNIT.name}.d"
    drop_ins.mkdir()
    documented = blocks("ini")
    for number, drop_in in enumerate(documented):
        (drop_ins / f"{number}.conf").write_text(drop_in)

    assert len(documented) == 3
    assert verify(root) == ""


@needs_analyze
def test_the_service_has_an_exposure_level_of_at_most_1_5() -> None:
    command = ["systemd-analyze", "security", "--offline=true", "--no-pager", str(UNIT)]
    output = subprocess.run(command, check=True, text=True, capture_output=True).stdout

    exposure = re.search(r"Overall exposure level for omnicdc.service: ([\d.]+)", output)
    assert exposure
    assert float(exposure[1]) <= 1.5


def test_every_setting_has_its_reason_above_it() -> None:
    """Adjacent settings may share one comment. The description needs none."""
    groups = re.findall(r"^(?:\w+=.*\n?)+", UNIT.read_text(), re.MULTILINE)
    without_reason = [
        group
        for group in groups
        if not re.search(r"^#.*\n" + re.escape(group), UNIT.read_text(), re.MULTILINE)
    ]

    assert without_reason == ["Description=omnicdc, keeps the project registries equal to CMP\n"]


def test_a_restart_after_a_crash_is_within_the_grace_time_of_clients() -> None:
    """A client that waits reports `no_consumer` only after its grace time."""
    assert seconds(setting("RestartSec")[0]) < waiting.GRACE_S


def test_the_watchdog_is_slower_than_the_longest_wait_for_the_database() -> None:
    """During an outage, the daemon feeds the watchdog only between two attempts to connect.

    A DSN may name several hosts.
    """
    between = supervisor.LONGEST_PAUSE_S + 5 * float(conninfo.ROBUST["connect_timeout"])

    assert seconds(setting("WatchdogSec")[0]) > between


def test_systemd_does_not_retry_faults_that_an_operator_must_fix() -> None:
    """2 is the command's exit status for errors of usage and configuration."""
    assert setting("RestartPreventExitStatus")[0].split() == ["2", "EXEC", "USER", "NAMESPACE", "CREDENTIALS"]


def test_the_documented_configuration_shows_every_setting_with_its_default(tmp_path: Path) -> None:
    file = tmp_path / "omnicdc.yaml"
    file.write_text(blocks("yaml")[0])
    shown = re.findall(r"^(\w+):", file.read_text(), re.MULTILINE)
    plain = settings.load({}, {"HOME": "/nonexistent", "STATE_DIRECTORY": "/var/lib/omnicdc"}, uid=1)

    documented = settings.load({"config": file}, {"HOME": "/nonexistent"}, uid=1)

    assert sorted(shown) == sorted([*settings.SETTINGS, "registries"])
    assert {name for name in shown if getattr(documented, name) != getattr(plain, name)} == {"dsn", "root"}


def test_the_installation_takes_ten_commands() -> None:
    """They lead from `pip install` to a running service. test_boot.py runs them."""
    typed = commands()

    assert len(typed) == 10
    assert "pip install omnicdc" in typed[1]
    assert "systemctl enable --now omnicdc" in typed[9]
