"""The command `omnicdc` as programs use it.

Help, exit statuses, the keys of the JSON answers (docs/cli.md), and a stdout that cannot be written.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from support.evidence import every
from support.host import COMMAND
from support.session import publish
from support.sessions import People

from omnicdc.cli import COMMANDS

if TYPE_CHECKING:
    from support.cmp import Cmp
    from support.host import Host

SLOW = ("psycopg", "pglast", "structlog", "ruamel.yaml", "rich", "orjson")
HELP = f"""
import sys
from omnicdc.cli import omnicdc
omnicdc(["--help"], standalone_mode=False)
print("imported:", *(name for name in {SLOW} if name in sys.modules))
"""


def test_help_names_every_command_and_imports_no_slow_library(host: Host) -> None:
    done = subprocess.run(
        [sys.executable, "-c", HELP], env=host.env, capture_output=True, text=True, check=True
    )
    commands = [
        line.split()[0]
        for line in done.stdout.partition("Commands:\n")[2].splitlines()
        if line.startswith("  ")
    ]

    assert commands[: len(COMMANDS)] == list(COMMANDS)
    assert done.stdout.endswith("imported:\n")


def test_verify_imports_no_library_for_logs_and_tables(host: Host) -> None:
    """Regression: the library for logs was imported, which took a quarter of the time of `verify`."""
    code = "import sys, omnicdc.verify; print({'structlog', 'rich', 'pglast'} & sys.modules.keys())"
    done = subprocess.run(
        [sys.executable, "-c", code], env=host.env, capture_output=True, text=True, check=True
    )

    assert done.stdout == "set()\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["instal"], "No such command 'instal'"),
        (["wait", "--token", "1", "--project", "atlas"], "--token and --project exclude each other"),
        (
            ["verify", "--all", "7d1a3c52-6f0e-4f55-9d37-2f1f4a1f0a11"],
            "give the UUID of a project or agent, or --all",
        ),
    ],
)
def test_contradictory_arguments_are_refused_before_any_query(
    host: Host, arguments: list[str], message: str
) -> None:
    done = host.run(*arguments, OMNICDC_DSN="host=192.0.2.1")

    assert (done.returncode, done.stdout) == (2, "")
    assert message in done.stderr


def test_install_and_uninstall_report_what_they_did(bare: Cmp, host: Host) -> None:
    """The answers are as documented. To repeat either command is harmless."""
    host.env["OMNICDC_DSN"] = bare.dsn
    installed = [host.ask("install") for _ in range(2)]
    fault_before = host.ask("status")["capture"]["fault"]
    unconfirmed = host.run("uninstall")
    fault_after = host.ask("status")["capture"]["fault"]
    uninstalled = [host.ask("uninstall", "--yes") for _ in range(2)]

    assert [answer.pop("changed") for answer in installed] == [True, False]
    assert installed[0] == installed[1]
    assert installed[0].keys() == {"installed", "sources", "lacking", "writers_recorded"}
    assert fault_before is fault_after is None
    assert (unconfirmed.returncode, unconfirmed.stdout, unconfirmed.stderr.count("\n")) == (2, "", 1)
    assert "--yes" in unconfirmed.stderr
    assert uninstalled == [{"installed": False}] * 2
    assert host.run("status").returncode == 2


def test_the_printed_script_needs_no_server(host: Host) -> None:
    """tests/capture/test_install.py shows that psql accepts the script."""
    done = host.run(
        "install", "--print", OMNICDC_TABLES="projects=cmp.projects", OMNICDC_DSN="host=192.0.2.1"
    )

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("-- Run with: psql --single-transaction")
    assert '"cmp"."projects"' in done.stdout


def test_a_rebuild_that_is_held_names_the_command_that_releases_it(cmp: Cmp, host: Host) -> None:
    for number in range(20):
        cmp.upsert(f"p{number}")
    host.daemon()
    cmp.arrived()
    cmp.conn.execute("delete from projects")

    done = host.run("rebuild", "-o", "text")

    assert done.returncode == 1
    assert "`omnicdc accept`" in done.stdout


@pytest.mark.parametrize(
    "command",
    [["verify", "--all"], ["verify", "7d1a3c52-6f0e-4f55-9d37-2f1f4a1f0a11"], ["rebuild", "--dry-run"]],
)
def test_without_an_installation_the_remedy_is_to_install(bare: Cmp, host: Host, command: list[str]) -> None:
    """Regression: it was to grant a role that does not exist yet."""
    login = People(bare)
    try:
        done = host.run(*command, OMNICDC_DSN=login.dsn(login.add()))
    finally:
        login.close()

    assert done.returncode == 2
    assert done.stderr.startswith(f"omnicdc: omnicdc is not installed in database {bare.conn.info.dbname} - ")


def test_a_dry_run_reports_what_a_rebuild_would_do(cmp: Cmp, host: Host) -> None:
    """P7: a dry run writes nothing and needs no daemon."""
    cmp.upsert("atlas")
    publish(host)
    cmp.conn.execute("update projects set status = 'frozen'")
    before = host.stats()

    done = host.run("rebuild", "--dry-run")
    answer = json.loads(done.stdout)

    assert done.returncode == 1
    assert (answer["success"], answer["dry_run"]) == (True, True)
    assert answer["results"] == {"cmp_projects": "rewritten", "project": "rewritten", "git": "unchanged"}
    assert answer["registries_updated"] == ["canonical_projects_uuids.json", "PROJECT_REGISTRY_V1.yaml"]
    assert host.rewritten(before) == set()


@pytest.mark.parametrize(
    "arguments", every(2, [["status"], ["install", "--print"], ["status", "--help"], ["--version"]])
)
def test_an_answer_that_cannot_be_written_fails_with_one_line(host: Host, arguments: list[str]) -> None:
    """Regression: the command ended with Python's own exit status (120), or with a traceback."""
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [COMMAND, *arguments], env=host.env, stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )

    assert done.returncode == 2
    assert done.stderr == (
        "omnicdc: the answer cannot be written: No space left on device - look where stdout leads\n"
    )


@pytest.mark.parametrize("arguments", [["bogus"], ["status", "--bogus"], ["consumer", "forget"]])
def test_wrong_usage_ends_with_2_though_stderr_is_full(host: Host, arguments: list[str]) -> None:
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run([COMMAND, *arguments], env=host.env, stderr=full, check=False)

    assert done.returncode == 2


@pytest.mark.parametrize("end", every(2, ["| true; exit ${PIPESTATUS[0]}", ">&-", "<&- >&- 2>&-"]))
def test_a_closed_stream_does_not_change_the_exit_status(host: Host, end: str) -> None:
    """The exit status of `status` is 1, as no consumer ever ran here. No message is about the pipe."""
    done = bash(host, f"{COMMAND} status {end}")

    assert (done.returncode, done.stdout, done.stderr) == (1, "", "")


@pytest.mark.parametrize("command", every(3, ["install --print", "status --help", "--help"]))
def test_a_reader_that_closes_the_pipe_early_is_no_error(host: Host, command: str) -> None:
    """Regression: the exit status was 1, which means that a check failed."""
    done = bash(host, f"{COMMAND} {command} | true; exit ${{PIPESTATUS[0]}}")

    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_a_command_without_stderr_works(cmp: Cmp, host: Host) -> None:
    """Regression: the command ended with exit status 1, and could not report why."""
    cmp.upsert("atlas")
    once, failed = (
        bash(host, f"{COMMAND} {command} 2>&-") for command in ("run --once", "run --root /nonexistent")
    )

    assert (once.returncode, json.loads(once.stdout)["generation"]) == (0, 1)
    assert len(host.canonical()) == 1
    assert failed.returncode == 2


def test_the_demo_without_stdout_reports_what_is_wrong(host: Host, tmp_path: Path) -> None:
    """Regression: the demo ended with a traceback."""
    deep = tmp_path / ("d" * 80)
    deep.mkdir()

    done = bash(host, f"TMPDIR={deep} {COMMAND} demo >&-")

    assert done.returncode == 2
    assert done.stderr.startswith(f"omnicdc: the path {deep} is too long for PostgreSQL's socket")


def bash(host: Host, line: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["bash", "-c", line], env=host.env, capture_output=True, text=True, check=False)
