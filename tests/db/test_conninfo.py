"""Which password is sent to which server, and the sources that messages name."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from psycopg.conninfo import conninfo_to_dict

from omnicdc import db
from omnicdc.config import settings as configuration
from omnicdc.db.conninfo import Target
from omnicdc.errors import ConfigError, DatabaseUnavailable, Interrupted

if TYPE_CHECKING:
    from pathlib import Path

SECRET = "correct horse battery staple"
DAEMON = "postgresql://registry_host@cmp/cms_db"
DBA = "postgresql://postgres@cmp/cms_db"

DEFAULTS = "libpq's defaults (no DSN, CMP_DB_* or PG* is set)"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    file = tmp_path / "cmp_password"
    file.write_text(SECRET)
    return file


def target(flags: dict[str, str] | None = None, /, **environ: str) -> Target:
    return configuration.load(flags or {}, {"HOME": "/nonexistent", **environ}, uid=1000).target


def sent_password(target: Target) -> str | None:
    """Return the password that omnicdc gives to libpq. libpq may find another one itself."""
    found = conninfo_to_dict(target.login().conninfo).get("password")
    return None if found is None else str(found)


def test_a_dba_s_own_password_is_used_after_the_documented_exports(file: Path, tmp_path: Path) -> None:
    """Regression: `omnicdc install --dsn postgresql://postgres@…` sent the daemon's password."""
    yaml = tmp_path / "omnicdc.yaml"
    yaml.write_text(f"root: /srv\ndsn: {DAEMON}\n")
    exports = {"OMNICDC_CONFIG": str(yaml), "OMNICDC_PASSWORD_FILE": str(file), "PGPASSWORD": "the DBA's"}
    daemon, dba = target({}, **exports), target({"dsn": DBA}, **exports)

    assert (sent_password(daemon), sent_password(dba)) == (SECRET, None)
    assert (
        daemon.login().sources
        == f"database from {yaml}:2, password from password_file {file} (OMNICDC_PASSWORD_FILE)"
    )
    assert dba.login().sources == (
        f"database from --dsn, password from PGPASSWORD; password_file {file} is for registry_host"
    )


@pytest.mark.parametrize(
    ("dsn", "environ", "expected"),
    [
        (None, {"OMNICDC_DSN": DAEMON}, SECRET),
        (DAEMON + "?connect_timeout=2", {"OMNICDC_DSN": DAEMON}, SECRET),
        (DBA, {"OMNICDC_DSN": DAEMON}, None),
        (DBA, {"CMP_DB_HOST": "cmp", "CMP_DB_USER": "registry_host"}, None),
        (DBA, {"CMP_DB_HOST": "cmp", "CMP_DB_USER": "postgres"}, SECRET),
        (DBA, {"PGUSER": "registry_host"}, None),
        ("host=cmp", {"PGUSER": "registry_host"}, SECRET),
        ("host=cmp", {"OMNICDC_DSN": DAEMON}, None),
        (DBA, {"OMNICDC_DSN": "host=cmp"}, None),
        (DBA, {"OMNICDC_DSN": "this is none"}, None),
        (DBA, {}, SECRET),
        (DBA + "?password=own", {"OMNICDC_DSN": DAEMON}, "own"),
        (None, {"CMP_DB_USER": "genesis", "CMP_DB_PASSWORD": "cmp's"}, SECRET),
    ],
)  # fmt: skip
def test_a_password_file_is_only_for_the_user_that_is_configured_with_it(
    file: Path, dsn: str | None, environ: dict[str, str], expected: str | None
) -> None:
    """Without a configured user it is for any user. A DSN with precedence may name another user."""
    assert (
        sent_password(target({"dsn": dsn} if dsn else {}, OMNICDC_PASSWORD_FILE=str(file), **environ))
        == expected
    )


def test_a_file_named_in_the_configuration_is_not_for_the_user_of_a_variable(
    file: Path, tmp_path: Path
) -> None:
    yaml = tmp_path / "omnicdc.yaml"
    yaml.write_text(f"dsn: {DAEMON}\npassword_file: {file}\n")

    assert sent_password(target(OMNICDC_CONFIG=str(yaml))) == SECRET
    assert sent_password(target(OMNICDC_CONFIG=str(yaml), OMNICDC_DSN=DBA)) is None


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        (
            {"OMNICDC_DSN": "postgresql://u:hunter2@cmp/x"},
            "database from OMNICDC_DSN, password from OMNICDC_DSN",
        ),
        (
            {"CMP_DB_HOST": "cmp", "CMP_DB_PASSWORD": "hunter2"},
            "database from CMP_DB_*, password from CMP_DB_PASSWORD",
        ),
        ({"PGPASSWORD": "hunter2"}, f"database from {DEFAULTS}, password from PGPASSWORD"),
        (
            {"PGPASSFILE": "/nowhere/pgpass"},
            (
                f"database from {DEFAULTS}, "
                "password from /nowhere/pgpass (which libpq ignores: No such file or directory)"
            ),
        ),
        ({}, f"database from {DEFAULTS}, no password"),
        ({"PGHOST": "cmp"}, "database from PG*, no password"),
    ],
)  # fmt: skip
def test_the_sources_of_database_and_password_are_named(environ: dict[str, str], expected: str) -> None:
    """Their values are never shown."""
    assert target({}, **environ).login().sources == expected


def test_the_password_file_is_read_at_each_connection(file: Path) -> None:
    """Regression: it was read only once, and a daemon used an outdated password for hours."""
    found = target(OMNICDC_DSN=DAEMON, OMNICDC_PASSWORD_FILE=str(file))
    before = sent_password(found)
    file.write_text("rotated\n")
    after = sent_password(found)
    file.unlink()

    assert (before, after) == (SECRET, "rotated")
    with pytest.raises(ConfigError, match=rf"OMNICDC_PASSWORD_FILE: {file}: No such file"):
        found.login()


def test_a_pipe_is_read_once_and_its_password_kept() -> None:
    """Regression: `OMNICDC_PASSWORD_FILE=<(secret-tool …)` was empty for the connection.

    `load` had already read the pipe to its end.
    """
    reading, writing = os.pipe()
    os.write(writing, f"{SECRET}\n".encode())
    os.close(writing)
    found = target(OMNICDC_DSN=DAEMON, OMNICDC_PASSWORD_FILE=f"/dev/fd/{reading}")
    passwords = [sent_password(found), sent_password(found)]
    os.close(reading)

    assert passwords == [SECRET, SECRET]


def test_the_wait_for_a_password_file_that_hangs_ends_in_time(
    tmp_path: Path,
) -> None:
    """Regression: a pipe without a writer, like a mount that hangs, blocked every command."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    given = {"HOME": "/nonexistent", "OMNICDC_DSN": DAEMON, "OMNICDC_PASSWORD_FILE": str(pipe)}
    found = configuration.load({}, given, uid=1000, password_s=0.01).target

    with pytest.raises(DatabaseUnavailable, match=rf"password_file {pipe}: no answer within 0\.1 s"):
        found.login(0.1)
    with pytest.raises(Interrupted, match=f"stopped while reading {pipe}"):
        db.connect(found, going_on=lambda: False)
    pipe.write_text(SECRET)
    assert [sent_password(found), sent_password(found)] == [SECRET, SECRET]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "no password in it, an empty file - write the password into it"),
        (b"\n", "no password in it, an empty file"),
        (b"\xff\n", "a password in UTF-8 expected"),
        (b"a\0b", "it holds NUL bytes"),
        (b"a" * 70_000, "more than 65536 bytes"),
    ],
)
def test_a_password_file_without_a_password_is_reported_with_the_reason(
    file: Path, content: bytes, expected: str
) -> None:
    file.write_bytes(content)

    with pytest.raises(ConfigError, match=f"OMNICDC_PASSWORD_FILE: {file}: ") as caught:
        target(OMNICDC_PASSWORD_FILE=str(file))

    assert expected in str(caught.value)


def test_a_pgpass_file_that_others_may_read_is_reported_as_ignored_by_libpq(tmp_path: Path) -> None:
    file = tmp_path / "pgpass"
    file.write_text("*:*:*:*:secret")
    file.chmod(0o644)
    open_to_others = Target(environ={"PGPASSFILE": str(file)}).login().sources
    file.chmod(0o600)
    closed = Target(environ={"PGPASSFILE": str(file)}).login().sources

    assert closed == f"database from {DEFAULTS}, password from {file}"
    assert open_to_others == f"{closed} (which libpq ignores: its mode is 0644, `chmod 600 {file}`)"


def test_a_port_in_the_environment_that_is_no_number_is_refused() -> None:
    with pytest.raises(ConfigError, match="PGPORT is not a number"):
        Target(dsn="host=h", environ={"PGPORT": "abc"}).login()
