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
        f"retention: 48h\nsweep_s: 90s\ndsn: postgresql://u:{SECRET}%2F@h/db\n"
        f"on_publish: [curl, --silent, -o, /tmp/answer, --token, {SECRET.lower()}, '--oauth={SECRET}', "
        f"-H, 'X-Key: {SECRET}', 'https://hooks.example.org/{SECRET}']\n"
        "registries:\n- {name: teams, path: teams.json, format: json, query: select id from projects}\n"
    )
    env = {"OMNICDC_CONFIG": str(file), "OMNICDC_DSN": "", "PGPASSWORD": SECRET, "PGHOST": "pg"}
    env |= {"OMNICDC_REGISTRY_TOKEN": SECRET, "OMNICDC_OTHER": SECRET}

    found = host.ask("config", "show", "--changed", **env)
    done = host.run("config", "show", "-o", "text", "--state-dir", str(tmp_path), **env)

    settings = found["settings"]
    assert settings["retention"] == {"value": "2d", "origin": f"{file}:1", "default": False}
    assert settings["dsn"]["value"] == "user=u password=*** dbname=db host=h"
    assert settings["root"]["origin"] == "OMNICDC_ROOT"
    assert "guard_min" not in settings
    assert found["registries"][0]["origin"] == f"{file}:6"
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
