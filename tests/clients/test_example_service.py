"""The service of docs/example-service, served by uvicorn: it answers when the registries show a project."""

from __future__ import annotations

import asyncio
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest
from psycopg.conninfo import conninfo_to_dict
from sqlalchemy import URL
from support.frozen_daemon import freeze
from support.host import DEADLINE_S, until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from support.cmp import Cmp
    from support.host import Host

EXAMPLE = Path(__file__).parents[2] / "docs/example-service"
REQUESTS = 50

CONNECTIONS = """
select count(*) from pg_stat_activity
 where datname = current_database() and application_name like 'omnicdc%%' and backend_start > %s
"""


@pytest.fixture
def serve(cmp: Cmp, host: Host) -> Iterator[Callable[[float], str]]:
    """Start the service with a time-out in seconds; return its URL."""
    started: list[subprocess.Popen[str]] = []

    def start(timeout_s: float) -> str:
        url = URL.create(
            "postgresql+psycopg", query={k: str(v) for k, v in conninfo_to_dict(cmp.dsn).items()}
        )
        env = host.env | {
            "DATABASE_URL": url.render_as_string(hide_password=False),
            "PUBLISH_TIMEOUT_S": str(timeout_s),
        }
        command = [sys.executable, "-m", "uvicorn", "app:app", "--app-dir", str(EXAMPLE), "--no-access-log"]
        service = subprocess.Popen(
            [*command, "--host", "127.0.0.1", "--port", "0"], env=env, stderr=subprocess.PIPE, text=True
        )
        started.append(service)
        assert service.stderr
        said: list[str] = []
        for line in service.stderr:
            said.append(line)
            if found := re.search(r"running on (http://127\.0\.0\.1:\d+)", line):
                return found[1]
        raise AssertionError("".join(said))

    yield start
    for service in started:
        service.terminate()
        _, log = service.communicate(timeout=DEADLINE_S)
        assert "Traceback" not in log
        assert "Application shutdown complete" in log


def test_a_created_project_is_in_the_registries_when_the_request_is_answered(
    cmp: Cmp, host: Host, serve: Callable[[float], str]
) -> None:
    """Fifty requests wait at once, on two connections of the client."""
    daemon = host.daemon()
    url = serve(DEADLINE_S)
    began = cmp.value("select clock_timestamp()")

    def all_wait() -> bool:
        committed: int = cmp.value("select count(*) from projects")
        return committed == REQUESTS and cmp.value(CONNECTIONS, began) == 2

    async def create_all() -> tuple[list[httpx.Response], int]:
        async with httpx.AsyncClient(base_url=url, timeout=DEADLINE_S) as http:
            freeze(daemon, cmp)
            requests = [
                asyncio.create_task(http.post("/projects", json={"name": f"apollo-{number}"}))
                for number in range(REQUESTS)
            ]
            await asyncio.to_thread(until, all_wait, "all are committed, and wait")
            await http.get("/publications/1", params={"timeout": 0})  # is served after them
            connections = cmp.value(CONNECTIONS, began)
            assert not any(request.done() for request in requests)
            daemon.process.send_signal(signal.SIGCONT)
            return await asyncio.gather(*requests), connections

    answers, connections = asyncio.run(create_all())

    assert {answer.status_code for answer in answers} == {201}
    assert {answer.json()["verdict"] for answer in answers} == {"published"}
    assert {answer.json()["uuid"] for answer in answers} == host.canonical().keys()
    assert connections == 2


def test_a_project_that_is_not_published_yet_is_accepted_and_can_be_waited_for(
    host: Host, serve: Callable[[float], str]
) -> None:
    host.daemon().stop()
    with httpx.Client(base_url=serve(0.0), timeout=DEADLINE_S) as http:
        created = http.post("/projects", json={"name": "apollo", "domain": "space"})
        project = created.json()["uuid"]
        not_yet = http.get(f"/projects/{project}")
        host.daemon()
        arrived = http.get(created.headers["Location"], params={"timeout": 60})
        verified = http.get(f"/projects/{project}")
        unknown = http.get("/projects/6f1c0000-0000-4000-8000-000000000000")

    assert (created.status_code, created.json()["verdict"]) == (202, "no_consumer")
    assert created.json()["token"]
    assert not_yet.json()["verified"] is False
    assert (arrived.status_code, arrived.json()["verdict"]) == (200, "published")
    assert verified.json()["verified"] is True
    assert host.canonical()[project]["domain"] == "space"
    assert unknown.status_code == 404
