"""P4, P5: row-level security on omnicdc's tables is harmless, enabled or forced.

It harms neither CMP's writers nor the daemon nor clients that wait.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import psycopg
import pytest
from support.evidence import every
from support.host import Host
from support.session import opened
from support.sessions import People
from support.sources import projects

from omnicdc import db
from omnicdc.answers.status import status
from omnicdc.capture import install
from omnicdc.config.settings import Config
from omnicdc.delivery import wait as waits
from omnicdc.errors import SchemaMismatch
from omnicdc.stop import Stop

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from typing import LiteralString

    from support.cmp import Cmp


HARDEN = b"""
do $$
declare it regclass;
begin
  for it in select oid from pg_class where relnamespace = 'omnicdc'::regnamespace and relkind = 'r' loop
    execute format('alter table %s enable row level security, force row level security', it);
  end loop;
end $$
"""
ON_CREATION = b"""
create function public.harden() returns event_trigger language plpgsql as $$
declare it text;
begin
  for it in select object_identity from pg_event_trigger_ddl_commands()
             where command_tag = 'CREATE TABLE' and schema_name = 'omnicdc' loop
    execute 'alter table ' || it || ' enable row level security, force row level security';
  end loop;
end $$;
create event trigger harden on ddl_command_end when tag in ('CREATE TABLE') execute function public.harden()
"""


def assert_published(people: People, directory: Path) -> None:
    """A role without rights on omnicdc writes to CMP, the daemon publishes it, and a wait reports it."""
    daemon, client, writer = people.add("omnicdc_daemon"), people.add("omnicdc_client"), people.writer()
    host = Host(directory, people.dsn(daemon))
    with opened(host) as one, people.connect(writer) as conn:
        one.publish()
        # A dump sets this before it restores CMP's own rows.
        conn.execute("set row_security = off")
        conn.execute("insert into projects (name, status) values ('atlas', 'active')")
        conn.execute("update projects set status = 'frozen'")
        one.publish()
        one.run_periodic_tasks()
        with db.connect(people.dsn(client)) as waiting:
            db.check_schema(waiting)
            verdict = waits.wait(waiting, timeout_s=0.0, stop=Stop())
            found = status(waiting)
    host.close()

    assert [entry["status"] for entry in host.canonical().values()] == ["frozen"]
    assert verdict.status == "published", verdict
    assert found["capture"]["fault"] is None


@pytest.fixture
def bare_people(bare: Cmp) -> Iterator[People]:
    people = People(bare)
    yield people
    people.close()


def test_row_security_on_every_table_is_harmless(cmp: Cmp, people: People, tmp_path: Path) -> None:
    cmp.conn.execute(HARDEN)

    assert_published(people, tmp_path / "host")


def test_an_event_trigger_that_enables_row_security_is_harmless(
    bare: Cmp, bare_people: People, tmp_path: Path
) -> None:
    """It acts before omnicdc writes its first row."""
    bare.conn.execute(ON_CREATION)
    with db.connect(bare.dsn) as conn:
        install.install(conn, projects())

    assert_published(bare_people, tmp_path / "host")


def test_a_dropped_policy_is_reported_and_install_creates_it_again(
    cmp: Cmp, people: People, tmp_path: Path
) -> None:
    cmp.conn.execute(HARDEN)
    cmp.conn.execute("drop policy omnicdc_all on omnicdc.consumer")
    fault = cmp.value("select omnicdc.capture_fault()")
    with db.connect(cmp.dsn) as conn:
        install.install(conn, projects())

    assert fault == "row-level security is enabled on omnicdc.consumer, and policy omnicdc_all is missing"
    assert_published(people, tmp_path / "host")


BROKEN_POLICIES: dict[LiteralString, tuple[str, LiteralString]] = {
    "create policy mine on omnicdc.change as restrictive using (false)": (
        "policy mine on omnicdc.change is not omnicdc's", "drop policy mine on omnicdc.change",
    ),
    "create policy mine on omnicdc.change as restrictive for insert with check (1 / 0 = 1)": (
        "policy mine on omnicdc.change is not omnicdc's", "drop policy mine on omnicdc.change",
    ),
    "create policy mine on omnicdc.source as restrictive using (false)": (
        "policy mine on omnicdc.source is not omnicdc's", "drop policy mine on omnicdc.source",
    ),
    "create policy mine on omnicdc.migration as restrictive using (false)": (
        "policy mine on omnicdc.migration is not omnicdc's", "drop policy mine on omnicdc.migration",
    ),
    "alter policy omnicdc_all on omnicdc.change using (false)": (
        "policy omnicdc_all on omnicdc.change was altered", "",
    ),
    "alter policy omnicdc_all on omnicdc.change with check (op = 'rebuild')": (
        "policy omnicdc_all on omnicdc.change was altered", "drop policy omnicdc_all on omnicdc.change",
    ),
    "alter policy omnicdc_all on omnicdc.migration using (false)": (
        "policy omnicdc_all on omnicdc.migration was altered", "",
    ),
    "alter policy omnicdc_all on omnicdc.change to omnicdc_client": (
        "policy omnicdc_all on omnicdc.change was altered", "",
    ),
    "drop policy omnicdc_all on omnicdc.change": (
        "row-level security is enabled on omnicdc.change, and policy omnicdc_all is missing", "",
    ),
}  # fmt: skip


@pytest.mark.parametrize("statement", every(3, BROKEN_POLICIES))
def test_a_broken_policy_makes_no_write_fail_and_has_a_remedy_that_works(
    cmp: Cmp, people: People, tmp_path: Path, statement: LiteralString
) -> None:
    fault, command = BROKEN_POLICIES[statement]
    client, writer, installer = people.add("omnicdc_client"), people.writer(), people.add("omnicdc_owner")
    cmp.conn.execute(
        psycopg.sql.SQL("alter table projects owner to {}").format(psycopg.sql.Identifier(installer))
    )
    project = cmp.upsert("before")
    host = Host(tmp_path / "host", people.dsn(people.add("omnicdc_daemon")))
    with opened(host) as one, people.connect(writer) as conn, db.connect(people.dsn(client)) as waiting:
        one.publish()
        cmp.conn.execute(HARDEN)
        cmp.conn.execute(statement)
        conn.execute("insert into projects (name) values ('atlas'), ('gone')")
        conn.execute("update projects set status = 'frozen'")
        conn.execute("update projects set id = gen_random_uuid() where id = %s", [project])
        conn.execute("delete from projects where name = 'gone'")
        try:
            db.check_schema(waiting)
            broken = waits.wait(waiting, timeout_s=0.0, stop=Stop())
            reported = (broken.status, broken.detail, broken.hint)
        except SchemaMismatch as exc:
            reported = ("capture_broken", exc.message, exc.hint)
        if command:
            cmp.conn.execute(command)
        with db.connect(people.dsn(installer)) as installing:
            install.install(installing, projects())
        one.run_periodic_tasks()
        one.publish()
        verdict = waits.wait(waiting, timeout_s=0.0, stop=Stop())
    host.close()

    assert reported[0] == "capture_broken"
    assert fault in reported[1]
    assert (f"`{command}`" if command else "run `omnicdc install`") in reported[2]
    assert verdict.status == "published", verdict
    assert sorted(entry["name"] for entry in host.canonical().values()) == ["atlas", "before"]
    assert {entry["status"] for entry in host.canonical().values()} == {"frozen"}


def test_a_broken_policy_makes_no_truncate_fail(cmp: Cmp, people: People) -> None:
    cmp.upsert("atlas")
    cmp.conn.execute(HARDEN)
    cmp.conn.execute("create policy mine on omnicdc.change as restrictive using (false)")
    with people.connect(people.writer()) as conn:
        conn.execute("truncate projects")

    assert cmp.value("select count(*) from projects") == 0


def test_row_security_that_was_forced_for_a_moment_alters_the_fingerprint(cmp: Cmp) -> None:
    """The log may have refused rows between two checks of the fingerprint."""
    cmp.conn.execute("alter table omnicdc.change enable row level security")
    before = cmp.value("select omnicdc.capture_fingerprint()")
    cmp.conn.execute("alter table omnicdc.change force row level security")
    cmp.conn.execute("alter table omnicdc.change no force row level security")

    assert cmp.value("select omnicdc.capture_fingerprint()") != before


def test_a_policy_that_is_not_omnicdc_s_is_reported(cmp: Cmp) -> None:
    cmp.conn.execute(HARDEN)
    cmp.conn.execute("create policy mine on omnicdc.change as restrictive using (false)")

    assert cmp.value("select omnicdc.capture_fault()") == "policy mine on omnicdc.change is not omnicdc's"


def test_a_policy_on_cmp_s_table_is_an_error_and_never_applied(
    cmp: Cmp, people: People, tmp_path: Path
) -> None:
    cmp.upsert("atlas")
    daemon = people.add("omnicdc_daemon")
    host = Host(tmp_path / "host", people.dsn(daemon))
    cmp.conn.execute("alter table projects enable row level security")
    cmp.conn.execute("create policy mine on projects using (true)")
    with opened(host) as one:
        generation = one.publish()
    with (
        db.connect(people.dsn(daemon)) as conn,
        pytest.raises(SchemaMismatch) as refused,
        db.one_snapshot(conn),
    ):
        conn.execute("select name from public.projects")
    host.close()

    assert isinstance(refused.value.__cause__, psycopg.errors.InsufficientPrivilege)
    assert generation
    assert len(generation.held) == 3
    assert {fault.hint for fault in generation.held.values()} == {
        f"as a superuser: `alter role {daemon} bypassrls`"
    }


def test_a_policy_on_cmp_s_table_makes_a_lookup_of_names_fail(cmp: Cmp, people: People) -> None:
    cmp.upsert("atlas")
    cmp.conn.execute("alter table projects enable row level security")
    with (
        db.connect(people.dsn(people.add("omnicdc_client"))) as conn,
        pytest.raises(SchemaMismatch, match="looking for the project"),
    ):
        waits.projects_named(conn, Config(), ["atlas"])


def test_a_second_install_takes_no_lock_for_its_policies(cmp: Cmp) -> None:
    with cmp.connect() as other, other.transaction(), db.connect(cmp.dsn) as conn:
        other.execute("lock table omnicdc.change in access share mode")

        assert install.install(conn, projects()) is False
