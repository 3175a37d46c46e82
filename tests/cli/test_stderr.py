"""A daemon whose stderr leads to a pipe that nobody reads, or to systemd's journal."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
import yaml
from support.host import COMMAND, DEADLINE_S, PROJECT, process, until
from support.pipe import FullPipe

if TYPE_CHECKING:
    from support.cmp import Cmp
    from support.host import Host

pytestmark = pytest.mark.timeout(120)


def test_publication_goes_on_while_nobody_reads_the_log(cmp: Cmp, host: Host) -> None:
    """P4, P6: and the daemon ends when it is asked to; what it logged comes in order once somebody reads."""
    cmp.fill(3)
    with FullPipe() as pipe:
        daemon = process([COMMAND, "run"], host.env, stdout=subprocess.DEVNULL, stderr=pipe.writing)
        try:
            until((host.root / PROJECT).exists, "the first publication")
            for number in range(3):
                with cmp.transaction() as (conn, token):
                    conn.execute("update projects set status = %s", [f"status {number}"])
                cmp.arrived(token)
            shown = {it["status"] for it in yaml.safe_load(host.raw(PROJECT))["projects"]}
            with ThreadPoolExecutor() as pool:
                reading = pool.submit(pipe.lines)
                daemon.send_signal(signal.SIGTERM)
                ended = daemon.wait(DEADLINE_S)
                events = [json.loads(line)["event"] for line in reading.result()]
        finally:
            daemon.kill()
            daemon.wait()

    assert shown == {"status 2"}
    assert ended == 0
    told = [event for event in events if event in {"published", "serving", "stopped"}]
    assert told == ["published", "serving", "published", "published", "published", "stopped"]


def test_a_command_that_cannot_start_ends_even_if_nobody_reads_why(host: Host) -> None:
    with FullPipe() as pipe:
        ended = process([COMMAND, "run"], host.env | {"OMNICDC_POLL_S": "never"}, stderr=pipe.writing)
        ended.communicate(timeout=DEADLINE_S)

    assert ended.returncode == 2


def test_the_journal_is_given_the_severity_of_each_line(cmp: Cmp, host: Host) -> None:
    """As journald wants it: `<6>` before the line.

    A stream that is not the one named by JOURNAL_STREAM has none.
    """
    cmp.fill(3)
    overrides = host.root / "governance/registry/projects/LOCAL_OVERRIDES_V1.yaml"
    overrides.parent.mkdir(parents=True)
    overrides.write_text("overrides: nonsense")
    reading, writing = os.pipe()
    journal = os.fstat(writing)
    named = {"JOURNAL_STREAM": f"{journal.st_dev}:{journal.st_ino}"}

    failed = {"OMNICDC_POLL_S": "never"}
    for arguments, env in ((["run", "--once"], named), (["run"], named | failed)):
        process([COMMAND, *arguments], host.env | env, stderr=writing).communicate(timeout=DEADLINE_S)
    elsewhere = host.run("run", "--once", **named)
    os.close(writing)
    with os.fdopen(reading) as stream:
        *lines, last = stream.read().splitlines()

    severities = {"info": "<6>", "warning": "<4>", "error": "<3>"}
    assert lines
    for line in lines:
        assert line.startswith(severities[json.loads(line[3:])["level"]] + "{")
    assert {line[:3] for line in lines} >= {"<4>"}
    assert last.startswith("<3>omnicdc: ")
    assert all(line.startswith("{") for line in elsewhere.stderr.splitlines())
