"""The pages over HTTP: what is served to whom, and that no client can hold the daemon."""

from __future__ import annotations

import socket
import threading
import urllib.request
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from support.host import until
from support.scrape import OPENER, get, scrape

from omnicdc.daemon.metrics.endpoint import LIMIT_S, LONGEST_LINE, MOST, Endpoint
from omnicdc.daemon.metrics.facts import CanaryFacts, Done, Facts
from omnicdc.daemon.metrics.health import WATCHDOG_S, not_alive, not_ready
from omnicdc.daemon.metrics.pages import pages

if TYPE_CHECKING:
    from collections.abc import Iterator

HEALTHY = Facts(
    consumer="a",
    version="1",
    started_at=0.0,
    turned_s=1.0,
    connected=True,
    published=True,
    lag_s=0.0,
    backlog=0,
    capture_fault="",
    held={},
    done=Done(),
    registries={},
    hooks={},
    canary=CanaryFacts(),
    reconnects=0,
    notifications=0,
    transactions=0,
    log_rows=None,
    last_published_at=None,
)


@pytest.mark.parametrize(
    ("facts", "reason"),
    [
        (HEALTHY, ""),
        (replace(HEALTHY, lag_s=90.0), ""),
        (replace(HEALTHY, lag_s=91.0), "the files are 91 s behind CMP"),
        (replace(HEALTHY, connected=False, published=False), "no session with CMP's database"),
        (replace(HEALTHY, published=False), "the first publication is not done yet"),
        (replace(HEALTHY, capture_fault="no trigger"), "capture is broken: no trigger"),
        (replace(HEALTHY, held={"r": "it would lose 9"}), "r is held: it would lose 9\n`omnicdc status`"),
        (replace(HEALTHY, turned_s=WATCHDOG_S + 1), "the daemon has made no progress for 181 s"),
    ],
)
def test_ready_means_that_the_files_show_what_cmp_holds(facts: Facts, reason: str) -> None:
    found = not_ready(facts, 90.0)

    assert found.startswith(reason)
    assert bool(found) == bool(reason)
    assert bool(not_alive(facts)) == (facts.turned_s > WATCHDOG_S)


@pytest.fixture
def endpoint() -> Iterator[tuple[str, int]]:
    """Where the pages of a healthy daemon are served. Port 0 would not be known, so one is chosen."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = free.getsockname()[:2]
    served = Endpoint(address, pages(lambda: HEALTHY, lambda: 90.0)).start()
    until(lambda: _accepts(address), "it listens")
    yield address
    served.end()
    assert not [it.name for it in threading.enumerate() if it.name == "metrics"]


def _accepts(address: tuple[str, int]) -> bool:
    try:
        socket.create_connection(address).close()
    except OSError:
        return False
    return True


def ask(address: tuple[str, int], request: bytes) -> bytes:
    """Send a request as it is, and return the whole answer."""
    with socket.create_connection(address) as client:
        client.sendall(request)
        return b"".join(iter(lambda: client.recv(65536), b""))


def test_three_pages_are_served_and_nothing_else(endpoint: tuple[str, int]) -> None:
    url = f"http://{endpoint[0]}:{endpoint[1]}"
    head = ask(endpoint, b"HEAD /metrics HTTP/1.0\r\n\r\n")
    whole = ask(endpoint, b"GET /metrics HTTP/1.0\r\n\r\n")
    openmetrics = urllib.request.Request(
        f"{url}/metrics", headers={"Accept": "application/openmetrics-text; version=x"}
    )

    assert scrape(url)["omnicdc_connected"] == 1
    assert get(f"{url}/healthz") == get(f"{url}/readyz") == (200, "ok\n")
    assert (
        get(f"{url}/") == get(f"{url}/metrics/../etc") == (404, "here are /metrics, /healthz and /readyz\n")
    )
    assert head.startswith(b"HTTP/1.0 200 OK\r\n")
    assert head.endswith(b"\r\n\r\n")
    assert whole.startswith(b"HTTP/1.0 200 OK\r\n")
    assert b"omnicdc_connected" in whole
    assert ask(endpoint, b"POST /metrics HTTP/1.0\r\nContent-Length: 3\r\n\r\nabc").startswith(
        b"HTTP/1.0 405 Method Not Allowed\r\n"
    )
    assert ask(endpoint, b"GET /" + b"x" * 9000).split(b" ")[1] == b"414"
    assert b"400" in ask(endpoint, b"\x16\x03\x01 nonsense that no HTTP client sends\r\n\r\n")
    with OPENER.open(openmetrics) as answer:
        assert answer.read().endswith(b"# EOF\n")


def test_clients_that_say_nothing_delay_a_scrape_only_for_a_short_time(endpoint: tuple[str, int]) -> None:
    url = f"http://{endpoint[0]}:{endpoint[1]}"
    silent = [socket.create_connection(endpoint) for _ in range(MOST)]
    silent[0].sendall(b"GET /metr")
    found = scrape(url)
    ended = [it.recv(1) for it in silent]
    for client in silent:
        client.close()

    assert found["omnicdc_connected"] == 1
    assert LIMIT_S < 10  # Prometheus waits for so long
    assert ended == [b""] * MOST
    until(lambda: not [it for it in threading.enumerate() if it.name == "request"], "no thread is left")


def test_a_client_that_sends_byte_by_byte_is_ended(endpoint: tuple[str, int]) -> None:
    sent = 0
    with socket.create_connection(endpoint) as client:

        def is_ended() -> bool:
            nonlocal sent
            try:
                client.sendall(b"x")
            except ConnectionError:
                return True
            sent += 1
            return False

        until(is_ended, "the connection is ended")

    assert sent < LONGEST_LINE  # else its end has another reason


def test_a_client_that_does_not_read_is_ended(endpoint: tuple[str, int]) -> None:
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1024)
        client.connect(endpoint)
        client.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
        until(lambda: not [it for it in threading.enumerate() if it.name == "request"], "its thread ended")


def test_an_ipv6_address_is_served() -> None:
    if not socket.has_ipv6:
        pytest.skip("no IPv6 here")
    with socket.create_server(("::1", 0), family=socket.AF_INET6) as free:
        port = free.getsockname()[1]
    served = Endpoint(("::1", port), pages(lambda: HEALTHY, lambda: 90.0)).start()
    until(lambda: _accepts(("::1", port)), "it listens")

    assert get(f"http://[::1]:{port}/readyz") == (200, "ok\n")
    served.end()
