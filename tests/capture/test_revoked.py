"""P4, P5: `install` grants the PostgreSQL functions that were revoked from PUBLIC.

A function that is revoked later is reported by its name.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from support.host import Host
from support.session import opened
from support.sessions import People
from support.sources import projects

from omnicdc import db
from omnicdc.capture import install
from omnicdc.db import sql
from omnicdc.delivery import wait as waits
from omnicdc.stop import Stop

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.cmp import Cmp

REVOKE = b"""
do $$
declare it regprocedure;
begin
  for it in select p.oid from pg_proc p where p.pronamespace = 'pg_catalog'::regnamespace
              and p.proname ~ ('^(pg_(try_)?advisory|pg_notify|pg_notification|pg_control|pg_current'
                               '|pg_xact_status|pg_snapshot|pg_visible|sha256|hashtext$|pg_postmaster'
                               '|set_config|clock_timestamp|pg_blocking|pg_walfile|pg_is_in)') loop
    execute format('revoke execute on function %s from public', it);
  end loop;
end $$;
alter default privileges revoke execute on functions from public
"""
"""Revokes the functions that hardening guides name, and more."""


@pytest.fixture
def bare_people(bare: Cmp) -> Iterator[People]:
    people = People(bare)
    yield people
    people.close()


def install_capture(cmp: Cmp) -> None:
    with db.connect(cmp.dsn) as conn:
        install.install(conn, projects())


def test_the_list_of_needed_functions_is_complete(cmp: Cmp) -> None:
    here = Path(sql.__file__).parent
    text = "\n".join(
        [script.text for script in sql.functions()] + [(here / "queries.sql").read_text("utf-8")]
    )
    called = set(
        re.findall(r"(?<![\w.])(?:pg_catalog\.)?([a-z_][a-z0-9_]*)\s?\(", re.sub(r"--[^\n]*", "", text))
    )
    known = cmp.value(
        """select array_agg(distinct proname::text) from pg_proc
            where pronamespace = 'pg_catalog'::regnamespace and proname = any(%s)""",
        list(called),
    )
    [source] = [script.text for script in sql.functions() if script.name == "lacking_functions.sql"]
    listed = {name for names in re.findall(r"'\{([^}]*)\}'", source) for name in re.split(r"[\s,]+", names)}

    assert set(known) - listed == set()


def test_install_makes_everything_work_without_the_rights_of_public(
    bare: Cmp, bare_people: People, tmp_path: Path
) -> None:
    people = bare_people
    bare.conn.execute(REVOKE)
    install_capture(bare)
    daemon, client, writer = people.add("omnicdc_daemon"), people.add("omnicdc_client"), people.writer()
    host = Host(tmp_path / "host", people.dsn(daemon))
    with opened(host) as one, people.connect(writer) as conn:
        one.publish()
        db.execute(one.conn, "park")
        conn.execute(
            "insert into projects (id, name, created_at, updated_at) values (gen_random_uuid(), 'atlas', "
            "'today', 'today')"
        )
        one.publish()
        one.run_periodic_tasks()
        with db.connect(people.dsn(client)) as waiting:
            verdict = waits.wait(waiting, timeout_s=0.0, stop=Stop())
    host.close()
    fault = bare.value("select omnicdc.capture_fault()")

    assert fault is None
    assert [entry["name"] for entry in host.canonical().values()] == ["atlas"]
    assert verdict.status == "published", verdict


def test_a_function_revoked_later_is_reported_and_makes_no_write_fail(cmp: Cmp, people: People) -> None:
    for name in (
        "pg_notify(text, text)",
        "pg_try_advisory_lock(integer, integer)",
        "pg_notification_queue_usage()",
    ):
        cmp.conn.execute(f"revoke execute on function pg_catalog.{name} from public".encode())
    with db.connect(cmp.dsn) as consumer, people.connect(people.writer()) as conn:
        db.execute(consumer, "park")
        conn.execute("insert into projects (name) values ('atlas')")
        conn.execute("update projects set name = 'gemini'")
        conn.execute("delete from projects")
    with db.connect(cmp.dsn) as conn_:
        reported = db.fetch_one(conn_, "capture_fault")
    install_capture(cmp)
    after = cmp.value("select omnicdc.capture_fault()")

    assert [op for _, op, _ in cmp.log()] == ["insert", "update", "delete"]
    assert reported["fault"] == "role omnicdc_client may not call pg_notification_queue_usage()"
    assert "superuser" in reported["remedy"]
    assert after is None


def test_uninstall_revokes_its_grants(cmp: Cmp) -> None:
    """Else the roles could not be dropped."""
    cmp.conn.execute("revoke execute on function pg_catalog.pg_notify(text, text) from public")
    install_capture(cmp)
    granted = "select proacl::text from pg_proc where proname = 'pg_notify'"
    before = cmp.value(granted)
    with db.connect(cmp.dsn) as conn:
        install.uninstall(conn)

    assert "omnicdc_owner" in before
    assert "omnicdc" not in cmp.value(granted)
