"""A command that is forked by a process which has imported it does what one that a shell starts does."""

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
        ["status"],
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
def test_status_and_words_are_those_of_a_cold_start(cmp: Cmp, host: Host, arguments: list[str]) -> None:
    cmp.upsert("atlas")
    said = []
    for host.cold in (False, True):
        done = host.run(*arguments)
        said.append((done.returncode, done.stdout, done.stderr))

    assert said[0] == said[1]


def test_it_has_an_environment_and_a_pid_of_its_own_and_is_the_test_s_child(host: Host) -> None:
    daemon = host.starting(OMNICDC_DSN="host=/nonexistent")
    daemon.wait_for("database_unavailable")
    stat = Path(f"/proc/{daemon.process.pid}/stat").read_text()

    assert int(stat.rpartition(")")[2].split()[1]) == os.getpid()
    assert daemon.stop() == 0


def test_killed_it_ends_as_a_killed_process_does(host: Host) -> None:
    daemon = host.starting(OMNICDC_DSN="host=/nonexistent")
    daemon.wait_for("database_unavailable")

    assert daemon.stop(signal.SIGKILL) == -signal.SIGKILL


@pytest.mark.skipif(bool(COUNTED), reason="coverage counts only what is started cold")
def test_what_is_read_at_the_start_of_a_process_has_it_started_cold(host: Host) -> None:
    warm, cold = (process([COMMAND, "--version"], host.env | more) for more in ({}, {"PYTHONHASHSEED": "1"}))
    for running in (warm, cold):
        running.communicate()

    assert (type(warm).__name__, type(cold).__name__) == ("Warm", "Popen")
