"""A caller that is killed during `apply` leaves all or nothing, and a repeat says which."""

from __future__ import annotations

import json
import sys
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
from support.host import process, until
from support.proxy import Proxy

from omnicdc.clients.migration import MigrationClient

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from typing import LiteralString

    from support.cmp import Cmp
    from support.host import Host

    from omnicdc.clients.migration import ApplyAnswer

HOLDING: LiteralString = """
create function hold() returns trigger language plpgsql as
  $$ begin perform pg_catalog.pg_advisory_xact_lock_shared(4711); return new; end $$
"""
DURING: dict[str, LiteralString] = {
    "update": "create trigger hold before update on projects for each row execute function hold()",
    "commit": """create constraint trigger hold after update on projects deferrable initially deferred
                 for each row execute function hold()""",
}
HELD = """
select count(*) from pg_stat_activity
 where datname = current_database() and wait_event = 'advisory' and query ~* %s
"""
NO_WRITER = """
select not exists (select from pg_stat_activity where datname = current_database()
                    and (state like 'idle in transaction%%' or wait_event = 'advisory'))
"""

CALLER = """
import json, sys, time
from omnicdc.clients import MigrationClient
from omnicdc.clients.migration.journal import Journal

plan, journal, point = sys.argv[1:]

def stay(_line):
    print("there", flush=True)
    time.sleep(600)

if point == "noted":  # the moment between the journal's sync and COMMIT
    add = Journal.add
    Journal.add = lambda self, batch: (add(self, batch), stay(""))

with MigrationClient() as client:
    progress = {"progress": stay} if point == "committed" else {}
    client.apply(json.load(open(plan)), journal=journal, **progress)
"""
"""A program that applies a plan, and stays at a point until it is killed."""


@contextmanager
def held(cmp: Cmp, during: str) -> Iterator[None]:
    """Let every UPDATE or COMMIT of a project wait on the server until the end of the `with` block."""
    cmp.conn.execute(HOLDING)
    cmp.conn.execute(DURING[during])
    with cmp.connect() as holder:
        holder.execute("select pg_advisory_lock(4711)")
        yield
        holder.execute("select pg_advisory_unlock(4711)")


def noted(journal: Path) -> list[str]:
    lines = journal.read_text().splitlines() if journal.exists() else []
    return [json.loads(line)["token"] for line in lines if "token" in line]


@pytest.mark.parametrize(
    ("point", "tokens", "written"),
    [("update", 0, False), ("noted", 1, False), ("commit", 1, True), ("committed", 1, True)],
)
def test_a_caller_killed_at_a_point_of_apply_leaves_all_or_nothing_and_a_repeat_says_which(
    cmp: Cmp, host: Host, tmp_path: Path, point: str, tokens: int, written: bool
) -> None:
    for number in range(5):
        cmp.upsert(f"p{number}", status="active")
    host.daemon()
    plan, journal = tmp_path / "plan.json", tmp_path / "plan.json.journal"
    host.ask("migrate", "plan", "--where", "true", "--set", "status=archived", "--out", str(plan))
    program = (sys.executable, "-c", CALLER, str(plan), str(journal), point)

    if point in DURING:
        with held(cmp, point):
            with process(program, host.env) as running:
                until(lambda: cmp.value(HELD, f"^{point}"), f"{point} waits on the server")
                running.kill()
            journalled = noted(journal)
    else:
        with process(program, host.env) as running:
            assert running.stdout
            assert running.stdout.readline() == "there\n"
            running.kill()
        journalled = noted(journal)
    until(lambda: cmp.value(NO_WRITER), "the server has ended the session")
    statuses = [status for (status,) in cmp.conn.execute("select status from projects").fetchall()]
    again = host.ask("migrate", "apply", str(plan), "--yes")

    assert len(journalled) == tokens
    assert statuses == ["archived" if written else "active"] * 5
    assert (again["success"], again["applied"], again["skipped"]) == (True, 5, 0), again
    assert ([it["token"] for it in again["batches"]] == journalled) is written


def test_a_connection_lost_during_commit_is_followed_by_a_question_how_the_transaction_ended(
    cmp: Cmp, host: Host
) -> None:
    cmp.upsert("atlas", status="active")
    host.daemon()
    reports: list[ApplyAnswer] = []

    with Proxy(cmp.dsn) as proxy, MigrationClient(proxy.dsn, root=host.root) as client:
        plan = client.plan(client.set_status(["atlas"], "archived"))
        caller = threading.Thread(target=lambda: reports.append(client.apply(plan)))
        with held(cmp, "commit"):
            caller.start()
            until(lambda: cmp.value(HELD, "^commit"), "COMMIT waits on the server")
            proxy.cut()
        caller.join()

    [report] = reports
    assert (report["success"], report["applied"]) == (True, 1), report
    assert cmp.value("select status from projects") == "archived"
