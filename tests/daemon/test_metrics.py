"""Metrics and health of a daemon, as Prometheus, node_exporter and a load balancer read them."""

from __future__ import annotations

import urllib.error
import urllib.request
from typing import TYPE_CHECKING

from prometheus_client.parser import text_string_to_metric_families
from support.host import until

if TYPE_CHECKING:
    from support.cmp import Cmp
    from support.host import Daemon, Host


def address(daemon: Daemon) -> str:
    """Return the URL under which a daemon answers."""
    found = daemon.wait_for("metrics_served")
    return f"http://{found['host']}:{found['port']}"


def get(url: str) -> tuple[int, str]:
    """Return the status and the text of a page."""
    try:
        with urllib.request.urlopen(url) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as answer:
        with answer:
            return answer.code, answer.read().decode()


def test_slice(cmp: Cmp, host: Host) -> None:
    daemon = host.daemon(OMNICDC_METRICS="127.0.0.1:0")
    cmp.upsert("apollo")
    cmp.arrived()
    url = address(daemon)
    until(lambda: get(url + "/readyz")[0] == 200, "ready")
    print(get(url + "/metrics")[1])
    print(get(url + "/healthz"), get(url + "/readyz"), get(url + "/x"))
    assert 0
