"""The pytest plug-in. pytest imports it in every run, so its fixtures import what they need."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Mapping

    from omnicdc.testing.recorded import RecordedAsyncGenesisClient, RecordedGenesisClient
    from omnicdc.testing.served import Served
    from omnicdc.testing.server import Schema, Server

_FAILED = pytest.StashKey[bool]()
_ABOUT_DSN = "a throw-away PostgreSQL for omnicdc_served, as a superuser (default: an embedded one)"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option and the ini setting for another server."""
    parser.getgroup("omnicdc").addoption("--omnicdc-dsn", metavar="DSN", help=_ABOUT_DSN)
    parser.addini("omnicdc_dsn", _ABOUT_DSN, default="")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show the daemon's log with a failed test."""
    report = yield
    if report.failed:
        item.stash[_FAILED] = True
        if served := getattr(item, "funcargs", {}).get("omnicdc_served"):
            report.sections.append(("omnicdc run", served.end_of_log()))
    return report


@pytest.fixture(scope="session")
def omnicdc_schema() -> Schema:
    """Return CMP's tables. Override this fixture for your own: SQL text, a Path, a list, or a function."""
    from omnicdc.testing.cmp import TABLE

    return TABLE


@pytest.fixture(scope="session")
def omnicdc_settings() -> Mapping[str, object]:
    """Return omnicdc's settings, as in its configuration file. Override this fixture for your own."""
    return {}


@pytest.fixture(scope="session")
def omnicdc_server(pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Give a PostgreSQL for this test process. Its method `serve` serves fixtures of any scope."""
    from omnicdc.testing.server import open_server

    dsn = pytestconfig.getoption("--omnicdc-dsn") or pytestconfig.getini("omnicdc_dsn")
    with ExitStack() as undo:
        with _failing_plainly():
            server = undo.enter_context(open_server(tmp_path_factory.mktemp("omnicdc"), dsn or None))
        yield server


@pytest.fixture
def omnicdc_served(
    omnicdc_server: Server, omnicdc_schema: Schema, omnicdc_settings: Mapping[str, object]
) -> Iterator[Served]:
    """Serve a CMP with the capture, a registry host and a running daemon, for this test alone."""
    with ExitStack() as undo:
        with _failing_plainly():
            served = undo.enter_context(omnicdc_server.serve(omnicdc_schema, omnicdc_settings))
        yield served


@pytest.fixture
def omnicdc_recorded(request: pytest.FixtureRequest) -> Iterator[RecordedGenesisClient]:
    """Give a stand-in for GenesisClient, without a database. It plays the verdicts that the test names."""
    from omnicdc.testing.recorded import RecordedGenesisClient

    client = RecordedGenesisClient()
    yield client
    if not request.node.stash.get(_FAILED, False):  # one failure is enough
        client.assert_all_played()


@pytest.fixture
def omnicdc_recorded_async(request: pytest.FixtureRequest) -> Iterator[RecordedAsyncGenesisClient]:
    """As omnicdc_recorded, for AsyncGenesisClient."""
    from omnicdc.testing.recorded import RecordedAsyncGenesisClient

    client = RecordedAsyncGenesisClient()
    yield client
    if not request.node.stash.get(_FAILED, False):
        client.assert_all_played()


@contextmanager
def _failing_plainly() -> Iterator[None]:
    """Report an error that the user can fix without a traceback: its message says how."""
    from omnicdc.errors import OmnicdcError

    try:
        yield
    except OmnicdcError as exc:
        pytest.fail(f"omnicdc: {exc}", pytrace=False)
