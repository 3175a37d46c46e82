"""What all tests stand on.

A real PostgreSQL, a CMP in a database of its own, a registry host, the command.
"""

from __future__ import annotations

import gc
import os
import re
import signal
import tempfile
from functools import cache
from importlib import import_module
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

import hypothesis
import psycopg
import pytest
from support.cmp import TABLE, Cmp
from support.fresh_server import FreshServer, prepare_template
from support.host import Host
from support.memory import in_memory
from support.pace import Pace
from support.rights import without_root_override
from support.sources import projects

from omnicdc import db
from omnicdc.capture import install
from omnicdc.testing.databases import copy_database, create_database, drop_database

if TYPE_CHECKING:
    from collections.abc import Iterator

# The same few examples at every run, so that a green run stays green; EXPLORE=1 and a campaign look for new
# ones, and for more.
hypothesis.settings.register_profile("steady", derandomize=True, max_examples=25, deadline=None)
hypothesis.settings.register_profile("explore", print_blob=True, max_examples=200, deadline=None)

pytest.register_assert_rewrite("faults")  # the helpers in its directories explain a failed assert, too
pytest_plugins = ["support.evidence", "support.files", "support.sessions"]


def pytest_configure(config: pytest.Config) -> None:
    os.environ.setdefault("OMNICDC_CONFIG", "")  # clients in tests read no /etc/omnicdc
    # A shell starts commands in its background with SIGINT ignored, and those of tests would inherit it.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    explore = config.option.campaign or os.environ.get("EXPLORE")
    hypothesis.settings.load_profile("explore" if explore else "steady")
    prepare_template(config)


SERVERS = {"server", "small_server", "tiny"}
"""Fixtures that start one."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what uses a server, for `make unit`."""
    for item in items:
        if not SERVERS.isdisjoint(getattr(item, "fixturenames", ())):
            item.add_marker("server")


def pytest_collection_finish() -> None:
    """What was imported and collected stays to the end.

    The garbage collector need not look at it again and again.
    """
    gc.freeze()


GROUP = re.compile(r'^pytestmark = .*pytest\.mark\.xdist_group\("(.+?)"\)', re.MULTILINE)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> object:
    """Run the files of one `xdist_group` in one process.

    Pytest-xdist's own way has no effect with pytest 9.2.
    """
    if config.getvalue("dist") != "loadgroup":
        return None

    @cache
    def group_of(file: str) -> str | None:
        found = GROUP.search((config.rootpath / file).read_text("utf-8"))
        return found and found[1]

    scheduler = import_module("xdist.scheduler").LoadScopeScheduling(config, log)
    scheduler._split_scope = lambda nodeid: group_of(nodeid.partition("::")[0]) or nodeid
    return scheduler


@pytest.fixture(scope="session")
def server() -> Iterator[str]:
    """A superuser's connection string.

    OMNICDC_TEST_DSN, else the embedded PostgreSQL's, one a test process.
    """
    given = os.environ.get("OMNICDC_TEST_DSN")
    if given:
        yield given
        return
    embedded = FreshServer(
        Path(tempfile.mkdtemp(prefix="omnicdc-test-", dir=in_memory())),
        {"max_prepared_transactions": "5", "fsync": "off", "wal_level": "logical"},
    )
    embedded.create()
    embedded.start()
    yield embedded.dsn()
    embedded.delete()


@pytest.fixture(scope="session")
def admin(server: str) -> Iterator[psycopg.Connection[tuple[object, ...]]]:
    """The connection that makes and drops databases."""
    with psycopg.connect(server, autocommit=True) as admin:
        yield admin


@pytest.fixture(scope="session")
def templates(server: str, admin: psycopg.Connection[tuple[object, ...]]) -> Iterator[dict[str, str]]:
    """Two databases to copy: `bare` has CMP's table, `installed` the capture as well."""
    names = {kind: f"omnicdc_{kind}_{os.getpid()}" for kind in ("bare", "installed")}
    create_database(admin, names["bare"])
    with db.connect(psycopg.conninfo.make_conninfo(server, dbname=names["bare"])) as conn:
        conn.execute(TABLE)
    copy_database(admin, names["bare"], names["installed"])
    with db.connect(psycopg.conninfo.make_conninfo(server, dbname=names["installed"])) as conn:
        install.install(conn, projects())
    yield names
    for name in (*_left, *names.values()):
        drop_database(admin, name)


@pytest.fixture
def bare(
    server: str, admin: psycopg.Connection[tuple[object, ...]], templates: dict[str, str]
) -> Iterator[Cmp]:
    """A CMP without omnicdc."""
    yield from _database(server, admin, templates["bare"])


@pytest.fixture
def cmp(
    server: str, admin: psycopg.Connection[tuple[object, ...]], templates: dict[str, str]
) -> Iterator[Cmp]:
    """A CMP with the capture installed, and no project yet."""
    yield from _database(server, admin, templates["installed"])


@pytest.fixture
def host(cmp: Cmp, tmp_path: Path) -> Iterator[Host]:
    """A registry host for `cmp`: root, state directory, and the command; its daemons end with the test."""
    host = Host(tmp_path / "host", cmp.dsn)
    yield host
    host.close()


@pytest.fixture
def pace() -> Iterator[Pace]:
    """How fast this machine is during the test."""
    with Pace() as pace:
        yield pace


@pytest.fixture
def permissions() -> Iterator[None]:
    """The permissions of files bind the test, whoever runs it."""
    with without_root_override():
        yield


_numbers = count()
_left: list[str] = []
"""The last test's database, which is dropped at the end of the next one."""


def _database(server: str, admin: psycopg.Connection[tuple[object, ...]], template: str) -> Iterator[Cmp]:
    name = f"omnicdc_{os.getpid()}_{next(_numbers)}"
    copy_database(admin, template, name)
    with Cmp(psycopg.conninfo.make_conninfo(server, dbname=name)) as cmp:
        yield cmp
    # The one before: PostgreSQL sleeps for 100 ms where a connection to the database has just been closed.
    while _left:
        drop_database(admin, _left.pop())
    _left.append(name)
