"""`omnicdc reload`: whether the daemon took the new configuration."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from typing import TYPE_CHECKING

import pytest
from support.host import until

if TYPE_CHECKING:
    from pathlib import Path

    from support.cmp import Cmp
    from support.host import Host


LONG_PATH = f"""registries:
  - name: long
    path: {"x" * 201}/a.csv
    query: select id, name from projects
    format: csv"""


@pytest.fixture
def file(host: Host) -> Path:
    """The configuration file of the host."""
    path = host.root.parent / "omnicdc.yaml"
    del host.env["OMNICDC_ROOT"]
    host.env["OMNICDC_CONFIG"] = str(path)
    path.write_text(f"root: {host.root}\n")
    return path


@pytest.mark.usefixtures("cmp")
def test_the_command_returns_when_the_new_configuration_is_in_force(host: Host, file: Path) -> None:
    daemon = host.daemon()
    file.write_text(f"root: {host.root}\npoll_s: 4\n")

    found = host.run("reload")
    again = host.run("reload", "--pid", str(daemon.process.pid))

    assert found.returncode == 0, found.stderr
    assert json.loads(found.stdout) == {
        "pid": daemon.process.pid, "number": 1, "state": "in_force", "error": "", "hint": ""
    }  # fmt: skip
    assert json.loads(again.stdout)["number"] == 2
    assert [it["event"] for it in daemon.events].count("reloaded") == 2


@pytest.mark.usefixtures("cmp")
def test_a_process_that_is_no_daemon_gets_no_signal(host: Host, file: Path) -> None:
    """Regression: a stale process id ended a process of somebody else."""
    host.daemon()
    with subprocess.Popen(["sleep", "60"]) as other:
        found = host.run("reload", "--pid", str(other.pid), "--timeout", "1")
        still_there = other.poll() is None
        other.kill()

    assert (found.returncode, still_there) == (2, True)
    assert f"process {other.pid} is no omnicdc daemon - " in found.stderr
    assert file.exists()


@pytest.mark.usefixtures("cmp")
def test_a_fault_in_the_file_is_reported_before_the_daemon_is_signalled(host: Host, file: Path) -> None:
    daemon = host.daemon()
    file.write_text(f"root: {host.root}\npol_s: 4\n")

    found = host.run("reload")

    assert found.returncode == 2
    assert f"{file}:2" in found.stderr
    assert "poll_s" in found.stderr
    assert "reload_failed" not in [it["event"] for it in daemon.events]


@pytest.mark.usefixtures("cmp")
@pytest.mark.parametrize("fault", ["root: {root}/nowhere\n", "# root: {root}\n"])
def test_a_configuration_that_the_daemon_does_not_take_is_refused(host: Host, file: Path, fault: str) -> None:
    """The file is valid, but its root does not exist; or the file has lost its settings."""
    daemon = host.daemon()
    file.write_text(fault.format(root=host.root))

    words = ["reload", "-o", "text", "--pid", str(daemon.process.pid), "--root", str(host.root)]
    found = host.run(*words, COLUMNS="1000")  # not folded

    assert found.returncode == 1, found.stdout + found.stderr
    assert found.stdout.startswith("refused: the configuration from before stays in force: ")
    assert daemon.wait_for("reload_failed")["error"] in found.stdout


def test_a_valid_configuration_that_waits_for_the_database_is_not_yet_in_force(
    cmp: Cmp, host: Host, file: Path, tmp_path: Path
) -> None:
    del host.env["OMNICDC_DSN"]
    file.write_text(f"root: {host.root}\ndsn: {cmp.dsn}\n")
    host.daemon()
    file.write_text(f"root: {host.root}\ndsn: host={tmp_path} dbname=cms_db\n")

    waiting = host.run("reload", "-o", "text", "--timeout", "1")
    file.write_text(f"root: {host.root}\ndsn: {cmp.dsn}\n")
    back = host.run("reload", "-o", "text")

    assert waiting.returncode == 3, waiting.stdout + waiting.stderr
    assert waiting.stdout.startswith("the new configuration is valid, and nothing was published with it yet")
    assert back.returncode == 0, back.stdout + back.stderr
    assert back.stdout == "the new configuration is in force\n"


def test_the_message_says_that_there_is_no_daemon(host: Host, file: Path) -> None:
    nobody = host.run("reload", "--timeout", "1")
    child = os.posix_spawn("/bin/true", ["true"], {})
    os.waitpid(child, 0)
    gone = host.run("reload", "--pid", str(child))

    assert file.exists()
    assert (nobody.returncode, gone.returncode) == (2, 2)
    assert f"no daemon publishes below {host.root} on this host - `systemctl start omnicdc`" in nobody.stderr
    assert f"there is no process {child}" in gone.stderr


def test_a_process_that_does_not_answer_is_reported(host: Host, file: Path) -> None:
    command = ["sh", "-c", "trap '' HUP; read line", "omnicdc"]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as child:
        found = host.run("reload", "--pid", str(child.pid), "--timeout", "1")
        child.kill()

    assert file.exists()
    assert found.returncode == 2
    assert f"process {child.pid} did not report within 1 s" in found.stderr


@pytest.mark.parametrize(
    ("fault", "why"),
    [
        ("tables: {projects: a.b.c}", "not a table's name (NAME or SCHEMA.NAME): a.b.c"),
        (f"tables: {{projects: {'x' * 64}}}", "not a table's name (at most 63 characters): x"),
        ("tables: {projects: ''}", "projects needs a table: "),
        ("dsn: host=localhost port=65536", "the port is not a number from 1 to 65535"),
        (LONG_PATH, "a path whose parts have at most 200 bytes expected"),
    ],
)
def test_every_command_refuses_what_can_never_be(
    cmp: Cmp, host: Host, file: Path, fault: str, why: str
) -> None:
    """Regression: the daemon took the name of a table that can be none, and served no more."""
    del host.env["OMNICDC_DSN"]
    valid = f"dsn: {cmp.dsn}\nroot: {host.root}\n"
    file.write_text(valid)
    daemon = host.daemon()
    file.write_text(f"root: {host.root}\n{fault}\n")

    commands = (["reload"], ["config", "check"], ["run", "--once"])
    found = [host.run(*words, COLUMNS="1000") for words in commands]
    daemon.process.send_signal(signal.SIGHUP)
    refused = daemon.wait_for("reload_failed")

    for each in (*[it.stderr for it in found], refused["error"]):
        assert f"{file}:2" in each or f"{file}:4" in each
        assert why in each
    assert [it.returncode for it in found] == [2, 2, 2]
    file.write_text(valid)
    until(lambda: host.run("status").returncode == 0, "the daemon serves")


@pytest.mark.parametrize("dsn", ["{dsn} sslmode=bogus", "{dsn} dbname=template1", "service=nowhere"])
def test_the_daemon_goes_back_if_it_can_never_connect(cmp: Cmp, host: Host, file: Path, dsn: str) -> None:
    """Regression: it served no more, although the configuration from before could."""
    del host.env["OMNICDC_DSN"]
    file.write_text(f"root: {host.root}\ndsn: {cmp.dsn}\n")
    host.daemon()
    file.write_text(f"root: {host.root}\ndsn: {dsn.format(dsn=cmp.dsn)}\n")

    found = host.run("reload", "-o", "text", COLUMNS="1000")
    file.write_text(f"root: {host.root}\ndsn: {cmp.dsn}\n")
    cmp.upsert("apollo")

    assert found.returncode == 1, found.stdout + found.stderr
    assert found.stdout.startswith("refused: the configuration from before stays in force: ")
    assert cmp.arrived().arrived
