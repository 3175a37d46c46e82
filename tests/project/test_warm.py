"""`support.warm`: a forked command behaves like a command that a shell starts."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from support.host import COMMAND, COUNTED, process

if TYPE_CHECKING:
    from support.cmp import Cmp
    from support.host import Host


@pytest.mark.parametrize(
    "arguments",
    [
        ["source", "list"],
        ["run", "--once", "--root", "/nonexistent"],
        ["nonsense"],
        *(
            pytest.param(arguments, marks=pytest.mark.campaign)
            for arguments in (
                ["--version"],
                ["install", "--print"],
                ["wait", "--token", "hello"],
                ["verify", "7d1a3c52-6f0e-4f55-9d37-2f1f4a1f0a11"],
            )
        ),
    ],
    ids=" ".join,
)
def test_a_forked_command_has_the_status_and_output_of_a_cold_one(
    cmp: Cmp, host: Host, arguments: list[str]
) -> None:
    cmp.upsert("atlas")
    outcomes = []
    for host.cold in (False, True):
        done = host.run(*arguments)
        outcomes.append((done.returncode, done.stdout, done.stderr))

    assert outcomes[0] == outcomes[1]


def test_a_forked_daemon_has_its_own_environment_and_is_a_child_of_the_test(host: Host) -> None:
    daemon = host.starting(OMNICDC_DSN="host=/nonexistent")
    daemon.wait_for("database_unavailable")
    stat = Path(f"/proc/{daemon.process.pid}/stat").read_text()

    assert int(stat.rpartition(")")[2].split()[1]) == os.getpid()
    assert daemon.stop() == 0


def test_a_killed_daemon_has_the_exit_status_of_the_signal(host: Host) -> None:
    daemon = host.starting(OMNICDC_DSN="host=/nonexistent")
    daemon.wait_for("database_unavailable")

    assert daemon.stop(signal.SIGKILL) == -signal.SIGKILL


@pytest.mark.skipif(bool(COUNTED), reason="coverage counts only what is started cold")
def test_a_variable_that_python_reads_at_its_start_causes_a_cold_start(host: Host) -> None:
    warm, cold = (process([COMMAND, "--version"], host.env | more) for more in ({}, {"PYTHONHASHSEED": "1"}))
    for running in (warm, cold):
        running.communicate()

    assert (type(warm).__name__, type(cold).__name__) == ("Warm", "Popen")
