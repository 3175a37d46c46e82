"""The PostgreSQL of the demo and of these tests: nobody else on the machine gets in, where everybody is trusted who does."""

from __future__ import annotations

import stat
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict


@pytest.fixture
def directory(server: str) -> Path:
    """Return where the server's socket is."""
    directory = Path(str(conninfo_to_dict(server).get("host", "")))
    if not (directory / ".s.PGSQL.5432").is_socket():
        pytest.skip("another server was given")
    return directory


def test_its_socket_is_for_its_own_user_only(directory: Path) -> None:
    found = (directory / ".s.PGSQL.5432").stat()

    assert stat.S_IMODE(found.st_mode) == 0o700


def test_it_listens_nowhere_else(server: str, directory: Path) -> None:
    with psycopg.connect(server) as conn:
        found = conn.execute("show listen_addresses").fetchall()

    assert directory.is_dir()
    assert found == [("",)]
