"""`omnicdc doctor` as users see it: on a terminal, on a pipe, as other users, and with --fix."""

from __future__ import annotations

import json
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest
from support.estate import Estate
from support.host import COMMAND
from support.other_user import user_without_rights
from support.terminal import GREEN, on_a_terminal

from omnicdc.answers.doctor import checks
from omnicdc.answers.doctor.finding import Finding, Result
from omnicdc.cli import doctor
from omnicdc.filesystem.atomic import REGISTRY

if TYPE_CHECKING:
    from support.cmp import Cmp
    from support.host import Host
    from support.sessions import People


@pytest.fixture
def estate(cmp: Cmp, host: Host, people: People) -> Estate:
    return Estate(cmp, host, people)


def test_the_groups_of_the_help_are_those_of_the_checks() -> None:
    assert doctor.GROUPS == checks.GROUPS


def test_a_served_estate_is_healthy_for_the_daemon_and_after_its_end_the_daemon_is_the_fault(
    estate: Estate,
) -> None:
    """The alias `check` is the same. A client without files is healthy as well; what it lacks is skipped."""
    host = estate.host
    as_daemon = {"OMNICDC_DSN": estate.people.dsn(estate.daemon_role)}
    daemon = host.daemon(**as_daemon)
    estate.cmp.arrived()
    terminal = on_a_terminal([COMMAND, "check"], host.env | as_daemon, columns=80)
    genesis = host.ask("doctor", OMNICDC_ROOT="", OMNICDC_STATE_DIR="/nonexistent/state")
    daemon.kill()
    stopped = host.run("doctor", "consumers", "files", "-q", "-o", "text", **as_daemon)

    assert terminal.status == 0, terminal.text
    assert GREEN in terminal.raw
    lines = terminal.text.partition("configuration\n")[2].split("\n")  # before it, the progress is drawn
    assert all(len(line) <= 80 for line in lines if max(map(len, line.split()), default=0) < 50)
    assert terminal.line("0 failed, ")
    assert "✗" not in terminal.text
    assert "✓ doorbell" in terminal.text
    assert genesis["healthy"]
    assert genesis["role"] == estate.client_role
    assert {it["status"] for it in genesis["checks"] if it["group"] == "files"} == {"skipped"}
    assert stopped.returncode == 1
    assert stopped.stdout.startswith("consumers\n  ✗ daemons ")
    assert "systemctl start omnicdc" in stopped.stdout
    assert "✓" not in stopped.stdout


def test_the_answer_has_the_documented_keys(estate: Estate) -> None:
    report = estate.host.ask("doctor", "log", "-q")

    assert report.keys() == {"healthy", "counts", "user", "role", "checks"}
    assert report["counts"] == {"ok": 2, "warn": 0, "fail": 0, "skipped": 0}
    assert report["checks"] == []
    assert estate.host.ask("doctor", "log")["checks"][0].keys() == {
        "group", "check", "status", "seen", "remedy", "fix",
    }  # fmt: skip


def test_an_unknown_group_is_wrong_usage(host: Host) -> None:
    assert host.run("doctor", "databse").returncode == 2


def test_without_a_database_in_a_plain_locale_the_signs_are_words(host: Host) -> None:
    done = host.run(
        "doctor", "database", "-o", "text", OMNICDC_DSN="host=/nonexistent", LC_ALL="C", PYTHONUTF8="0"
    )

    assert done.returncode == 1
    assert "\n  FAIL connection " in done.stdout
    assert done.stdout.isascii()
    assert " ".join(done.stdout.split()).count("needs a connection to CMP") == 1


def test_fix_creates_directories_and_installs_after_a_question(estate: Estate) -> None:
    host = estate.host
    shutil.rmtree(host.state)
    estate.cmp.conn.execute("drop trigger omnicdc_log_row on projects")
    env = {"OMNICDC_DSN": estate.cmp.dsn}
    refused = on_a_terminal([COMMAND, "doctor", "--fix"], host.env | env, typed="n\nn\n")
    unasked = host.run("doctor", "--fix", **env)
    fixed = host.ask("doctor", "--fix", "--yes", **env)

    assert refused.status == 1
    assert not refused.text.count("done")
    assert unasked.returncode == 2
    assert "--yes" in unasked.stderr
    assert fixed["healthy"], fixed
    assert [it["done"] for it in fixed["fixed"]] == [True, True]
    assert fixed["fixed"][0]["command"] == "omnicdc install"
    assert host.state.is_dir()


def test_fix_offers_nothing_that_the_role_may_not_do_and_names_who_may(estate: Estate) -> None:
    estate.cmp.conn.execute("alter table projects disable trigger user")

    done = estate.host.run("doctor", "--fix", OMNICDC_DSN=estate.people.dsn(estate.daemon_role))

    said, login = done.stderr, f"user={estate.cmp.conn.info.user}'`"
    assert done.returncode == 1
    assert said.startswith("fix: omnicdc install\nnot tried: role ")
    assert login in said


def test_a_user_without_rights_is_told_who_could_look(estate: Estate) -> None:
    """What cannot be seen is skipped, and never counts as good.

    Regression: a home that is closed to the user, as after `sudo -u`, counted as a fault of the settings.
    """
    host = estate.host
    estate.host.state.chmod(0o700)
    (host.root / REGISTRY).chmod(0o700)
    command = user_without_rights("-m", "omnicdc", "doctor", "files", "configuration", "-o", "json")
    if not command:
        pytest.skip("needs root, which starts the command as another user")
    command["env"] |= {**host.env, "HOME": str(host.state)}
    for above in host.root.parents[:-2]:
        above.chmod(above.stat().st_mode | 0o011)
    done = subprocess.run(**command, capture_output=True, text=True, check=False)
    found = {it["check"]: it for it in json.loads(done.stdout)["checks"]}

    assert found["directories"]["status"] in ("skipped", "fail")
    assert found["lock"]["status"] == found["manifest"]["status"] == "skipped", found
    assert "ask as root" in found["lock"]["seen"]


def test_a_command_is_never_broken_and_prose_is() -> None:
    command = "`select pg_terminate_backend(4711) from pg_stat_activity where true and true and true`"
    result = Result(
        "log", "dead rows", Finding("fail", "word " * 40, f"end it, or {command} and {'more ' * 30}")
    )
    shown = [*doctor.lines(result, 80, symbols=False)]

    assert [line for line in shown if command in line]
    assert all(len(line) <= 80 for line in shown if command not in line)
