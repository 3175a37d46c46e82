"""`omnicdc support-bundle`: what a bug report needs, and nothing that is secret or private."""

from __future__ import annotations

import json
import shlex
import tarfile
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from support.host import CANONICAL

from omnicdc.answers.bundle.host import shown_unit
from omnicdc.answers.bundle.privacy import Privacy, event_shown
from omnicdc.cli import COMMANDS

if TYPE_CHECKING:
    from pathlib import Path

    from support.cmp import Cmp
    from support.host import Host

PROJECT = "Zwetschgen & Söhne"
REPOSITORY = "https://github.com/acme-hidden/garden"


def opened(file: Path) -> dict[str, str]:
    """Return the parts of a bundle, by name."""
    with tarfile.open(file) as archive:
        return {
            member.name.partition("/")[2]: read.read().decode()
            for member in archive
            if (read := archive.extractfile(member)) is not None
        }


def planted(host: Host, dsn: str, tmp_path: Path) -> dict[str, str]:
    """Return the environment of a host that has a password in every place where it may stand."""
    given = {key: value for key, value in conninfo_to_dict(dsn).items() if value is not None}
    (tmp_path / "pgpass").write_text("*:*:*:*:Kanari pgpass\\:1\n")
    (tmp_path / "pgpass").chmod(0o600)
    (tmp_path / "secret").write_text("Kanari/file@2\n")
    (tmp_path / "omnicdc.yaml").write_text(
        f"dsn: {json.dumps(make_conninfo('', **given, password='Kanari dsn é 3'))}\n"
        f"password_file: {tmp_path}/secret\n"
        "on_publish: [curl, -H, 'X-Key: Kanari hook 4', 'https://u:Kanari5@example.org/', kanarihook]\n"
    )
    (host.root / "LOCAL_OVERRIDES_V1.yaml").write_text(f"{PROJECT}: https://u:Kanari6@git.example.org/x\n")
    return {
        "OMNICDC_CONFIG": str(tmp_path / "omnicdc.yaml"), "OMNICDC_DSN": "", "PGPASSWORD": "Kanari:7",
        "CMP_DB_PASSWORD": "Kanari8", "PGPASSFILE": str(tmp_path / "pgpass"), "MY_API_TOKEN": "Kanari9",
        "OMNICDC_ON_PUBLISH": "", "HTTPS_PROXY": "http://u:Kanari10@proxy/",
    }  # fmt: skip


def test_a_bundle_holds_the_facts_without_secrets_and_without_projects(
    host: Host, cmp: Cmp, tmp_path: Path
) -> None:
    uuid = str(cmp.upsert(PROJECT, github_url=REPOSITORY))
    host.once()
    assert uuid in host.raw(CANONICAL).decode()
    file = tmp_path / "bundle.tar.gz"

    answer = host.ask("support-bundle", str(file), **planted(host, cmp.dsn, tmp_path))
    parts = opened(file)

    whole = "\n".join(parts.values()) + json.dumps(answer)
    assert "anari" not in whole.lower().replace("zanari", "")
    assert not [it for it in (PROJECT, "Zwetschgen", uuid, "acme-hidden") if it in whole]
    assert file.stat().st_mode & 0o777 == 0o600
    assert set(parts) == set(answer["parts"])
    assert ("doctor.json" in parts) == ("doctor" in COMMANDS)
    status = json.loads(parts["status.json"])
    (consumer,) = status["consumers"]
    assert {it["count"] for it in consumer["registries"].values()} == {1}
    assert json.loads(parts["config.json"])["settings"]["on_publish"]["value"] == ["curl", *["***"] * 4]
    assert "security definer True" in parts["capture.sql"]
    assert "-- trigger " in parts["capture.sql"]
    assert json.loads(parts["history.json"])["generations"]
    assert json.loads(parts["manifest.json"])["generation"] == 1
    assert "sha256" in parts["files.txt"]
    assert "psycopg" in json.loads(parts["versions.json"])["libraries"]
    assert json.loads(parts["server.json"])["parameters"]["wal_level"]["value"] == "logical"
    assert all(why in parts["README.txt"] for why in answer["missing"].values())


def test_a_bundle_is_made_without_a_database_and_replaces_no_file(host: Host, tmp_path: Path) -> None:
    file = tmp_path / "bundle.tar.gz"
    down = {"OMNICDC_DSN": "host=127.0.0.1 port=1 user=x password=Kanari"}

    answer: Any = host.ask("support-bundle", str(file), **down)
    before = file.read_bytes()
    again = host.run("support-bundle", str(file), **down)

    assert {"status.json", "history.json", "capture.sql", "server.json"} <= answer["missing"].keys()
    assert "cannot be reached" in answer["missing"]["status.json"]
    assert {"README.txt", "config.json", "versions.json", "files.txt"} <= set(answer["parts"])
    assert "Kanari" not in "".join(opened(file).values())
    assert (again.returncode, file.read_bytes()) == (2, before)
    assert f"{file} exists, and is not replaced" in again.stderr


def test_a_bundle_is_made_with_a_faulty_configuration(host: Host, tmp_path: Path) -> None:
    (tmp_path / "faulty.yaml").write_text("pasword: Kanari\n")

    answer = host.ask("support-bundle", str(tmp_path / "b"), OMNICDC_CONFIG=str(tmp_path / "faulty.yaml"))

    assert "no such setting as pasword" in json.loads(opened(tmp_path / "b")["config.json"])["fault"]
    assert "README.txt" in answer["parts"]


SECRET = "p w'd\"\\é/@"


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (f"failed with {SECRET}!", "failed with ***!"),
        (f"postgres://u@h?x={quote(SECRET, safe='')}", "postgres://u@h?x=***"),
        (f"output {json.dumps(SECRET)}", 'output "***"'),
        (f"output {json.dumps(SECRET, ensure_ascii=False)}", 'output "***"'),
        ("project api-x and api-x2, my api", "project (project) and api-x2, my api"),
        ("[Tool] 'Söhne & Co' api-x.", "[Tool] '(project)' (project)."),
        ("git@github.com:acme/x.git, https://u:p@gitlab.acme.com/a/b", "(repository), (repository)"),
        ("0a1b2c3d-0000-4000-8000-0123456789ab is held", "(uuid) is held"),
    ],
)
def test_what_is_private_is_found_however_it_is_written(given: str, expected: str) -> None:
    privacy = Privacy(frozenset({SECRET}), frozenset({"api-x", "Söhne & Co", "ab"}))

    assert privacy.clean(given) == expected


@pytest.mark.parametrize(
    ("event", "expected"),
    [
        ({"event": "quarantined", "registry": "git", "project": "p", "reason": "r"}, '"registry": "git"}'),
        ({"event": "hook_failed", "hook": "curl -u a:b", "output": "b"}, '"event": "hook_failed"}'),
        ({"event": "published", "ms": 3, "surprise": "b"}, '"event": "published", "ms": 3}'),
    ],
)
def test_a_line_of_the_journal_shows_only_known_keys(event: dict[str, Any], expected: str) -> None:
    assert event_shown(f"2026 host omnicdc[1]: {json.dumps(event)}").endswith(expected)
    assert event_shown("2026 host systemd[1]: Started {x}.") == "2026 host systemd[1]: Started {x}."


def test_variables_of_the_unit_are_hidden_unless_they_are_known() -> None:
    drop_in = (
        "[Service]\nEnvironment=OMNICDC_ROOT=/srv OMNICDC_DSN=host=x\n"
        f'Environment={shlex.quote("MY_TOKEN=a b")} "PGPASSWORD=x" PGHOST=h\n'
    )

    assert shown_unit(drop_in) == (
        "[Service]\nEnvironment=OMNICDC_ROOT=/srv OMNICDC_DSN=***\n"
        "Environment='MY_TOKEN=***' \"PGPASSWORD=***\" PGHOST=h\n"
    )
