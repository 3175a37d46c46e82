"""`omnicdc status --watch` on a terminal and on a pipe."""

from __future__ import annotations

import json
import signal
import subprocess
from typing import TYPE_CHECKING

import pytest
from support.host import COMMAND, DEADLINE_S, process
from support.live_terminal import LiveTerminal
from support.proxy import Proxy
from support.session import publish

from omnicdc.cli.status.watch import cropped

if TYPE_CHECKING:
    from support.cmp import Cmp
    from support.host import Host

WATCH = [COMMAND, "status", "--watch"]
SHOWN, LEFT, CURSOR = "\x1b[?1049h", "\x1b[?1049l", "\x1b[?25h"
"""The sequences that switch to a terminal's second screen, and back, and that show the cursor."""


def test_it_follows_publications_survives_a_lost_connection_and_restores_the_terminal(
    cmp: Cmp, host: Host
) -> None:
    cmp.upsert("atlas")
    host.daemon()
    with Proxy(cmp.dsn) as proxy:
        env = host.env | {"OMNICDC_DSN": proxy.dsn}
        with LiveTerminal(WATCH, env, rows=30, columns=80) as terminal:
            first = terminal.until("host      alive  1 ")
            cmp.upsert("boreas")
            terminal.until("host      alive  2 ")
            proxy.stop_forwarding()
            proxy.cut()
            lost = terminal.until("what was known before that:")
            cmp.upsert("cyrus")
            proxy.resume_forwarding()
            again = terminal.until("host      alive  3 ")
            terminal.resize(8, 60)
            small = terminal.until("more lines do not fit")
            status = terminal.end()

    assert "healthy" in first
    assert "no connection since 20" in lost
    assert ", retrying: " in lost
    assert "no connection" not in again.rpartition("healthy")[0].rpartition("alive  2")[2]
    assert max(map(len, small.split("\n")[-6:])) <= 60
    assert status == 130
    assert terminal.raw.index(SHOWN) < terminal.raw.index(LEFT)
    assert terminal.raw.rindex(CURSOR) < terminal.raw.rindex("alive")
    assert "alive" in terminal.raw.partition(LEFT)[2]  # the last state stays on the screen
    assert "Traceback" not in terminal.raw


def test_sigterm_restores_the_terminal_and_no_color_is_honoured(cmp: Cmp, host: Host) -> None:
    cmp.upsert("atlas")
    publish(host)
    with LiveTerminal(WATCH, host.env | {"NO_COLOR": "1"}, rows=30, columns=80) as terminal:
        terminal.until(" down ")
        status = terminal.end(signal.SIGTERM)

    assert status == 128 + signal.SIGTERM
    assert terminal.raw.rindex(LEFT) > terminal.raw.rindex(SHOWN)
    assert "\x1b[31m" not in terminal.raw
    assert "\x1b[1m" not in terminal.raw


def test_on_a_pipe_each_change_is_one_line_of_json_until_the_reader_leaves(cmp: Cmp, host: Host) -> None:
    """When the reader has left, the command ends at once. Its exit status is that of the last answer."""
    cmp.upsert("atlas")
    host.daemon()
    with Proxy(cmp.dsn) as proxy:
        running = process(
            [*WATCH, "-o", "json"], host.env | {"OMNICDC_DSN": proxy.dsn}, stdin=subprocess.DEVNULL
        )
        with running:
            assert running.stdout
            assert running.stderr
            answers = map(json.loads, iter(running.stdout.readline, ""))
            first = next(answers)
            cmp.upsert("boreas")
            published = next(it for it in answers if it["consumers"][0]["generation"] == 2)
            proxy.stop_forwarding()
            proxy.cut()
            lost = next(it for it in answers if not it["consumers"])
            running.stdout.close()
            status = running.wait(DEADLINE_S)
            complaint = running.stderr.read()

    assert first["healthy"]
    assert first["consumers"][0]["generation"] == 1
    assert published["healthy"]
    assert lost.keys() == first.keys()
    assert (lost["healthy"], lost["capture"]) == (False, None)
    assert lost["faults"][0].startswith("no connection since ")
    assert (status, complaint) == (1, "")


def test_at_first_an_error_is_that_of_status(host: Host) -> None:
    done = host.run("status", "--watch", OMNICDC_DSN="host=/nowhere dbname=x")

    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)


@pytest.mark.parametrize(("height", "shown"), [(3, ["a", "b", "c"]), (2, ["a", "… 2 more lines do not fit"])])
def test_what_does_not_fit_the_terminal_is_counted(height: int, shown: list[str]) -> None:
    assert cropped(["a", "b", "c"], height) == shown
