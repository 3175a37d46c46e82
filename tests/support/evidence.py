"""The results of the fault tests.

A pytest plugin with random numbers that a seed repeats. It writes the tables of docs/how-it-was-tried.md.

A test of tests/faults is short in a usual run, and has its full length with --campaign. A test that passes
reports what it did, how often, and what it found. The plugin reports the tests that fail or are skipped.
"""

from __future__ import annotations

import os
import platform
import random
import re
import subprocess
import sys
import time
from collections import Counter, defaultdict
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import psycopg
import pytest

import omnicdc
from omnicdc.testing.embedded import bundled

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

FAMILIES = (
    "killed", "connection", "disk", "data", "schema", "time_travel", "load", "two_at_once", "bulk_loss",
    "external_changes", "model", "security",
)  # fmt: skip
"""In the order of the page. The tests of a family are in the directory tests/faults/FAMILY/."""

SEED = "OMNICDC_TEST_SEED"
STEADY = "20261123"
"""The seed of a short run, so that every short run tries the same. Each campaign draws a new seed."""

MARKS = ("<!-- tried -->", "<!-- /tried -->")

HOLDS, FAILS, NOT_HERE = "holds", "DOES NOT HOLD", "not tried here"


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table."""

    family: str
    promises: str
    action: str
    times: int
    found: str
    verdict: str = HOLDS


class Scale(Protocol):
    """Chooses between a short run and a campaign."""

    def __call__(self, short: int, campaign: int) -> int:
        """Return one of the two numbers: how often a test does something."""


class Evidence(Protocol):
    """Records what a test did. A test calls it at its end, when its claims hold."""

    def __call__(self, promises: str, action: str, *, times: int, found: str) -> None:
        """Add a line: which promises (`P1 P3`), what was done to break them, how often, and the result."""


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("omnicdc")
    group.addoption("--campaign", action="store_true", help="tests/faults at full length")
    group.addoption("--guarantees", type=Path, help="write what was tried into this page", metavar="PAGE")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "campaign: too long for every run; needs --campaign")
    # The processes of pytest-xdist inherit the seed.
    drawn = str(random.SystemRandom().randrange(10**9)) if config.option.campaign else STEADY
    os.environ.setdefault(SEED, drawn)
    if config.option.guarantees and not hasattr(config, "workerinput"):
        config.pluginmanager.register(_Page(config.option.guarantees))


def pytest_report_header() -> str:
    return f"{SEED}={os.environ[SEED]}"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.option.campaign:
        items.sort(
            key=_limit_s, reverse=True
        )  # long tests first, so that all processes end at about the same time
    else:
        for item in items:
            if item.get_closest_marker("campaign"):
                item.add_marker(pytest.mark.skip(reason="long: make faults"))


def _limit_s(item: pytest.Item) -> float:
    limit = item.get_closest_marker("timeout")
    return float(limit.args[0]) if limit else 0.0


def every(step: int, cases: Iterable[Any]) -> list[Any]:
    """Return cases of one kind as parameters.

    Every run tries each `step`-th case. A campaign tries all cases.
    """
    return [
        pytest.param(case, marks=pytest.mark.campaign) if index % step else case
        for index, case in enumerate(cases)
    ]


@pytest.fixture
def scale(request: pytest.FixtureRequest) -> Scale:
    """How often a test does something: `scale(short, campaign)`."""
    campaign = request.config.option.campaign
    return lambda short, long: long if campaign else short


@pytest.fixture
def dice(request: pytest.FixtureRequest) -> random.Random:
    """Random numbers of one test. The same seed gives the same numbers.

    They depend on the name and parameters of the test, but not on its file.
    """
    sys.stdout.write(f"{SEED}={os.environ[SEED]}\n")
    return random.Random(f"{os.environ[SEED]} {request.node.name}")


@pytest.fixture
def evidence(request: pytest.FixtureRequest, record_property: Callable[[str, object], None]) -> Evidence:
    """Record what the test did."""

    def add(promises: str, action: str, *, times: int, found: str) -> None:
        row = Row(family_of(request.node.nodeid), promises, action, times, found)
        record_property("evidence", asdict(row))

    return add


def family_of(nodeid: str) -> str:
    """Return a test's family, which is its directory in tests/faults; "" for other tests."""
    found = re.search(r"faults/(\w+)/test_\w+\.py", nodeid)
    return found[1] if found else ""


class _Page:
    """Collects the lines of all tests, and writes the page at the end of the run."""

    def __init__(self, page: Path) -> None:
        self._page = page
        self._rows: list[Row] = []
        self._started = time.monotonic()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            # At once, because the run goes on for half an hour.
            sys.stderr.write(f"\nfailed after {self._minutes():.0f} minutes: {report.nodeid}\n")
            sys.stderr.write(report.longreprtext[-3000:] + "\n")
        if not family_of(report.nodeid):
            return
        if report.when == "call" and report.passed:
            properties: list[tuple[str, Any]] = report.user_properties
            self._rows += [Row(**line) for name, line in properties if name == "evidence"]
        elif report.failed or report.skipped:
            self._rows.append(_without_evidence(report))

    def _minutes(self) -> float:
        return (time.monotonic() - self._started) / 60

    def pytest_sessionfinish(self) -> None:
        before, mark, rest = self._page.read_text("utf-8").partition(MARKS[0])
        _, end, after = rest.partition(MARKS[1])
        assert mark, f"{self._page} has no {MARKS[0]}"
        assert end, f"{self._page} has no {MARKS[1]}"
        text = "\n".join([before + mark, "", *table(self._rows, self._minutes()), "", end + after])
        self._page.write_text(text, "utf-8")


def _without_evidence(report: pytest.TestReport) -> Row:
    """Return the line of a test that failed or was skipped."""
    name = report.nodeid.rpartition("::")[2].removeprefix("test_").replace("_", " ")
    if report.failed:
        return Row(family_of(report.nodeid), "", name, 0, "see the test's output", FAILS)
    reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else ""
    return Row(family_of(report.nodeid), "", name, 0, reason.removeprefix("Skipped: "), NOT_HERE)


def table(rows: Iterable[Row], minutes: float) -> list[str]:
    """Return the page's lines: where the tests ran, for how long, then a table for each family."""
    by_family: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        by_family[row.family].append(row)
    verdicts = Counter(row.verdict for rows in by_family.values() for row in rows)
    summary = ", ".join(f"{number} {verdict}" for verdict, number in sorted(verdicts.items(), reverse=True))
    where = (
        f"omnicdc {omnicdc.__version__}, {_postgres()}, Python {platform.python_version()}, "
        f"Linux {platform.release()}"
    )
    spent = f"seed {os.environ[SEED]}; {minutes:.0f} minutes on {os.cpu_count()} processors"
    lines = [f"{where}, {spent}. Of {verdicts.total()} lines: {summary}."]
    for family in FAMILIES:
        lines += _of_family(family, by_family.get(family, []))
    return lines


def _postgres() -> str:
    """Return name and version of the server that most tests use."""
    given = os.environ.get("OMNICDC_TEST_DSN")
    if given:
        with psycopg.connect(given) as conn:
            return f"PostgreSQL {conn.info.parameter_status('server_version')}"
    answer = subprocess.run([bundled() / "postgres", "--version"], check=True, capture_output=True, text=True)
    return answer.stdout.strip().replace("postgres (PostgreSQL)", "PostgreSQL")


def _of_family(family: str, rows: list[Row]) -> list[str]:
    if not rows:
        return []
    lines = [
        "",
        f"### {family.replace('_', ' ').capitalize()}",
        "",
        "| what was done | times | what was found | promises | verdict |",
        "|---|--:|---|---|---|",
    ]
    for row in sorted(rows, key=lambda row: (row.verdict != HOLDS, row.action)):
        cells: tuple[Any, ...] = (
            row.action,
            f"{row.times:,}" if row.times else "-",
            row.found,
            row.promises,
            row.verdict,
        )
        lines.append(
            "| " + " | ".join(str(cell).replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"
        )
    return lines
