"""The owner of CMP's table cannot have its code run with the rights of omnicdc or of a superuser."""

from __future__ import annotations

import contextlib
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import psycopg
import pytest
from faults.security.traps import TRAP, Traps

if TYPE_CHECKING:
    from support.cmp import Cmp
    from support.evidence import Evidence, Scale
    from support.host import Host
    from support.sessions import People


ATTACKS: dict[str, str] = {
    "columns of a type with a cast to text": """
        create cast (public.shape as text) with function public.as_text(public.shape);
        create cast (public.shape as varchar) with function public.as_text(public.shape) as assignment;
        alter table projects alter name type public.shape using row(name)::public.shape,
          alter status type public.shape using row(status)::public.shape,
          alter type type public.shape using row(type)::public.shape,
          alter key type public.shape using row(key)::public.shape""",
    "a column of an enum with a cast to text": """
        create cast (public.state as text) with function public.as_text(public.state) as implicit;
        alter table projects alter status type public.state using 'active'""",
    "metadata of a type with a cast to jsonb": """
        create cast (public.shape as jsonb) with function public.as_json(public.shape) as implicit;
        alter table projects alter metadata_ type public.shape using row(metadata_)::public.shape""",
    "an id of a type with a cast to uuid": """
        create cast (public.state as uuid) with function public.as_uuid(public.state) as implicit;
        alter table projects alter id drop default, alter id type public.state using 'active'""",
    "a domain that checks": """
        create domain public.checked as text check (public.check(value));
        alter table projects alter name type public.checked""",
    "a policy for rows": """
        alter table projects enable row level security;
        create policy mine on projects using (public.boom() is not null)""",
    "a view in its place": """
        drop table projects; create view projects as
          select gen_random_uuid() as id, public.boom() as name, null::text as key, null::text as type,
                 null::text as status, null::jsonb as metadata_, now() as updated_at;
        grant select on projects to public""",
    "defaults, indexes, generated columns, triggers and rules": """
        alter table projects alter description set default public.boom(),
          add column loud text generated always as (public.boom()) stored;
        create index on projects (public.boom());
        create trigger aaa before insert or update or delete on projects
          for each row execute function public.bang();
        create trigger zzz after insert or update or delete on projects
          for each row execute function public.bang();
        create rule mine as on update to projects do also select public.boom()""",
    "a trigger of the same name": """
        create or replace trigger omnicdc_log_update after update on projects
          for each row execute function public.bang()""",
}  # fmt: skip
"""What the table's owner may do to the table, with the functions below."""

IN_SHORT = "columns of a type with a cast to text"

FUNCTIONS = f"""
create type public.shape as (what text);
create type public.state as enum ('active');
-- PostgreSQL inlines a function in SQL. Then the planner itself runs what it takes for a constant.
create function public.boom() returns text immutable language plpgsql as {Traps.body("boom", "'x'")};
create function public.check(text) returns boolean immutable language plpgsql as
  {Traps.body("check", "true")};
create function public.bang() returns trigger language plpgsql as {Traps.body("bang", "coalesce(new, old)")};
create function public.as_text(public.shape) returns text immutable language sql as 'select public.boom()';
create function public.as_text(public.state) returns text immutable language sql as 'select public.boom()';
create function public.as_json(public.shape) returns jsonb immutable language sql as
  'select to_jsonb(public.boom())';
create function public.as_uuid(public.state) returns uuid immutable language sql as
  'select (public.boom() || repeat(\'\'0\'\', 32))::uuid';
"""


@pytest.mark.parametrize(
    "attack", [it if it == IN_SHORT else pytest.param(it, marks=pytest.mark.campaign) for it in ATTACKS]
)
def test_the_table_owner_s_code_is_never_run_as_omnicdc_owner_or_as_a_superuser(
    cmp: Cmp,
    host: Host,
    people: People,
    owner: str,
    traps: Traps,
    attack: str,
    scale: Scale,
    evidence: Evidence,
) -> None:
    """P4 for the database: only the owner itself and the daemon run code of the table's owner.

    The triggers run with the rights of omnicdc_owner, and a superuser installs. To read a table is to run
    code of its owner: PostgreSQL evaluates the expressions of its indexes, for example.
    """
    daemon = people.add("omnicdc_daemon")
    cmp.upsert("apollo", github_url="https://github.com/acme/apollo")
    running = host.daemon(OMNICDC_DSN=people.dsn(daemon))
    with people.connect(owner) as conn:
        conn.execute(FUNCTIONS.encode())
        conn.execute(ATTACKS[attack].encode())
    traps.executed()

    with people.connect(owner) as conn:  # a new session, which has not compiled the triggers yet
        if "view" not in attack:
            conn.execute("update projects set updated_at = clock_timestamp()")
            conn.execute("create temp table kept as table projects; delete from projects")
            values = "select id, name, key, type, status, metadata_ from kept"
            conn.execute(f"insert into projects (id, name, key, type, status, metadata_) {values}".encode())
            with contextlib.suppress(psycopg.Error):  # the new type may not accept a text
                conn.execute("insert into projects (name) values ('mercury')")
    commands = [["install"], ["status"], ["rebuild", "--timeout", "1"]]
    with ThreadPoolExecutor(3) as pool:
        answers = list(pool.map(lambda arguments: host.run(*arguments), commands))
    executed = traps.executed()

    assert [it for it in executed if it.rpartition(" ")[2] not in (owner, daemon)] == []
    # In these three attacks omnicdc may refuse the table before it reaches the code.
    assert executed or any(it in attack for it in ("policy", "uuid", "view"))
    assert running.process.poll() is None
    assert "Traceback" not in "".join(answer.stderr for answer in answers)
    if attack == IN_SHORT:  # one line of evidence for all attacks
        evidence(
            "P4", "the owner of CMP's table sets a trap: casts, a domain, a policy, a view, indexes, rules, "
                  "triggers",
            times=scale(1, len(ATTACKS)), found="run as the owner, and by the daemon, which only reads; "
                                                "never as omnicdc_owner or as the role that installs",
        )  # fmt: skip


ESCAPES: dict[str, str] = {
    "insert into omnicdc.history (consumer, generation, snapshot, changes, registries) values (''x'', 1, "
    "''1:1:'', 0, ''{}'')": "25006",
    "update omnicdc.consumer set generation = 7": "25006",
    "perform omnicdc.request_accept()": "25006",
    "perform omnicdc.request_look()": "25006",
    "perform omnicdc.request_rebuild()": "25006",
    "perform omnicdc.prune(''0'', ''0'')": "25006",
    "perform omnicdc.release_canary()": "25006",
    "create temp table mine ()": "25006",
    "create function public.mine() returns int language sql as ''select 1''": "25006",
    "perform nextval(''public.numbers'')": "25006",
    "set transaction read write": "25001",
    "perform set_config(''transaction_read_only'', ''off'', true)": "25001",
    "set role omnicdc_owner": "42501",
    "set session authorization postgres": "42501",
    "copy (select 1) to program ''true''": "42501",
    "perform pg_read_file(''/etc/passwd'')": "42501",
    "set session_replication_role = replica": "42501",
    "perform pg_reload_conf()": "42501",
}
"""What the owner's code may try while the daemon reads, and the error by which PostgreSQL refuses it."""


def test_the_table_owner_s_code_can_only_read_while_the_daemon_reads(
    cmp: Cmp, host: Host, people: People, owner: str, traps: Traps, evidence: Evidence
) -> None:
    """P6 for the database: the daemon reads in a read-only transaction, with a time limit and few rights."""
    daemon = people.add("omnicdc_daemon")
    tries = "".join(
        f"begin {action}; raise log '{TRAP} {number} allowed'; exception when others then raise log '{TRAP} "
        f"{number} %', sqlstate; end;"
        for number, action in enumerate(action.replace("''", "'") for action in ESCAPES)
    )
    settings = "'statement_timeout', 'transaction_read_only', 'search_path', 'row_security'"
    with people.connect(owner) as conn:
        conn.execute(
            f"""create type public.shape as (what text); create sequence public.numbers;
                grant usage on public.numbers to public;
                create function public.escape(public.shape) returns text language plpgsql as $escape$ begin
                  if session_user = '{daemon}' then
                    raise log '{TRAP} settings %',
                      (select string_agg(current_setting(it), '; ') from unnest(array[{settings}]) it);
                    {tries}
                  end if;
                  return ($1).what; end $escape$;
                create cast (public.shape as text) with function public.escape(public.shape);
                alter table projects alter type type public.shape using row(type)::public.shape""".encode()
        )
    cmp.conn.execute("insert into projects (name) values ('apollo')")
    host.daemon(OMNICDC_DSN=people.dsn(daemon))
    cmp.conn.execute("update projects set name = 'artemis'")
    cmp.arrived()
    executed = {*traps.executed()}

    assert "settings 45s; on; pg_catalog, pg_temp; off" in executed
    assert {it for it in executed if "settings" not in it} == {
        f"{number} {state}" for number, state in enumerate(ESCAPES.values())
    }
    assert [entry["name"] for entry in host.canonical().values()] == ["artemis"]
    evidence(
        "P6",
        "code of the table's owner, run by the daemon's own SELECT, tries to write, to become another user, "
        "to reach the machine",
        times=len(ESCAPES),
        found="all refused: the reading is read only, under a time limit, by a role that may do nothing else",
    )
