"""The way back from a switch, when something else has failed: a disk, the daemon, CMP."""

from __future__ import annotations

import json
import os
import signal
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest
from faults.disk.mounts import filled, mount_tmpfs
from support.host import CANONICAL, COMMAND, INVENTORY, PROJECT, process, until
from support.trial import as_omni_left_it, begin_trial

from omnicdc.files.lock import holder_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.cmp import Cmp
    from support.host import Host

# One process runs these tests: a switch looks for old scanners on the whole machine, and some tests play one.
pytestmark = pytest.mark.xdist_group("old scanners")

OMNIS = (CANONICAL, PROJECT, INVENTORY)


@pytest.fixture
def by_omni(cmp: Cmp, host: Host) -> dict[str, bytes]:
    """Omni's files, before the switch of a host."""
    begin_trial(cmp, host)
    found = {path: host.raw(path) for path in OMNIS}
    switched = host.run("cutover", "switch", "--yes")
    assert switched.returncode == 0, switched.stderr
    return found


@pytest.fixture
def cleanup() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def files(host: Host) -> dict[str, bytes]:
    return {path: host.raw(path) for path in OMNIS}


def configured(host: Host) -> str:
    return host.root.with_name("omnicdc.yaml").read_text()


def test_a_second_back_out_finishes_what_the_first_began(host: Host, by_omni: dict[str, bytes]) -> None:
    """A file cannot be put back, because a directory is at its path."""
    host.close()
    (host.root / PROJECT).unlink()
    (host.root / PROJECT).mkdir()
    first = host.run("cutover", "back-out", "--yes", "-o", "text")
    between = configured(host)
    (host.root / PROJECT).rmdir()
    (host.root / CANONICAL).write_bytes(newer := b"of Omni's scanner, since the first back-out")
    second = host.run("cutover", "back-out", "--yes")
    third = host.run("cutover", "back-out", "--yes")

    assert first.returncode == 1, first.stderr
    assert f"cannot write {host.root / PROJECT}: Is a directory - `mv " in " ".join(first.stdout.split())
    assert "`omnicdc cutover back-out` again: it puts back the others" in first.stdout
    assert "\nshadow: " in between
    assert second.returncode == 0, second.stderr
    assert json.loads(second.stdout)["restored"] == [PROJECT]
    assert files(host) == by_omni | {CANONICAL: newer}
    assert third.returncode == 2
    assert "`shadow` is on already, and " in third.stderr
    assert configured(host) == between


def test_back_out_without_a_daemon(host: Host, by_omni: dict[str, bytes]) -> None:
    host.close()
    [*attributes] = [as_omni_left_it(host.root / it) for it in OMNIS]
    done = host.run("cutover", "back-out", "--yes")
    text = json.loads(done.stdout)["note"]
    back = files(host)
    daemon = host.daemon()
    host_after = files(host)

    assert done.returncode == 0, done.stderr
    assert text == "no daemon runs: it reads the setting `shadow` when it starts - `systemctl start omnicdc`"
    assert back == host_after == by_omni
    assert [as_omni_left_it(host.root / it) for it in OMNIS] != attributes
    assert daemon.process.poll() is None


def test_back_out_while_cmp_does_not_answer(host: Host, by_omni: dict[str, bytes]) -> None:
    """The daemon has taken the configuration. It waits for CMP, and writes nothing below the root."""
    file = host.root.with_name("omnicdc.yaml")
    host.close()
    host.starting(OMNICDC_DSN="host=127.0.0.1 port=1 dbname=cmp user=nobody").wait_for("database_unavailable")
    done = host.run("cutover", "back-out", "--yes", "--timeout", "60")

    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["note"].startswith("the daemon waits: host=127.0.0.1 port=1 ")
    assert files(host) == by_omni
    assert "\nshadow: " in file.read_text()


def test_a_full_disk_refuses_back_out_and_switch_before_anything_changes(
    cmp: Cmp, host: Host, cleanup: ExitStack
) -> None:
    """And a second attempt, with room, succeeds."""
    mount_tmpfs(cleanup, host.root)
    cleanup.callback(host.close)
    begin_trial(cmp, host)
    before, trial = files(host), configured(host)
    with filled(host.root):
        switch = host.run("cutover", "switch", "--yes")
    unchanged = (files(host), configured(host))
    kept = (host.state / "cutover").exists()
    switched = host.run("cutover", "switch", "--yes")
    served, settings = files(host), configured(host)
    with filled(host.root):
        back_out = host.run("cutover", "back-out", "--yes")
    still = (files(host), configured(host))
    done = host.run("cutover", "back-out", "--yes")

    assert (switch.returncode, kept) == (2, False)
    assert f"`df -h {host.root}`" in switch.stderr
    assert unchanged == (before, trial)
    assert switched.returncode == 0, switched.stderr
    assert back_out.returncode == 2
    assert f"`df -h {host.root}`" in back_out.stderr
    assert still == (served, settings)
    assert done.returncode == 0, done.stderr
    assert files(host) == before


@pytest.mark.usefixtures("by_omni")
def test_a_daemon_that_hangs_is_named_and_a_change_that_stays_is_no_refusal(host: Host) -> None:
    """The second time, the configuration file cannot be changed back."""
    before, file = configured(host), host.root.with_name("omnicdc.yaml")
    serving = holder_of(host.root)
    assert serving
    command = [COMMAND, "cutover", "back-out", "--yes", "--timeout", "2"]
    os.kill(serving, signal.SIGSTOP)
    try:
        refused = host.run(*command[1:])
        unchanged = configured(host)
        with process(command, host.env) as running:
            until(lambda: configured(host) != before, "the setting is changed")
            file.unlink()
            file.mkdir()
            _, error = running.communicate()
    finally:
        os.kill(serving, signal.SIGCONT)

    assert (refused.returncode, unchanged) == (2, before)
    assert f"process {serving} did not report within 2 s" in refused.stderr
    assert "`systemctl stop omnicdc`, then `omnicdc cutover back-out`" in refused.stderr
    assert running.returncode == 1
    assert f"{file} is changed, and could not be changed back: " in error
