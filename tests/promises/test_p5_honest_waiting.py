"""P5: `wait` says "published" only when the files on disk hold that transaction.

Otherwise it says why not.
"""

from __future__ import annotations

import json
import signal
import threading
from typing import TYPE_CHECKING, Any

import pytest
from support.cmp import undo
from support.evidence import every
from support.external_changes import file_instead
from support.host import CANONICAL, DEADLINE_S, INVENTORY, PROJECT, Host

from omnicdc import db
from omnicdc.delivery import wait as waits
from omnicdc.delivery.verdict import decide
from omnicdc.stop import Stop

if TYPE_CHECKING:
    from pathlib import Path

    from support.cmp import Cmp

SUCCESS = ("published", "nothing_to_do")


def ask(host: Host, *arguments: str) -> tuple[str, int, dict[str, Any]]:
    """Run `omnicdc wait --json`. Return the verdict, the exit status and the whole answer."""
    done = host.run("wait", "--json", *arguments)
    answer = json.loads(done.stdout)
    return answer["verdict"], done.returncode, answer


def write(cmp: Cmp, name: str = "one", **metadata: str) -> str:
    """Insert a project. Return the token."""
    with cmp.transaction() as (conn, token):
        cmp.upsert(name, conn=conn, **metadata)
    return token


def obstruct(host: Host, registry: str) -> None:
    """Replace the directory of a registry by a file, so that even root cannot write there."""
    file_instead((host.root / registry).parent)


def test_published(cmp: Cmp, host: Host) -> None:
    """P5: with a token, as a barrier and by name. The answer names generation, files and milliseconds."""
    host.daemon()
    token = write(cmp)
    with_token = ask(host, "--token", token)
    barrier = ask(host)
    by_name = ask(host, "--project", "one")

    assert with_token[:2] == barrier[:2] == by_name[:2] == ("published", 0)
    assert with_token[2]["token"] == token
    assert with_token[2]["generation"] == 2
    assert set(with_token[2]["registries"]) == {path.rsplit("/", 1)[-1] for path in (CANONICAL, PROJECT)}
    assert 0 < with_token[2]["milliseconds"] < DEADLINE_S * 1000


def test_published_by_a_daemon_that_starts_later(cmp: Cmp, host: Host) -> None:
    """P5: a wait that begins while the daemon restarts gets an answer, and no error."""
    host.daemon().kill()
    token = write(cmp)
    found: list[tuple[str, int, dict[str, Any]]] = []
    waiter = threading.Thread(target=lambda: found.append(ask(host, "--token", token)))
    waiter.start()
    host.daemon()
    waiter.join()

    assert found[0][:2] == ("published", 0)


def test_nothing_to_do(cmp: Cmp, host: Host) -> None:
    """P5: a transaction without a watched change, and a barrier before any change."""
    host.daemon()
    empty = ask(host)
    write(cmp)
    with cmp.transaction() as (conn, token):
        conn.execute("update projects set description = 'x', updated_at = clock_timestamp()")

    assert empty[0] in SUCCESS
    assert ask(host, "--token", token)[:2] == ("nothing_to_do", 0)


def test_rolled_back(cmp: Cmp, host: Host) -> None:
    host.daemon()
    with cmp.transaction() as (conn, token):
        cmp.upsert("never", conn=conn)
        undo()

    assert ask(host, "--token", token)[:2] == ("rolled_back", 1)


def test_held_by_the_guard(cmp: Cmp, host: Host) -> None:
    """P5: by token and as a barrier. The hint names `omnicdc accept`, and afterwards it is published."""
    cmp.fill(20)
    host.daemon()
    with cmp.transaction() as (conn, token):
        conn.execute("delete from projects")
    answer, barrier = ask(host, "--token", token), ask(host)
    host.run("accept")

    assert answer[:2] == barrier[:2] == ("held", 1)
    assert "20 of its 20 entries" in answer[2]["detail"]
    assert "omnicdc accept" in answer[2]["hint"]
    assert ask(host, "--token", token)[:2] == ("published", 0)


def test_held_by_a_file_that_cannot_be_written(cmp: Cmp, host: Host) -> None:
    write(cmp, github_url="https://github.com/acme/one")
    host.daemon()
    obstruct(host, INVENTORY)
    token = write(cmp, "two", github_url="https://github.com/acme/two")
    answer, barrier = ask(host, "--token", token), ask(host)

    assert answer[:2] == barrier[:2] == ("held", 1)
    assert "repo_inventory.json" in answer[2]["detail"]
    assert answer[2]["hint"]


def test_a_barrier_is_held_while_any_file_lacks_a_change(cmp: Cmp, host: Host) -> None:
    """P5: the newest change does not affect the held registry, but an earlier change does."""
    write(cmp, github_url="https://github.com/acme/one")
    host.daemon()
    obstruct(host, INVENTORY)
    early = write(cmp, "two", github_url="https://github.com/acme/two")
    cmp.wait(early)
    with cmp.transaction() as (conn, late):
        conn.execute("update projects set status = 'paused' where name = 'one'")
    late_answer = ask(host, "--token", late)

    assert ask(host, "--token", early)[:2] == ("held", 1)
    assert late_answer[:2] == ("published", 0)
    assert ask(host)[:2] == ("held", 1)


def test_quarantined(cmp: Cmp, host: Host) -> None:
    """P5: the answer names project, registry and reason. A transaction of another project is published."""
    cmp.conn.execute("alter table projects alter name drop not null")
    host.daemon()
    with cmp.transaction() as (conn, bad):
        project = conn.execute("insert into projects (key) values ('nameless') returning id::text").fetchone()
    good = write(cmp)
    answer = ask(host, "--token", bad)
    assert project

    assert answer[:2] == ("quarantined", 1)
    assert project[0] in answer[2]["detail"]
    assert "PROJECT_REGISTRY_V1.yaml" in answer[2]["detail"]
    assert "its name is NULL" in answer[2]["detail"]
    assert ask(host, "--token", good)[:2] == ("published", 0)


def test_a_barrier_includes_quarantined_projects(cmp: Cmp, host: Host) -> None:
    """P5: "everything committed so far" includes a project that is not in the file."""
    cmp.conn.execute("alter table projects alter name drop not null")
    host.daemon()
    cmp.conn.execute("insert into projects (key) values ('nameless')")

    assert ask(host)[:2] == ("quarantined", 1)


def test_a_token_without_a_project_concerns_all_projects(cmp: Cmp, host: Host) -> None:
    """P5: a rebuild names no project, so it concerns the quarantined project as well."""
    cmp.conn.execute("alter table projects alter name drop not null")
    cmp.conn.execute("insert into projects (key) values ('nameless')")
    host.daemon()
    with cmp.transaction() as (conn, token):
        conn.execute("select omnicdc.request_rebuild()")

    assert ask(host, "--token", token)[:2] == ("quarantined", 1)


def test_no_consumer(cmp: Cmp, host: Host) -> None:
    """P5: no consumer ever ran, or none runs any more. The wait ends before its time-out."""
    with db.connect(cmp.dsn) as conn:
        never = waits.wait(conn, write(cmp), timeout_s=20, stop=Stop(), grace_s=0.1)
    daemon = host.daemon()
    daemon.kill()
    ended = ask(host, "--token", write(cmp, "two"))

    assert never.status == "no_consumer"
    assert "none has ever run here" in never.detail
    assert ended[:2] == ("no_consumer", 3)
    assert "host not running" in ended[2]["detail"]


@pytest.mark.parametrize(
    "damage",
    every(
        3,
        [
            "alter table projects disable trigger omnicdc_log_row",
            "drop trigger omnicdc_log_row on projects",
            "alter table projects enable replica trigger omnicdc_log_row",
        ],
    ),
)
def test_capture_broken(cmp: Cmp, host: Host, damage: str) -> None:
    """P5: by token and as a barrier. A change that is not logged is not reported as published."""
    host.daemon()
    cmp.conn.execute(damage)
    token = write(cmp)
    answer = ask(host, "--token", token)

    assert answer[:2] == ("capture_broken", 1)
    assert "omnicdc_log_row" in answer[2]["detail"]
    assert ask(host)[:2] == ("capture_broken", 1)


def test_timeout_of_an_open_transaction(cmp: Cmp, host: Host) -> None:
    """P5: the answer names the stage: the transaction is still open."""
    host.daemon()
    with cmp.transaction() as (conn, token):
        cmp.upsert("open", conn=conn)
        answer = ask(host, "--token", token, "--timeout", "0.3")

    assert answer[:2] == ("timeout", 3)
    assert "still open" in answer[2]["detail"]


def test_timeout_of_a_daemon_that_hangs(cmp: Cmp, host: Host) -> None:
    """P5: the daemon is connected, but stopped. The answer gives the number of unpublished changes."""
    daemon = host.daemon()
    daemon.process.send_signal(signal.SIGSTOP)
    token = write(cmp)
    answer = ask(host, "--token", token, "--timeout", "0.3")
    barrier = ask(host, "--timeout", "0.3")
    daemon.process.send_signal(signal.SIGCONT)

    assert answer[:2] == barrier[:2] == ("timeout", 3)
    assert "host has 1 change to publish" in answer[2]["detail"]
    assert ask(host, "--token", token)[:2] == ("published", 0)


@pytest.mark.parametrize(
    "invalid", every(3, ["", "x", "-1", "1.5", "99999999999999", "18446744073709551616", "1; select 1"])
)
def test_an_invalid_token_is_refused(cmp: Cmp, host: Host, invalid: str) -> None:
    """P5: exit status 2 and a short message. A script finds nothing on stdout."""
    done = host.run("wait", "--json", f"--token={invalid}")

    assert (done.returncode, done.stdout) == (2, "")
    assert len(done.stderr.splitlines()) <= 4, done.stderr
    assert "Traceback" not in done.stderr
    assert cmp.log() == []


def test_a_commit_during_a_look_is_not_reported_as_nothing_to_do(cmp: Cmp, host: Host) -> None:
    """P5: a look reads the end of the transaction from the commit log, and its changes in a snapshot.

    The transaction commits between the two. Here the snapshot is taken before the commit, which can happen
    in any statement.
    """
    host.daemon()
    with db.connect(cmp.dsn) as looking, looking.transaction():
        looking.execute("set transaction isolation level repeatable read")
        looking.execute("select 1 from projects")
        token = write(cmp)
        barrier = db.fetch_one(looking, "snapshot")["snapshot"]
        verdict = decide(waits.observe(looking, waits.Goal(token, barrier)))

    assert verdict is None or verdict.status == "published"


def test_a_wait_for_many_hosts_waits_for_the_slowest(cmp: Cmp, host: Host, tmp_path: Path) -> None:
    """P5: two consumers are alive, and one is stopped. A wait can also name one consumer."""
    host.daemon()
    other = Host(tmp_path / "other", cmp.dsn)
    try:
        hanging = other.daemon()
        hanging.process.send_signal(signal.SIGSTOP)
        token = write(cmp)
        both = ask(host, "--token", token, "--timeout", "0.3")
        one = ask(host, "--token", token, "--consumer", "host")
        hanging.process.send_signal(signal.SIGCONT)
        later = ask(host, "--token", token)
    finally:
        other.close()

    assert both[:2] == ("timeout", 3)
    assert "other has 1 change to" in both[2]["detail"]
    assert one[:2] == later[:2] == ("published", 0)
