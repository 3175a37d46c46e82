"""P5: whoever waits by name waits for everything committed so far.

The verdict concerns the projects named.
"""

from __future__ import annotations

import json
import signal
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from support.external_changes import file_instead
from support.host import CANONICAL, INVENTORY, Daemon, Host

from omnicdc.clients import GenesisClient

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from support.cmp import Cmp


def client(host: Host, timeout_s: float) -> GenesisClient:
    return GenesisClient(config=host.config(), timeout=timeout_s)


def command(host: Host, name: str, timeout_s: float) -> dict[str, Any]:
    answer: dict[str, Any] = host.ask("wait", "--project", name, "--timeout", str(timeout_s))
    return answer | {"registries_updated": answer["registries"]}


WAYS: dict[str, Callable[[Host, float], Mapping[str, Any]]] = {
    "propagate_project": lambda host, timeout_s: client(host, timeout_s).propagate_project("P"),
    "by key": lambda host, timeout_s: client(host, timeout_s).propagate_project("key-of-p"),
    "propagate_batch": lambda host, timeout_s: client(host, timeout_s).propagate_batch(["P", "Q"]),
    "wait --project": lambda host, timeout_s: command(host, "P", timeout_s),
}


@contextmanager
def stopped(daemon: Daemon) -> Iterator[None]:
    """Have a daemon stand still for a while."""
    daemon.process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        daemon.process.send_signal(signal.SIGCONT)


@pytest.mark.parametrize("way", WAYS)
def test_a_transaction_with_a_lower_id_that_commits_later_is_waited_for(
    cmp: Cmp, host: Host, way: str
) -> None:
    """T1 takes its id and stays open, T2 changes P and is published, T1 changes P and commits.

    `published` came at once.
    """
    ask = WAYS[way]
    project = cmp.upsert("P", key="key-of-p")
    cmp.upsert("Q")
    daemon = host.daemon()
    with cmp.transaction() as (early, _t1):
        with cmp.transaction() as (late, t2):
            late.execute("update projects set status = 'by T2' where name = 'P'")
        cmp.arrived(t2)
        daemon.process.send_signal(signal.SIGSTOP)
        early.execute("update projects set status = 'by T1' where name = 'P'")
    not_yet = ask(host, 0.2)
    daemon.process.send_signal(signal.SIGCONT)
    at_last = ask(host, 20)

    assert not_yet["verdict"] == "timeout"
    assert at_last["verdict"] == "published"
    assert host.canonical()[project]["status"] == "by T1"


def test_the_generation_told_is_the_one_that_first_held_the_newest_change(cmp: Cmp, host: Host) -> None:
    """By commit, and not by transaction id; what others changed later does not count."""
    host.daemon()
    cmp.upsert("P", github_url="https://github.com/acme/p")
    cmp.upsert("Q")
    with cmp.transaction() as (early, t1):
        cmp.set(str(cmp.value("select id::text from projects where name = 'P'")), status="by T2")
        cmp.arrived()
        early.execute(
            'update projects set metadata_ = \'{"github_url": "https://github.com/acme/p2"}\' where name '
            "= 'P'"
        )
    first = cmp.arrived(t1)
    cmp.set(str(cmp.value("select id::text from projects where name = 'Q'")), status="later")
    cmp.arrived()

    answer = client(host, 20).propagate_project("P")

    assert (answer["generation"], answer["token"]) == (first.generation, t1)
    assert set(answer["registries_updated"]) == set(first.registries)
    assert "repo_inventory.json" in answer["registries_updated"]


def test_a_barrier_tells_the_generation_that_completed_it(cmp: Cmp, host: Host) -> None:
    """The transaction with the highest id is not the one that was published last."""
    host.daemon()
    with cmp.transaction() as (early, t1):
        cmp.upsert("P")
        cmp.arrived()
        cmp.upsert("Q", conn=early)
    last = cmp.arrived(t1)

    assert cmp.arrived().generation == last.generation


def test_only_what_concerns_the_projects_named_is_quarantined(cmp: Cmp, host: Host) -> None:
    cmp.conn.execute("alter table projects alter name drop not null")
    cmp.conn.execute("insert into projects (key) values ('nameless')")
    cmp.upsert("P")
    host.daemon()
    asking = client(host, 20)

    assert asking.propagate_project("P")["verdict"] == "published"
    assert asking.propagate_project("nameless")["verdict"] == "quarantined"
    assert asking.propagate_batch(["P", "nameless"])["verdict"] == "quarantined"
    assert asking.propagate_project(None)["verdict"] == "quarantined"


def test_only_what_concerns_the_projects_named_is_held(cmp: Cmp, host: Host) -> None:
    """An earlier change of P counts if the held registry lacks it.

    P's last change does not concern that registry.
    """
    for name in ("P", "Q"):
        cmp.upsert(name, github_url=f"https://github.com/acme/{name}")
    host.daemon()
    file_instead((host.root / INVENTORY).parent)
    cmp.conn.execute(
        "update projects set metadata_ = '{\"github_url\": \"https://github.com/acme/new\"}' where name = 'P'"
    )
    cmp.wait()
    for name in ("P", "Q"):
        cmp.conn.execute("update projects set status = 'paused' where name = %s", [name])
    cmp.wait()
    asking = client(host, 20)

    assert asking.propagate_project("P")["verdict"] == "held"
    assert asking.propagate_project("Q")["verdict"] == "published"
    assert asking.propagate_batch(["Q", "P"])["verdict"] == "held"
    assert json.loads(host.raw(CANONICAL))["count"] == 2
