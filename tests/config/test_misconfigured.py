"""P6: what is wrong on this side, before any server is asked, is an operator's business.

It is not retried for ever.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support.refusing_peer import Asking, Peer

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

SOUND = (
    DOWN,
    SOCKET,
    f"{DOWN} sslmode=disable",
    f"{DOWN} sslmode=require",
    # libpq goes on without TLS, and needs no such files at a socket.
    f"{DOWN} sslmode=prefer sslcert={{garbage}} sslkey={{garbage}}",
    f"{SOCKET} sslmode=verify-full sslrootcert=/nowhere/root.crt",
)


def refused(dsn: str, tmp_path: Path) -> type[Exception]:
    """Try to connect where only TLS files can be read or no server is; returns what is raised."""
    garbage = tmp_path / "garbage"
    garbage.write_text("garbage")
    garbage.chmod(0o600)
    with pytest.raises((ConfigError, DatabaseUnavailable)) as told:
        db.connect(dsn.format(garbage=garbage))
    return told.type


@pytest.mark.parametrize("dsn", MISCONFIGURED)
def test_what_libpq_cannot_use_is_a_configuration_error(dsn: str, tmp_path: Path) -> None:
    assert refused(dsn, tmp_path) is ConfigError


@pytest.mark.parametrize("dsn", SOUND)
def test_a_server_that_is_down_is_not_taken_for_one(dsn: str, tmp_path: Path) -> None:
    assert refused(dsn, tmp_path) is DatabaseUnavailable


def test_a_server_behind_tls_that_closes_is_not_taken_for_one(tmp_path: Path) -> None:
    """It has no TLS, which its operator may change."""
    with Peer({"S": "FATAL", "V": "FATAL", "C": "57P03", "M": "starting"}) as peer:
        assert refused(f"{peer.dsn()} sslmode=require", tmp_path) is DatabaseUnavailable


@pytest.mark.parametrize("variable", ["PGSSLMODE", "PGTARGETSESSIONATTRS", "PGSERVICE"])
def test_a_variable_of_libpq_s_is_looked_at_as_well(
    variable: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, "bogus")

    assert refused(DOWN, tmp_path) is ConfigError


def test_a_password_that_is_asked_for_and_not_there_is_a_configuration_error(tmp_path: Path) -> None:
    """It was retried for ever: no server refuses it, libpq gives up."""
    passfile = tmp_path / "pgpass"
    passfile.write_text("*:*:*:*:secret")
    passfile.chmod(0o644)
    with Asking() as peer, pytest.raises(ConfigError) as told:
        db.connect(Target(dsn=f"{peer.dsn()} passfile={passfile}", source="OMNICDC_DSN"))

    assert "asks for a password, and none is set" in told.value.message
    assert f"its mode is 0644, `chmod 600 {passfile}`" in told.value.hint


@pytest.mark.parametrize("command", ["status", "run"])
def test_the_command_ends_with_one_line(host: Host, command: str) -> None:
    done = host.run(command, OMNICDC_DSN=f"{DOWN} sslmode=bogus")

    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "sslmode" in done.stderr
    assert "OMNICDC_DSN" in done.stderr
