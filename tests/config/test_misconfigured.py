"""P6: a setting that libpq refuses without a server is a configuration error, and is not retried."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support.refusing_peer import PasswordPeer, Peer

from omnicdc import db
from omnicdc.db.conninfo import Target
from omnicdc.errors import ConfigError, DatabaseUnavailable

if TYPE_CHECKING:
    from pathlib import Path

    from support.host import Host

DOWN = "host=127.0.0.1 port=1 dbname=cms_db user=registry_host"
SOCKET = "host=/nowhere dbname=cms_db user=registry_host"

MISCONFIGURED = (
    f"{DOWN} sslmode=bogus",
    f"{SOCKET} sslmode=bogus",
    f"{DOWN} target_session_attrs=bogus",
    f"{DOWN} sslmode=verify-full sslrootcert=/nowhere/root.crt",
    f"{DOWN} sslmode=verify-full sslrootcert={{garbage}}",
    f"{DOWN} sslmode=require sslcert={{garbage}} sslkey={{garbage}}",
    f"{DOWN} ssl_min_protocol_version=TLSv9",
    "service=nowhere",
)

VALID = (
    DOWN,
    SOCKET,
    f"{DOWN} sslmode=disable",
    f"{DOWN} sslmode=require",
    # With sslmode=prefer, libpq continues without TLS. At a socket, it reads no TLS files.
    f"{DOWN} sslmode=prefer sslcert={{garbage}} sslkey={{garbage}}",
    f"{SOCKET} sslmode=verify-full sslrootcert=/nowhere/root.crt",
)


def error_type(dsn: str, tmp_path: Path) -> type[Exception]:
    """Connect with a wrong or a valid DSN to a server that does not answer; return the type of the error."""
    garbage = tmp_path / "garbage"
    garbage.write_text("garbage")
    garbage.chmod(0o600)
    with pytest.raises((ConfigError, DatabaseUnavailable)) as caught:
        db.connect(dsn.format(garbage=garbage))
    return caught.type


@pytest.mark.parametrize("dsn", MISCONFIGURED)
def test_a_setting_that_libpq_refuses_is_a_configuration_error(dsn: str, tmp_path: Path) -> None:
    assert error_type(dsn, tmp_path) is ConfigError


@pytest.mark.parametrize("dsn", VALID)
def test_a_server_that_is_down_is_unavailable(dsn: str, tmp_path: Path) -> None:
    assert error_type(dsn, tmp_path) is DatabaseUnavailable


def test_a_server_without_tls_is_unavailable(tmp_path: Path) -> None:
    """The server offers no TLS. Its operator may change that, so the daemon retries."""
    with Peer({"S": "FATAL", "V": "FATAL", "C": "57P03", "M": "starting"}) as peer:
        assert error_type(f"{peer.dsn()} sslmode=require", tmp_path) is DatabaseUnavailable


@pytest.mark.parametrize("variable", ["PGSSLMODE", "PGTARGETSESSIONATTRS", "PGSERVICE"])
def test_an_invalid_variable_of_libpq_is_a_configuration_error(
    variable: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, "bogus")

    assert error_type(DOWN, tmp_path) is ConfigError


def test_a_missing_password_is_a_configuration_error(tmp_path: Path) -> None:
    """Regression: the daemon retried for ever, as libpq raises the error and not the server."""
    passfile = tmp_path / "pgpass"
    passfile.write_text("*:*:*:*:secret")
    passfile.chmod(0o644)
    with PasswordPeer() as peer, pytest.raises(ConfigError) as caught:
        db.connect(Target(dsn=f"{peer.dsn()} passfile={passfile}", source="OMNICDC_DSN"))

    assert "asks for a password, and none is set" in caught.value.message
    assert f"its mode is 0644, `chmod 600 {passfile}`" in caught.value.hint


@pytest.mark.parametrize("command", ["status", "run"])
def test_the_command_reports_it_in_one_line(host: Host, command: str) -> None:
    done = host.run(command, OMNICDC_DSN=f"{DOWN} sslmode=bogus")

    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "sslmode" in done.stderr
    assert "OMNICDC_DSN" in done.stderr
