"""`omnicdc config`: each setting with its origin, without passwords; and names that are almost right."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from support.host import Host

SECRET = "Kanari"


def test_each_setting_is_shown_with_its_origin_and_without_passwords(host: Host, tmp_path: Path) -> None:
    file = tmp_path / "omnicdc.yaml"
    file.write_text(
        f"keep_bytes: 1536MiB\nretention: 48h\nsweep_s: 90s\ndsn: postgresql://u:{SECRET}%2F@h/db\n"
        f"on_publish: [curl, --silent, -o, /tmp/answer, --token, {SECRET.lower()}, '--oauth={SECRET}', "
        f"-H, 'X-Key: {SECRET}', 'https://hooks.example.org/{SECRET}']\n"
        "registries:\n- {name: teams, path: teams.json, format: json, query: select id from projects}\n"
    )
    env = {"OMNICDC_CONFIG": str(file), "OMNICDC_DSN": "", "PGPASSWORD": SECRET, "PGHOST": "pg"}
    env |= {"OMNICDC_REGISTRY_TOKEN": SECRET, "OMNICDC_OTHER": SECRET}

    found = host.ask("config", "show", "--changed", **env)
    done = host.run("config", "show", "-o", "text", "--state-dir", str(tmp_path), **env)

    settings = found["settings"]
    assert settings["retention"] == {"value": "2d", "origin": f"{file}:2", "default": False}
    assert settings["dsn"]["value"] == "user=u password=*** dbname=db host=h"
    assert settings["root"]["origin"] == "OMNICDC_ROOT"
    assert "guard_min" not in settings
    assert found["registries"][0]["origin"] == f"{file}:7"
    assert "1536MiB" in done.stdout
    assert found["variables"]["PGPASSWORD"] == "***"
    assert found["variables"]["OMNICDC_OTHER"] == "***"
    assert settings["on_publish"]["value"] == [
        "curl", "--silent", "-o", "/tmp/answer", "--token", "***", "--oauth=***", "-H", "***", "***"
    ]  # fmt: skip
    assert found["connection"]["database"].startswith("host=h")
    assert "--state-dir" in done.stdout
    assert "1m" not in done.stdout.split("sweep_s")[1].split("\n")[0]
    assert "90s" in done.stdout
    assert SECRET.lower() not in (str(found) + done.stdout).lower()


def test_config_alone_shows_and_config_check_reads_a_file(host: Host, tmp_path: Path) -> None:
    file = tmp_path / "new.yaml"
    file.write_text("tabel: x\n")

    checked = host.run("config", "check", str(file), "--offline")

    assert host.ask("config", "check", "--offline") == host.ask("check-config", "--offline")
    assert '"settings"' in host.run("config").stdout
    assert (checked.returncode, checked.stderr) == (
        2,
        f"omnicdc: {file}:1: no such setting as tabel, did you mean tables?\n",
    )


def test_config_alone_takes_the_options_of_show(host: Host, tmp_path: Path) -> None:
    directory = tmp_path / ("a-directory-with-a-name-as-long-as-a-line-" + "x" * 40)
    directory.mkdir()
    file = directory / "omnicdc.yaml"
    file.write_text(f"retention: 48h\nroot: {directory}\n")
    env = {"OMNICDC_CONFIG": str(file), "OMNICDC_ROOT": "", "COLUMNS": "80"}

    text = host.run("config", "-o", "text", **env).stdout

    assert host.ask("config", "--changed", **env) == host.ask("config", "show", "--changed", **env)
    assert (
        host.run("config", "-o", "wide", **env).stdout
        == host.run("config", "show", "-o", "wide", **env).stdout
    )
    assert text == host.run("config", "show", "-o", "text", **env).stdout
    assert f"    {directory}\n" in text  # on a line of its own, and whole
    assert f"{file}:2\n" in text
    refused = host.run("config", "--changed", "check", **env)
    assert (refused.returncode, refused.stderr) == (
        2,
        "omnicdc: --changed belongs behind `omnicdc config check` - see `omnicdc config --help`\n",
    )


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (["stauts"], "No such command 'stauts', did you mean status?"),
        (["consumer", "forgte", "x"], "No such command 'forgte', did you mean forget?"),
        (["frobnicate"], "No such command 'frobnicate' - see"),
        (["status", "--jsn"], "--json"),
    ],
)
def test_a_command_that_is_almost_right_gets_a_suggestion(
    host: Host, given: list[str], expected: str
) -> None:
    done = host.run(*given)

    assert done.returncode == 2
    assert expected in done.stderr


@pytest.mark.parametrize("command", [["config", "check", "--offline"], ["install", "--print"], ["run"]])
def test_a_source_that_is_misspelt_in_tables_is_a_fault(
    host: Host, tmp_path: Path, command: list[str]
) -> None:
    """Otherwise the table of the right name would be looked up, and the wrong one followed."""
    file = tmp_path / "omnicdc.yaml"
    file.write_text("retention: 2d\ntables: {project: cmp.projects}\n")

    done = host.run(*command, OMNICDC_CONFIG=str(file))

    fault = f"{file}:2: no registry reads a source project, did you mean projects?"
    assert (done.returncode, done.stderr) == (2, f"omnicdc: {fault}\n")


@pytest.mark.parametrize("text", ["", "# root: /srv\n\n", "root:\n"])
def test_a_file_that_sets_nothing_is_reported_with_what_is_in_force(
    host: Host, tmp_path: Path, text: str
) -> None:
    file = tmp_path / "empty.yaml"
    file.write_text(text)
    env = {"OMNICDC_CONFIG": str(file), "OMNICDC_ROOT": ""}
    note = f"{file} sets nothing: flags, variables and defaults are in force"

    shown = host.run("config", "-o", "wide", **env)
    run = host.run("run", "--once", **env)
    doctor = host.run("doctor", "configuration", "-o", "wide", **env)
    status = host.run("status", **env, OMNICDC_DSN="", PGHOST="/nowhere")

    assert shown.stdout.startswith(f"file: {note}\n")
    assert f"no infrastructure root is configured: {note} - " in run.stderr
    assert note in doctor.stdout
    assert f"database from PG* ({note})" in status.stderr


@pytest.mark.parametrize(
    "text",
    [
        f"on_publish: curl -H X-Token:{SECRET}\n",
        "registries: [{name: a, path: a.json, format: json, query: select id from t, check: b X}]\n".replace(
            "X", SECRET
        ),
    ],
)
def test_a_command_that_is_one_text_is_a_fault_and_is_not_shown(
    host: Host, tmp_path: Path, text: str
) -> None:
    """Regression: it was taken as a program's name, and shown with its arguments when it could not be run."""
    file = tmp_path / "omnicdc.yaml"
    file.write_text(text)

    done = host.run("config", "check", str(file), "--offline")

    fault = "a list expected, found one text with blanks: [PROGRAM, ARGUMENT, ...]"
    assert (done.returncode, SECRET in done.stderr, fault in done.stderr) == (2, False, True)
