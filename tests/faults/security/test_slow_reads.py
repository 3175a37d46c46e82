"""A scan that takes too long, and a lock on CMP's table, hold up as little as possible."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import TYPE_CHECKING

from support.host import PROJECT, Host, until

if TYPE_CHECKING:
    from collections.abc import Callable

    from support.cmp import Cmp
    from support.evidence import Evidence
    from support.sessions import People


def test_a_scan_that_takes_too_long_is_held_and_the_others_go_on(
    cmp: Cmp, host: Host, people: People, owner: str, evidence: Evidence
) -> None:
    """P6: a SELECT that would run for an hour is cancelled, and its registry is held with the reason.

    The git registry does not read that column and goes on. The held registry recovers without a command.
    """
    daemon = people.add("omnicdc_daemon")
    cmp.conn.execute(f"alter role {daemon} set statement_timeout = '300ms'".encode())
    project = cmp.upsert("apollo", github_url="https://github.com/acme/apollo")
    running = host.daemon(OMNICDC_DSN=people.dsn(daemon))
    with people.connect(owner) as conn:
        conn.execute(
            f"""create type public.shape as (what text);
                create function public.sleep(public.shape) returns text language plpgsql as
                  $sleep$ begin
                    if session_user = '{daemon}' then perform pg_sleep(3600); end if; return ($1).what;
                  end $sleep$;
                create cast (public.shape as text) with function public.sleep(public.shape);
                alter table projects alter type type public.shape using row(type)::public.shape""".encode()
        )
    cmp.set(project, github_url="https://github.com/acme/artemis")
    held = running.wait_for("held", registry=Path(PROJECT).name)
    until(lambda: host.inventory()[0]["name"] == "artemis", "the registry that can be read is current")
    with people.connect(owner) as conn:
        conn.execute(
            "create or replace function public.sleep(public.shape) returns text language sql as 'select "
            "($1).what'"
        )
    until(lambda: host.projects()[project]["github_url"] == "https://github.com/acme/artemis", "recovered")

    assert "in time" in held["reason"]
    assert "statement_timeout" in held["hint"]
    assert not [event for event in running.events if event["event"] == "session_lost"]
    evidence(
        "P6",
        "a scan that sleeps for an hour",
        times=1,
        found="cut off and held; the others went on; healed by itself",
    )


def test_the_daemon_waits_for_a_lock_on_the_table_without_a_fault(
    cmp: Cmp, host: Host, evidence: Evidence
) -> None:
    """P1, P6: a migration of CMP that locks and rewrites the table only delays the registries.

    A snapshot that is older than the rewrite sees an empty table. The daemon must not publish that.
    """
    project = cmp.upsert("apollo")
    running = host.daemon()
    always_there = watch_project(host, project)
    with cmp.connect() as conn, conn.transaction():
        conn.execute("lock table projects in access exclusive mode")
        cmp.conn.execute("select omnicdc.request_rebuild()")
        until(
            lambda: cmp.value(
                "select exists (select from pg_locks where relation = 'projects'::regclass and not granted)"
            ),
            "the daemon waits for the lock",
        )
        conn.execute("alter table projects alter type type varchar(50) using type || ''")
        conn.execute("update projects set name = 'artemis'")
    cmp.arrived()

    assert host.canonical()[project]["name"] == "artemis"
    assert always_there()
    assert not [event for event in running.events if event["event"] == "held"]
    evidence(
        "P1 P6",
        "CMP's table locked and rewritten while the daemon is about to read it",
        times=1,
        found="waited for, then published; no fault",
    )


def watch_project(host: Host, project: str) -> Callable[[], bool]:
    """Read the canonical registry again and again until the returned function is called.

    That function returns whether the project was there every time.
    """
    missing, done = threading.Event(), threading.Event()

    def look() -> None:
        while not done.wait(0.001):
            if project not in host.canonical():
                missing.set()

    thread = threading.Thread(target=look)
    thread.start()

    def end() -> bool:
        done.set()
        thread.join()
        return not missing.is_set()

    return end
