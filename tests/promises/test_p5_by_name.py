"""P5: a wait by name waits for everything committed so far.

Its verdict concerns the named projects only.
"""

from __future__ import annotations

import json
import signal
from typing import TYPE_CHECKING, Any

import pytest
from support.external_changes import file_instead
from support.host import CANONICAL, INVENTORY, Host

from omnicdc.clients import GenesisClient

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from support.cmp import Cmp


def client(host: Host, timeout_s: float) -> GenesisClient:
    """Return a client of this host."""
    return GenesisClient(config=host.config(), timeout=timeout_s)


def command(host: Host, name: str, timeout_s: float) -> dict[str, Any]:
    """Run `omnicdc wait --project`. Return its answer with the keys of a client's answer."""
    answer: dict[str, Any] = host.ask("wait", "--project", name, "--timeout", str(timeout_s))
    return answer | {"registries_updated": answer["registries"]}


WAYS: dict[str, Callable[[Host, float], Mapping[str, Any]]] = {
    "propagate_project": lambda host, timeout_s: client(host, timeout_s).propagate_project("P"),
    "by key": lambda host, timeout_s: client(host, timeout_s).propagate_project("key-of-p"),
    "propagate_batch": lambda host, timeout_s: client(host, timeout_s).propagate_batch(["P", "Q"]),
    "wait --project": lambda host, timeout_s: command(host, "P", timeout_s),
}


@pytest.mark.parametrize("way", WAYS)
def test_a_transaction_with_a_lower_id_that_commits_later_is_waited_for(
    cmp: Cmp, host: Host, way: str
) -> None:
    """T1 gets its id and stays open, T2 changes P and is published, T1 changes P and commits.

    Regression: the answer was `published` at once.
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
    while_stopped = ask(host, 0.2)
    daemon.process.send_signal(signal.SIGCONT)
    afterwards = ask(host, 20)

    assert while_stopped["verdict"] == "timeout"
    assert afterwards["verdict"] == "published"
    assert host.canonical()[project]["status"] == "by T1"


def test_the_answer_names_the_generation_that_first_held_the_newest_change(cmp: Cmp, host: Host) -> None:
    """The newest change is the one committed last, not the one with the highest transaction id.

    Later changes of other projects do not count.
    """
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


def test_a_barrier_names_the_generation_that_completed_it(cmp: Cmp, host: Host) -> None:
    """The transaction with the highest id is not the one that was published last."""
    host.daemon()
    with cmp.transaction() as (early, t1):
        cmp.upsert("P")
        cmp.arrived()
        cmp.upsert("Q", conn=early)
    last = cmp.arrived(t1)

    assert cmp.arrived().generation == last.generation


def test_only_a_wait_for_the_quarantined_project_is_quarantined(cmp: Cmp, host: Host) -> None:
    """A wait without a name concerns all projects."""
    cmp.conn.execute("alter table projects alter name drop not null")
    cmp.conn.execute("insert into projects (key) values ('nameless')")
    cmp.upsert("P")
    host.daemon()
    genesis = client(host, 20)

    assert genesis.propagate_project("P")["verdict"] == "published"
    assert genesis.propagate_project("nameless")["verdict"] == "quarantined"
    assert genesis.propagate_batch(["P", "nameless"])["verdict"] == "quarantined"
    assert genesis.propagate_project(None)["verdict"] == "quarantined"


def test_only_a_wait_for_a_project_with_a_held_change_is_held(cmp: Cmp, host: Host) -> None:
    """The held registry lacks an earlier change of P. The last change of P does not affect that registry."""
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
    genesis = client(host, 20)

    assert genesis.propagate_project("P")["verdict"] == "held"
    assert genesis.propagate_project("Q")["verdict"] == "published"
    assert genesis.propagate_batch(["Q", "P"])["verdict"] == "held"
    assert json.loads(host.raw(CANONICAL))["count"] == 2
