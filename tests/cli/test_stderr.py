"""A daemon whose stderr is a pipe that no process reads, or systemd's journal."""

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

from omnicdc.log.journal import SOCKET

if TYPE_CHECKING:
    from support.cmp import Cmp
    from support.host import Host

pytestmark = pytest.mark.timeout(120)


def test_publication_continues_while_no_process_reads_the_log(cmp: Cmp, host: Host) -> None:
    """P4, P6: the daemon also ends on SIGTERM. A reader that starts later gets the log in order."""
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
                status = daemon.wait(DEADLINE_S)
                events = [json.loads(line)["event"] for line in reading.result()]
        finally:
            daemon.kill()
            daemon.wait()

    assert shown == {"status 2"}
    assert status == 0
    main_events = [event for event in events if event in {"published", "serving", "stopped"}]
    assert main_events == ["published", "serving", "published", "published", "published", "stopped"]


def test_a_command_that_cannot_start_ends_although_stderr_is_not_read(host: Host) -> None:
    with FullPipe() as pipe:
        command = process([COMMAND, "run"], host.env | {"OMNICDC_POLL_S": "never"}, stderr=pipe.writing)
        command.communicate(timeout=DEADLINE_S)

    assert command.returncode == 2


@pytest.mark.skipif(SOCKET.exists(), reason="the journal of this machine would get the events")
def test_each_line_for_the_journal_begins_with_its_severity(cmp: Cmp, host: Host) -> None:
    """journald reads the severity from a prefix such as `<6>`, where its own socket is missing.

    If JOURNAL_STREAM names another stream than stderr, the lines have no prefix.
    """
    cmp.fill(3)
    overrides = host.root / "governance/registry/projects/LOCAL_OVERRIDES_V1.yaml"
    overrides.parent.mkdir(parents=True)
    overrides.write_text("overrides: nonsense")
    reading, writing = os.pipe()
    journal = os.fstat(writing)
    to_the_journal = {"JOURNAL_STREAM": f"{journal.st_dev}:{journal.st_ino}"}

    invalid = {"OMNICDC_POLL_S": "never"}
    for arguments, env in ((["run", "--once"], to_the_journal), (["run"], to_the_journal | invalid)):
        process([COMMAND, *arguments], host.env | env, stderr=writing).communicate(timeout=DEADLINE_S)
    elsewhere = host.run("run", "--once", **to_the_journal)
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
