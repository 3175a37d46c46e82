"""What the faults showed.

A pytest plugin that counts, rolls seeded dice, and writes the table of docs/how-it-was-tried.md.

A test of tests/faults runs short with the others, and at full length with --campaign. It tells what it did,
how often, and what it found; what fails or is skipped is told by the plugin.
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
from omnicdc.demo.embedded import bundled

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

FAMILIES = (
    "killed", "connection", "disk", "data", "schema", "time_travel", "load", "two_at_once", "bulk_loss",
    "hands", "model", "security",
)  # fmt: skip
"""In the order of the page; each is a file tests/faults/test_FAMILY.py or a directory tests/faults/FAMILY."""

SEED = "OMNICDC_TEST_SEED"
STEADY = "20261123"
"""The seed of a short run, so that a green one stays green; a campaign draws its own."""

MARKS = ("<!-- tried -->", "<!-- /tried -->")

HOLDS, FAILS, NOT_HERE = "holds", "DOES NOT HOLD", "not tried here"


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table."""

    family: str
    promises: str
    deed: str
    times: int
    found: str
    verdict: str = HOLDS


class Scale(Protocol):
    """Chooses between a short run and a campaign."""

    def __call__(self, short: int, campaign: int) -> int:
        """Return how often to do it."""


class Evidence(Protocol):
    """Takes down what a test did; called at its end, when its claims hold."""

    def __call__(self, promises: str, deed: str, *, times: int, found: str) -> None:
        """Add a line: which promises (`P1 P3`), what was done to break them, how often, and the result."""


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("omnicdc")
    group.addoption("--campaign", action="store_true", help="tests/faults at full length")
    group.addoption("--guarantees", type=Path, help="write what was tried into this page", metavar="PAGE")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "campaign: too long for every run; needs --campaign")
    # The processes of pytest-xdist inherit it.
    drawn = str(random.SystemRandom().randrange(10**9)) if config.option.campaign else STEADY
    os.environ.setdefault(SEED, drawn)
    if config.option.guarantees and not hasattr(config, "workerinput"):
        config.pluginmanager.register(_Page(config.option.guarantees))


def pytest_report_header() -> str:
    return f"{SEED}={os.environ[SEED]}"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.option.campaign:
        items.sort(key=_limit_s, reverse=True)  # the long ones first, so that the processes end together
    else:
        for item in items:
            if item.get_closest_marker("campaign"):
                item.add_marker(pytest.mark.skip(reason="long: make faults"))


def _limit_s(item: pytest.Item) -> float:
    limit = item.get_closest_marker("timeout")
    return float(limit.args[0]) if limit else 0.0


def every(step: int, cases: Iterable[Any]) -> list[Any]:
    """Return cases of one kind as parameters.

    Every `step`-th one is always tried, the others in a campaign.
    """
    return [
        pytest.param(case, marks=pytest.mark.campaign) if place % step else case
        for place, case in enumerate(cases)
    ]


@pytest.fixture
def scale(request: pytest.FixtureRequest) -> Scale:
    """How often to do something: (short, campaign)."""
    campaign = request.config.option.campaign
    return lambda short, long: long if campaign else short


@pytest.fixture
def dice(request: pytest.FixtureRequest) -> random.Random:
    """Chance that is the test's own, and the same again with the same seed."""
    sys.stdout.write(f"{SEED}={os.environ[SEED]}\n")
    test, _, _ = request.node.nodeid.partition("@")  # pytest-xdist adds the group
    return random.Random(f"{os.environ[SEED]} {test}")


@pytest.fixture
def evidence(request: pytest.FixtureRequest, record_property: Callable[[str, object], None]) -> Evidence:
    """Take down what was done."""

    def tell(promises: str, deed: str, *, times: int, found: str) -> None:
        record_property("evidence", asdict(Row(family_of(request.node.nodeid), promises, deed, times, found)))

    return tell


def family_of(nodeid: str) -> str:
    """Return the family that a test belongs to: its directory's, or its file's."""
    found = re.search(r"faults/(?:test_)?(\w+)(?:/|\.py)", nodeid)
    return found[1] if found else ""


class _Page:
    """Gathers the lines of all tests, and writes the page when they have ended."""

    def __init__(self, page: Path) -> None:
        self._page = page
        self._rows: list[Row] = []
        self._started = time.monotonic()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if not family_of(report.nodeid):
            return
        if report.when == "call" and report.passed:
            told: list[tuple[str, Any]] = report.user_properties
            self._rows += [Row(**line) for name, line in told if name == "evidence"]
        elif report.failed or report.skipped:
            self._rows.append(_untold(report))

    def pytest_sessionfinish(self) -> None:
        before, mark, rest = self._page.read_text("utf-8").partition(MARKS[0])
        _, end, after = rest.partition(MARKS[1])
        assert mark, f"{self._page} has no {MARKS[0]}"
        assert end, f"{self._page} has no {MARKS[1]}"
        minutes = (time.monotonic() - self._started) / 60
        text = "\n".join([before + mark, "", *table(self._rows, minutes), "", end + after])
        self._page.write_text(text, "utf-8")


def _untold(report: pytest.TestReport) -> Row:
    name = report.nodeid.rpartition("::")[2].removeprefix("test_").replace("_", " ")
    if report.failed:
        return Row(family_of(report.nodeid), "", name, 0, "see the test's output", FAILS)
    reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else ""
    return Row(family_of(report.nodeid), "", name, 0, reason.removeprefix("Skipped: "), NOT_HERE)


def table(rows: Iterable[Row], minutes: float) -> list[str]:
    """Return the page's lines: what was tried where and for how long, then a table for each family."""
    by_family: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        by_family[row.family].append(row)
    verdicts = Counter(row.verdict for rows in by_family.values() for row in rows)
    told = ", ".join(f"{number} {verdict}" for verdict, number in sorted(verdicts.items(), reverse=True))
    where = (
        f"omnicdc {omnicdc.__version__}, {_postgres()}, Python {platform.python_version()}, "
        f"Linux {platform.release()}"
    )
    spent = f"seed {os.environ[SEED]}; {minutes:.0f} minutes on {os.cpu_count()} processors"
    lines = [f"{where}, {spent}. Of {verdicts.total()} lines: {told}."]
    for family in FAMILIES:
        lines += _of_family(family, by_family.get(family, []))
    return lines


def _postgres() -> str:
    """Name the server that most of it is tried on."""
    given = os.environ.get("OMNICDC_TEST_DSN")
    if given:
        with psycopg.connect(given) as conn:
            return f"PostgreSQL {conn.info.parameter_status('server_version')}"
    said = subprocess.run([bundled() / "postgres", "--version"], check=True, capture_output=True, text=True)
    return said.stdout.strip().replace("postgres (PostgreSQL)", "PostgreSQL")


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
    for row in sorted(rows, key=lambda row: (row.verdict != HOLDS, row.deed)):
        cells: tuple[Any, ...] = (
            row.deed,
            f"{row.times:,}" if row.times else "-",
            row.found,
            row.promises,
            row.verdict,
        )
        lines.append(
            "| " + " | ".join(str(cell).replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"
        )
    return lines
