"""A user's mistake is reported in one line with its remedy, exit status 2, and no traceback."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    import subprocess
    from pathlib import Path

    from support.cmp import Cmp
    from support.host import Host


def _refusal(done: subprocess.CompletedProcess[str]) -> str:
    """Assert that a command was refused with one line, and return that line."""
    assert done.returncode == 2, (done.stdout, done.stderr)
    assert done.stdout == ""
    lines = [line for line in done.stderr.splitlines() if not line.startswith("{")]
    assert len(lines) == 1, done.stderr
    assert "Traceback" not in done.stderr
    assert lines[0].startswith("omnicdc: ")
    return lines[0]


@pytest.mark.parametrize(
    "command", [["run", "--once"], ["run"], ["status"], ["wait"], ["install"], ["uninstall", "--yes"]]
)
@pytest.mark.parametrize(
    ("dsn", "message"),
    [
        ("host=localhost port=what", "port"),
        ("postgresql://%", ""),
        ("this is no dsn", ""),
    ],
)
def test_a_dsn_that_does_not_parse_is_refused(host: Host, command: list[str], dsn: str, message: str) -> None:
    assert message in _refusal(host.run(*command, OMNICDC_DSN=dsn))


@pytest.mark.parametrize("command", [["run", "--once"], ["run"], ["status"], ["wait"], ["install"]])
def test_a_missing_database_is_named(cmp: Cmp, host: Host, command: list[str]) -> None:
    dsn = re.sub(r"dbname=\S+", "dbname=nowhere", cmp.dsn)

    line = _refusal(host.run(*command, OMNICDC_DSN=dsn))

    assert "nowhere" in line
    assert "OMNICDC_DSN" in line


@pytest.mark.parametrize("command", [["run", "--once"], ["status"], ["wait"], ["install"]])
def test_an_unreachable_server_is_named(host: Host, tmp_path: Path, command: list[str]) -> None:
    line = _refusal(host.run(*command, OMNICDC_DSN=f"host={tmp_path} port=5999 dbname=x"))

    assert str(tmp_path) in line
    assert "is the server up?" in line


def test_the_password_is_never_shown(host: Host) -> None:
    done = host.run("status", OMNICDC_DSN="postgresql://me:hunter2@127.0.0.1:1/x")

    assert "hunter2" not in done.stderr + done.stdout
    assert "127.0.0.1" in _refusal(done)


@pytest.mark.parametrize("command", [["run", "--once"], ["run"], ["status"], ["wait"]])
def test_without_the_schema_the_message_names_install(bare: Cmp, host: Host, command: list[str]) -> None:
    assert "omnicdc install" in _refusal(host.run(*command, OMNICDC_DSN=bare.dsn))


@pytest.mark.parametrize("version", [0, 99])
def test_for_another_schema_version_the_message_names_the_command(cmp: Cmp, host: Host, version: int) -> None:
    cmp.conn.execute("delete from omnicdc.migration")
    if version:
        cmp.conn.execute(
            "insert into omnicdc.migration (version, name) values (%s, 'of tomorrow')", [version]
        )

    line = _refusal(host.run("run"))

    assert ("pip install --upgrade omnicdc" if version else "omnicdc install") in line


def test_a_missing_table_is_named(cmp: Cmp, host: Host) -> None:
    cmp.conn.execute("drop table projects")

    assert "projects does not exist" in _refusal(host.run("run"))


def test_installing_on_a_missing_table_names_it(bare: Cmp, host: Host) -> None:
    line = _refusal(host.run("install", OMNICDC_TABLES="projects=nowhere", OMNICDC_DSN=bare.dsn))

    assert "nowhere" in line
    assert "`tables:" in line


def test_installing_on_a_table_without_the_columns_names_them(bare: Cmp, host: Host) -> None:
    bare.conn.execute("alter table projects drop column metadata_, drop column status")

    assert "metadata_, status" in _refusal(host.run("install", OMNICDC_DSN=bare.dsn))


def test_a_dsn_option_that_does_not_parse_is_refused(host: Host) -> None:
    assert "not a connection string" in _refusal(host.run("status", "--dsn", "postgresql://%"))


@pytest.mark.parametrize(
    ("dsn", "remedy"),
    [
        ("nonsense", "write postgresql://USER@HOST:5432/DATABASE, or host=HOST"),
        ("postgresql:/genesis@x", "write postgresql://USER@HOST:5432/DATABASE, or host=HOST"),
        ("host=x port=abc", "the port is not a number from 1 to 65535 - write postgresql://"),
        ("postgresql://u:a/b@h/d", "in a URI, write / @ : % of a password as %2F"),
    ],
)
def test_the_remedy_of_a_dsn_fits_its_form(host: Host, dsn: str, remedy: str) -> None:
    assert remedy in _refusal(host.run("status", "--dsn", dsn))


def test_a_port_of_cmp_that_is_no_number_is_shown_as_it_should_be(host: Host) -> None:
    line = _refusal(host.run("status", OMNICDC_DSN="", CMP_DB_HOST="h", CMP_DB_PORT="abc"))

    assert "the port is not a number from 1 to 65535 - for example CMP_DB_PORT=5432" in line


def test_a_table_that_is_not_watched_is_named(cmp: Cmp, host: Host) -> None:
    cmp.conn.execute("create table others (like projects)")

    line = _refusal(host.run("run", OMNICDC_TABLES="projects=others"))

    assert "table public.others is not watched, public.projects is" in line
    assert "`tables: {projects: public.others}`" in line


def test_if_no_table_is_watched_the_message_names_install(cmp: Cmp, host: Host) -> None:
    """Regression: the message was that the table None is watched."""
    cmp.conn.execute("delete from omnicdc.source")

    assert _refusal(host.run("run")) == "omnicdc: no table is watched - run `omnicdc install`"


@pytest.mark.parametrize("command", [["status"], ["wait"]])
def test_if_a_function_is_missing_the_message_names_install(cmp: Cmp, host: Host, command: list[str]) -> None:
    cmp.conn.execute("drop function omnicdc.capture_fault()")

    line = _refusal(host.run(*command))

    assert "capture_fault() does not exist" in line
    assert line.endswith("run `omnicdc install`")


def test_if_no_root_is_set_the_message_names_the_option(host: Host) -> None:
    del host.env["OMNICDC_ROOT"]

    assert "--root" in _refusal(host.run("run"))


def test_a_missing_root_is_named(host: Host, tmp_path: Path) -> None:
    line = _refusal(host.run("run", "--root", str(tmp_path / "nowhere")))

    assert "nowhere" in line
    assert "mkdir -p" in line


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_an_unwritable_root_is_named(host: Host) -> None:
    host.root.chmod(0o500)

    assert str(host.root) in _refusal(host.run("run"))


def test_a_root_whose_registry_is_a_file_is_named(host: Host) -> None:
    (host.root / "governance").write_text("in the way")

    assert "governance" in _refusal(host.run("run"))


def test_a_second_daemon_on_the_same_root_reports_the_pid_of_the_first(host: Host) -> None:
    first = host.daemon()

    line = _refusal(host.run("run", OMNICDC_CONSUMER="another"))

    assert str(first.process.pid) in line


def test_a_second_daemon_of_the_same_name_is_refused(host: Host, tmp_path: Path) -> None:
    host.daemon()
    (tmp_path / "another").mkdir()

    line = _refusal(
        host.run("run", "--root", str(tmp_path / "another"), "--state-dir", str(tmp_path / "state"))
    )

    assert "--consumer" in line


def test_configuration_faults_are_reported_with_their_lines(host: Host, tmp_path: Path) -> None:
    file = tmp_path / "omnicdc.yaml"
    file.write_text("root: /srv\ntabel: projects\nsweep_s: soon\n")

    done = host.run("run", "--config", str(file))

    lines = done.stderr.splitlines()
    assert done.returncode == 2
    assert len(lines) == 2
    assert f"{file}:2: " in lines[0]
    assert "did you mean tables?" in lines[0].replace("`", "").replace("'", "")
    assert f"{file}:3: " in lines[1]


def test_a_missing_configuration_file_is_named(host: Host, tmp_path: Path) -> None:
    assert "nowhere.yaml" in _refusal(host.run("run", "--config", str(tmp_path / "nowhere.yaml")))


def test_an_unknown_token_is_refused(host: Host) -> None:
    assert "hello" in _refusal(host.run("wait", "--token", "hello"))
    assert "999999999999" in _refusal(host.run("wait", "--token", "999999999999"))


def test_wait_refuses_a_project_that_is_not_in_cmp(host: Host) -> None:
    assert "'nobody'" in _refusal(host.run("wait", "--project", "nobody", "--timeout", "60"))


@pytest.mark.parametrize(
    ("command", "where"),
    [
        (["run", "--once", "--consumer", "\udcff"], "--consumer"),
        (["status", "--dsn=host=cmp password=\udcff"], "--dsn"),
        (["wait", "--project", "\udcff"], "--project"),
        (["install", "--print", "--allow-publication", "\udcff"], "--allow-publication"),
        (["verify", "\udcff"], "an argument"),
    ],
)
def test_an_argument_that_is_not_utf_8_is_refused(host: Host, command: list[str], where: str) -> None:
    """Regression: the driver raised, with a traceback."""
    assert (
        _refusal(host.run(*command))
        == f"omnicdc: {where}: not UTF-8 - write it in UTF-8, whatever the locale"
    )


@pytest.mark.parametrize(
    ("env", "message"),
    [
        ({"OMNICDC_DSN": f"host={'a' * 64}.example dbname=x"}, "no host can have such a name"),
        ({"PGAPPNAME": "\udcff"}, "PGAPPNAME: text in UTF-8 expected"),
        ({"HOME": "\udcff"}, "HOME: text in UTF-8 expected"),
        ({"OMNICDC_DSN": "", "CMP_DB_NAME": "\udcff"}, "CMP_DB_NAME: text in UTF-8 expected"),
    ],
)
def test_an_unusable_connection_setting_is_refused(host: Host, env: dict[str, str], message: str) -> None:
    """Regression: Python's encoding of host names or the driver raised, with a traceback."""
    assert message in _refusal(host.run("run", "--once", **env))


def test_a_root_whose_name_is_too_long_is_refused(host: Host) -> None:
    """Regression: `run --once` retried for ever, although no retry could succeed."""
    line = _refusal(host.run("run", "--once", "--root", "/" + "d" * 300))

    assert "File name too long - name a root with a shorter path" in line
