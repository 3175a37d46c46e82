"""Reads the pages of a daemon's monitoring, as Prometheus and a load balancer do."""

from __future__ import annotations

import os
import shutil
import urllib.error
import urllib.request
from typing import TYPE_CHECKING

import pytest
from prometheus_client.parser import text_string_to_metric_families

if TYPE_CHECKING:
    from support.host import Daemon

OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def address(daemon: Daemon, *, after: int = 0) -> str:
    """Return the URL under which a daemon answers."""
    found = daemon.wait_for("metrics_served", after=after)
    return f"http://{found['host']}:{found['port']}"


def get(url: str) -> tuple[int, str]:
    """Return the status and the text of a page."""
    try:
        with OPENER.open(url, timeout=60) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as answer:
        with answer:
            return answer.code, answer.read().decode()


def values(text: str) -> dict[str, float]:
    """Return the samples of a scrape: `name{label="value"}` to value, without the label `consumer`."""
    found = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = ",".join(f'{k}="{v}"' for k, v in sorted(sample.labels.items()) if k != "consumer")
            found[sample.name + (f"{{{labels}}}" if labels else "")] = sample.value
    return found


def scrape(url: str) -> dict[str, float]:
    """Return the samples of a daemon."""
    status, text = get(url + "/metrics")
    assert status == 200, text
    return values(text)


def tool(name: str) -> str:
    """Return the path of `promtool` or `prometheus`: on PATH, or OMNICDC_PROMTOOL and OMNICDC_PROMETHEUS."""
    found = os.environ.get(f"OMNICDC_{name.upper()}") or shutil.which(name)
    if not found:
        pytest.skip(f"{name} is not installed: Debian's package prometheus has it")
    return found
