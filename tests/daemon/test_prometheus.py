"""A real Prometheus scrapes a real daemon: alerts and dashboard of docs/monitoring ask for what it has."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import urllib.parse
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from support.host import until
from support.scrape import address, get, tool

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from support.cmp import Cmp
    from support.host import Host

MONITORING = Path(__file__).parents[2] / "docs/monitoring"
ALERTS = MONITORING / "alerts.yml"
DASHBOARD = MONITORING / "dashboard.json"


VARIABLES = {"$consumer": ".*", "$__rate_interval": "1m"}


def promtool(*arguments: str, text: str = "") -> tuple[int, str]:
    done = subprocess.run(
        [tool("promtool"), *arguments], input=text, text=True, capture_output=True, check=False
    )
    return done.returncode, done.stdout + done.stderr


def test_the_alert_rules_are_right() -> None:
    checked = promtool("check", "rules", str(ALERTS))
    tested = promtool("test", "rules", str(MONITORING / "alerts_test.yml"))

    assert checked[0] == 0, checked[1]
    assert tested[0] == 0, tested[1]


@pytest.fixture
def prometheus(tmp_path: Path) -> Iterator[Callable[[str], str]]:
    """Start a Prometheus that scrapes an address; returns its URL."""
    program = tool("prometheus")
    running: list[subprocess.Popen[bytes]] = []

    def start(target: str) -> str:
        with socket.create_server(("127.0.0.1", 0)) as free:
            here = f"127.0.0.1:{free.getsockname()[1]}"
        config = {
            "global": {"scrape_interval": "200ms", "evaluation_interval": "200ms"},
            "scrape_configs": [{"job_name": "omnicdc", "static_configs": [{"targets": [target]}]}],
            "rule_files": [str(ALERTS)],
        }
        file = tmp_path / "prometheus.yml"
        file.write_text(yaml.safe_dump(config))
        flags = [f"--config.file={file}", f"--storage.tsdb.path={tmp_path}/tsdb"]
        running.append(subprocess.Popen([program, *flags, f"--web.listen-address={here}"], stderr=-3))
        return f"http://{here}/api/v1"

    yield start
    for process in running:
        process.terminate()
        process.wait()


def ask(url: str, query: str) -> list[Any]:
    """Return the result of a query. An error of Prometheus fails the test, with its text."""
    for variable, value in VARIABLES.items():
        query = query.replace(variable, value)
    status, text = get(f"{url}/query?{urllib.parse.urlencode({'query': query})}")
    assert status == 200, (query, text)
    result = json.loads(text)["data"]["result"]
    assert isinstance(result, list)
    return result


def test_a_real_prometheus_answers_every_query_of_the_dashboard_and_the_alerts(
    prometheus: Callable[[str], str], cmp: Cmp, host: Host
) -> None:
    daemon = host.daemon(OMNICDC_METRICS="127.0.0.1:0", OMNICDC_ON_PUBLISH="true")
    page = address(daemon)
    url = prometheus(page.removeprefix("http://"))
    until(lambda: _answers(url), "Prometheus answers")
    cmp.upsert("apollo")
    cmp.arrived()
    panels = json.loads(DASHBOARD.read_text("utf-8"))["panels"]
    queries = [target["expr"] for panel in panels for target in panel["targets"]]
    rules = [rule for group in yaml.safe_load(ALERTS.read_text("utf-8"))["groups"] for rule in group["rules"]]
    scraped = get(page + "/metrics")[1]
    until(lambda: all(ask(url, query) for query in queries), "every query of the dashboard has a result")
    until(lambda: {it["health"] for it in _rules(url)} == {"ok"}, "every rule was evaluated")

    assert len(_rules(url)) == len(rules) >= 9
    assert not [rule["alert"] for rule in rules if ask(url, rule["expr"])]  # a healthy daemon raises none
    names = {name for rule in rules for name in re.findall(r"\b(omnicdc_\w+)", rule["expr"])}
    assert names
    assert not [name for name in names if f"# TYPE {name} " not in scraped]
    assert promtool("check", "metrics", text=scraped) == (0, "")


def _answers(url: str) -> bool:
    """Whether Prometheus has scraped the daemon twice, which `rate` needs."""
    try:
        return bool(ask(url, 'sum_over_time(up{job="omnicdc"}[1m]) >= 2'))
    except (OSError, AssertionError):
        return False


def _rules(url: str) -> list[dict[str, Any]]:
    found = json.loads(get(f"{url}/rules")[1])["data"]["groups"]
    return [rule for group in found for rule in group["rules"]]
