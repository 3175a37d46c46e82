"""The host's own configuration file, which is read if no other one is named."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from psycopg.conninfo import conninfo_to_dict

from omnicdc.config.settings import Config, load, with_password_of
from omnicdc.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

DSN = "postgresql://registry_host@cmp/cms_db"


@pytest.fixture
def etc(tmp_path: Path) -> Path:
    """/etc/omnicdc of a registry host, as docs/install.md leaves it."""
    (tmp_path / "omnicdc.yaml").write_text(f"root: /srv/infrastructure\ndsn: {DSN}\n")
    (tmp_path / "cmp_password").write_text("secret\n")
    return tmp_path


def read(etc: Path, flags: dict[str, str] | None = None, /, **environ: str) -> Config:
    environ = {"HOME": "/nonexistent"} | environ
    return load(flags or {}, environ, uid=1000, default_file=etc / "omnicdc.yaml")


def login(config: Config) -> tuple[object, object, object]:
    sent = conninfo_to_dict(config.conninfo)
    return sent.get("host"), sent.get("user"), sent.get("password")


def test_the_host_s_file_and_its_password_are_read_without_any_export(etc: Path) -> None:
    config = read(etc)

    assert str(config.root) == "/srv/infrastructure"
    assert login(config) == ("cmp", "registry_host", "secret")
    assert config.target.login().sources == (
        f"database from {etc}/omnicdc.yaml:2, "
        f"password from password_file {etc}/cmp_password (beside {etc}/omnicdc.yaml)"
    )


@pytest.mark.parametrize(
    ("flags", "environ", "expected"),
    [
        ({}, {"OMNICDC_CONFIG": ""}, (None, None, None)),
        ({"dsn": "host=flag user=dba"}, {}, ("flag", "dba", None)),
        ({}, {"OMNICDC_DSN": "host=variable user=dba"}, ("variable", "dba", None)),
        ({}, {"CMP_DB_HOST": "by_cmp"}, ("by_cmp", None, None)),
        ({}, {"PGHOST": "pg"}, ("cmp", "registry_host", "secret")),
    ],
)
def test_what_names_cmp_explicitly_wins_over_the_host_s_file(
    etc: Path, flags: dict[str, str], environ: dict[str, str], expected: tuple[str | None, ...]
) -> None:
    """And the password of the daemon's role is sent for no other user."""
    assert login(read(etc, flags, **environ)) == expected


def test_a_host_without_the_file_has_the_defaults(tmp_path: Path) -> None:
    config = read(tmp_path)

    assert (config.root, config.file.path, config.file.unread) == (None, None, "")


def test_another_file_does_not_use_the_host_s_password(etc: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.yaml"
    other.write_text(f"dsn: {DSN}\n")

    assert login(read(etc, OMNICDC_CONFIG=str(other))) == ("cmp", "registry_host", None)
    assert login(read(etc, OMNICDC_CONFIG=str(etc / "omnicdc.yaml")))[2] == "secret"


@pytest.mark.parametrize(
    ("dsn", "environ", "expected"),
    [
        (DSN, {}, "secret"),
        ("host=cmp dbname=cms_db user=registry_host", {}, "secret"),
        (DSN.replace("registry_host", "dba"), {}, None),
        (DSN.replace("@cmp", "@other"), {}, None),
        (DSN.replace("@cmp", "@cmp:5434"), {}, None),
        (DSN.replace("cms_db", "other"), {}, None),
        (DSN.replace("host@", "host:own@"), {}, "own"),
        (DSN, {"PGPASSWORD": "env"}, None),
    ],
)
def test_a_file_that_is_to_be_checked_uses_the_host_s_password_for_the_same_login_alone(
    etc: Path, tmp_path: Path, dsn: str, environ: dict[str, str], expected: str | None
) -> None:
    other = tmp_path / "other.yaml"
    other.write_text(f"dsn: {dsn}\n")
    config = read(etc, {"config": str(other)}, **environ)

    assert login(with_password_of(read(etc, **environ), config))[2] == expected


@pytest.mark.usefixtures("permissions")
def test_a_closed_file_is_named_only_where_a_setting_is_missing(etc: Path) -> None:
    (etc / "omnicdc.yaml").chmod(0)
    config = read(etc)

    with pytest.raises(ConfigError, match=r"the connection .* user \S+ cannot read .*/omnicdc\.yaml"):
        config.target.login()
    with pytest.raises(ConfigError, match=r"no infrastructure root .* cannot read .*/omnicdc\.yaml"):
        config.require_root()
    assert login(read(etc, OMNICDC_DSN="host=variable"))[0] == "variable"
    assert "omnicdc.yaml" in read(etc, PGHOST="pg").target.login().sources


@pytest.mark.usefixtures("permissions")
def test_a_closed_password_is_named_beside_the_connection(etc: Path) -> None:
    """A member of the group omnicdc may read the file, but not the password."""
    (etc / "cmp_password").chmod(0)

    assert login(read(etc)) == ("cmp", "registry_host", None)
    assert f"cannot read {etc}/cmp_password" in read(etc).target.login().sources
    assert "cmp_password" not in read(etc, {"dsn": "host=flag user=dba"}).target.login().sources


def test_a_faulty_file_is_a_fault_with_its_line(etc: Path) -> None:
    (etc / "omnicdc.yaml").write_text("rot: /srv\n")

    with pytest.raises(ConfigError, match=r"omnicdc\.yaml:1: no such setting as rot, did you mean root\?"):
        read(etc)
