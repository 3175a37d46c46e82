"""Security, from the outside.

Who may do what, no path to anybody else's rights, no secret told, no file out of the root.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import re
import shutil
import signal
import stat
import subprocess
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import psycopg
import pytest
from psycopg import errors as pg
from psycopg import sql as pgsql
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from support.faulty import FAULTS, PROGRAM
from support.host import COMMAND, PROJECT, REGISTRIES, Host, until
from support.sessions import People
from support.terminal import on_a_terminal

from omnicdc.db import sql
from omnicdc.demo.embedded import bundled
from omnicdc.files.manifest import MANIFEST

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import LiteralString

    from support.cmp import Cmp
    from support.evidence import Evidence, Scale

    Connection = psycopg.Connection[tuple[Any, ...]]

PAGE = Path(__file__).parents[2] / "docs/security.md"

# Who may do what
# ----------------------------------------------------------------------------------------------------

STRANGERS = ("public", "writer", "owner")
"""A login with nothing; who may write CMP's table; its owner: none of them has an omnicdc role."""
ROLES = (*STRANGERS, "omnicdc_client", "omnicdc_daemon", "omnicdc_owner")

READ, CALL = "select", "execute"
NOBODY: dict[str, str] = {}
BOTH = {"omnicdc_client": READ, "omnicdc_daemon": READ}
EITHER = {"omnicdc_client": CALL, "omnicdc_daemon": CALL}
DAEMON = {"omnicdc_daemon": CALL}

MATRIX: dict[str, dict[str, str]] = {
    "schema omnicdc": {"omnicdc_client": "usage", "omnicdc_daemon": "usage"},
    "table allowed_publication": BOTH,
    "table canary": NOBODY,
    "table change": BOTH,
    "table consumer": {"omnicdc_client": READ, "omnicdc_daemon": "select insert update"},
    "table history": {"omnicdc_client": READ, "omnicdc_daemon": "select insert"},
    "table migration": BOTH,
    "table quarantine": {"omnicdc_client": READ, "omnicdc_daemon": "select insert update delete"},
    "table source": BOTH,
    "sequence history_id_seq": NOBODY,
    "function allow_publications()": NOBODY,
    "function capture_fault()": EITHER,
    "function capture_fingerprint()": EITHER,
    "function capture_remedy(text)": EITHER,
    "function delivery(text,xid8)": EITHER,
    "function forget_canary(xid8)": DAEMON,
    "function forget_consumer(text,integer)": DAEMON,
    "function forget_other_cluster()": DAEMON,
    "function grant_reading(regclass,text[])": NOBODY,
    "function notified()": NOBODY,
    "function hash_of(text)": NOBODY,
    "function consumer_lock(text)": EITHER,
    "function consumer_pid(text)": EITHER,
    "function identity()": EITHER,
    "function is_alive(text)": EITHER,
    "function lacking_functions()": NOBODY,
    "function log_if_allowed(smallint,text[],text,text[])": NOBODY,
    "function log_row()": NOBODY,
    "function log_statement()": NOBODY,
    "function log_update()": NOBODY,
    "function relation_identity()": EITHER,
    "function prune(interval,interval,integer,xid8)": DAEMON,
    "function release_canary()": DAEMON,
    "function request_accept()": DAEMON,
    "function request_look()": EITHER,
    "function request_rebuild()": EITHER,
    "function table_rewritten()": DAEMON,
    "function notify_consumers()": NOBODY,
    "function row_security_fault()": EITHER,
    "function sleeper_lock()": DAEMON,
    "function consumer_may_wait()": NOBODY,
    "function triggered_table()": NOBODY,
    "function unexpected_publications()": EITHER,
    "function changes_since(pg_snapshot)": EITHER,
    "function unwatch(regclass)": NOBODY,
    "function unwatchable(regclass,text[])": NOBODY,
    "function watch(regclass,text[])": NOBODY,
    "function watch_source(text[])": NOBODY,
    "function watched_relations()": DAEMON,
    "function watched_types(oid[],text[])": NOBODY,
    "function writer_lock()": DAEMON,
}
"""What each may do with what is in the schema. `omnicdc_owner` owns it all and may do everything; who is not
named, nothing."""

POWERS = {
    "schema": "usage create",
    "table": "select insert update delete truncate references trigger",
    "sequence": "usage select update",
    "function": CALL,
}

KINDS = {"r": "table", "p": "table", "v": "table", "m": "table", "f": "table", "S": "sequence"}

WATCHED = {"id", "name", "key", "type", "status", "metadata_"}
OTHERS = {"description", "created_at", "updated_at"}

DEEDS: dict[LiteralString, str] = {
    # who is who
    "set role omnicdc_owner": "omnicdc_owner",
    "set session authorization omnicdc_owner": "omnicdc_owner",
    "grant omnicdc_owner to current_user": "",
    "grant omnicdc_daemon to current_user": "",
    "alter role omnicdc_owner login": "",
    "alter default privileges for role omnicdc_owner grant execute on functions to public": "omnicdc_owner",
    # hooks into what others run
    "create event trigger mine on ddl_command_start execute function pg_temp.mine()": "",
    "create rule mine as on insert to omnicdc.change do also nothing": "omnicdc_owner",
    "create policy mine on omnicdc.change": "omnicdc_owner",
    "create trigger mine after insert on omnicdc.change for each row execute function "
    "pg_temp.mine()": "omnicdc_owner",
    "create trigger mine after insert on pg_temp.mine for each row execute function "
    "omnicdc.log_row()": "omnicdc_owner",
    "create index on omnicdc.change (op)": "omnicdc_owner",
    "alter table omnicdc.change alter op set default pg_temp.mine()::text": "omnicdc_owner",
    "create or replace function omnicdc.notify_consumers() returns void language sql as ''": "omnicdc_owner",
    "alter function omnicdc.notify_consumers() security invoker": "omnicdc_owner",
    "alter function omnicdc.notify_consumers() set search_path = public": "omnicdc_owner",
    "create cast (omnicdc.change as text) with inout": "omnicdc_owner",
    "create operator omnicdc.= (leftarg = uuid, rightarg = uuid, function = "
    "pg_catalog.uuid_eq)": "omnicdc_owner",
    "drop schema omnicdc cascade": "omnicdc_owner",
    "comment on schema omnicdc is 'mine'": "omnicdc_owner",
    # CMP's table
    "insert into projects (name) values ('x')": "writer owner",
    "update projects set name = 'x'": "writer owner",
    "delete from projects": "writer owner",
    "truncate projects": "writer owner",
    "lock table projects in access exclusive mode": "writer owner",
    "create trigger mine after insert on projects for each row execute function pg_temp.mine()": "owner",
    "drop trigger omnicdc_log_row on projects": "owner",
    "alter table projects disable trigger user": "owner",
    # the machine
    "copy (select 1) to program 'true'": "",
    "copy pg_temp.mine from '/etc/passwd'": "",
    "select pg_read_file('/etc/passwd')": "",
    "set session_replication_role = replica": "",
}
"""What else one might try, and who may."""


@pytest.mark.parametrize("role", ROLES)
def test_each_role_may_do_what_the_table_says_and_nothing_else(
    cmp: Cmp, roles: dict[str, Connection], role: str, evidence: Evidence
) -> None:
    """Asked of the catalogs, where nothing can be forgotten, and tried by somebody who logged in as each."""
    expected = {thing: powers_of(thing, role) for thing in MATRIX}
    told = {thing: has(cmp, thing, role_name(roles[role])) for thing in things(cmp)}
    may = {thing: {power for power in told[thing] if attempts(thing, power)} for thing in told}
    tried = {thing: able(cmp, roles[role], thing) for thing in told}
    done = {deed for deed in DEEDS if allowed(roles[role], deed)}
    columns = readable(cmp, role_name(roles[role]))

    assert told == expected
    assert tried == may
    assert done == {deed for deed, who in DEEDS.items() if role in who.split()}
    assert columns == {"public": set(), "omnicdc_owner": set()}.get(
        role, WATCHED if role in ("omnicdc_client", "omnicdc_daemon") else WATCHED | OTHERS
    )
    if role == ROLES[0]:  # one line for all of them; what fails has one of its own
        rights = sum(len(POWERS[thing.split(maxsplit=1)[0]].split()) for thing in told) + len(DEEDS)
        evidence(
            "", f"each right on each of {len(told)} objects, and {len(DEEDS)} other deeds, tried as "
                f"{len(ROLES)} roles",
            times=rights * len(ROLES), found="allowed is what docs/security.md says, and nothing else",
        )  # fmt: skip


def test_the_page_shows_the_table() -> None:
    """docs/security.md has a line for each object, and it says what the matrix says."""
    words = {
        "select": "read",
        "insert": "add",
        "update": "change",
        "delete": "delete",
        "execute": "call",
        "usage": "use",
    }
    lines = [
        f"| `{thing.partition(' ')[2]}` | "
        + " | ".join(
            ", ".join(words[power] for power in who.get(role, "").split()) or "-" for role in ROLES[3:5]
        )
        + " |"
        for thing, who in MATRIX.items()
    ]

    assert [line for line in lines if line not in PAGE.read_text("utf-8")] == []


def test_nobody_can_log_in_as_a_role_of_ours(cmp: Cmp) -> None:
    """Not even with a password: `nologin`, and none of them may do anything to the cluster."""
    found = cmp.conn.execute(
        """select rolcanlogin, rolsuper, rolcreaterole, rolcreatedb, rolreplication, rolbypassrls,
                  rolpassword is not null
             from pg_authid
            where starts_with(rolname, 'omnicdc_')
              and rolname in ('omnicdc_owner', 'omnicdc_daemon', 'omnicdc_client')"""
    ).fetchall()
    with pytest.raises(psycopg.OperationalError, match="not permitted to log in"):
        psycopg.connect(make_conninfo(cmp.dsn, user="omnicdc_owner"))

    assert found == [(False,) * 7] * 3


def test_an_owner_who_can_log_in_is_not_installed_for(cmp: Cmp, host: Host, evidence: Evidence) -> None:
    """Who may create roles could make `omnicdc_owner` first, with a password, to be handed the schema."""
    cmp.conn.execute("alter role omnicdc_owner login")
    try:
        refused = host.run("install")
    finally:
        cmp.conn.execute("alter role omnicdc_owner nologin")

    assert refused.returncode == 2
    assert "alter role omnicdc_owner nologin" in refused.stderr
    assert host.run("install").returncode == 0
    evidence(
        "",
        "an omnicdc_owner that can log in, there before the installation",
        times=1,
        found="refused, with the remedy",
    )


@pytest.fixture
def people(cmp: Cmp) -> Iterator[People]:
    people = People(cmp)
    yield people
    people.close()


@pytest.fixture
def roles(cmp: Cmp, people: People) -> Iterator[dict[str, Connection]]:
    """A connection as each; `omnicdc_owner` cannot log in, so a superuser becomes it."""
    owner = people.add()
    cmp.conn.execute(f"alter table projects owner to {owner}".encode())
    names = {
        "public": people.add(),
        "writer": people.writer(),
        "owner": owner,
        "omnicdc_client": people.add("omnicdc_client"),
        "omnicdc_daemon": people.add("omnicdc_daemon"),
    }
    connections = {role: people.connect(name) for role, name in names.items()}
    connections["omnicdc_owner"] = cmp.connect()
    connections["omnicdc_owner"].execute("set session authorization omnicdc_owner")
    for conn in connections.values():
        conn.execute("create temp table mine (a integer)")
        conn.execute(
            "create function pg_temp.mine() returns trigger language plpgsql as 'begin return null; end'"
        )
    yield connections
    for conn in connections.values():
        conn.close()


def role_name(conn: Connection) -> str:
    row = conn.execute("select current_user::text").fetchone()
    assert row
    return str(row[0])


def powers_of(thing: str, role: str) -> set[str]:
    """What the matrix says."""
    kind = thing.split(maxsplit=1)[0]
    return set((POWERS[kind] if role == "omnicdc_owner" else MATRIX[thing].get(role, "")).split())


def things(cmp: Cmp) -> list[str]:
    """Everything in the schema, of whatever kind, so that what is new is not forgotten."""
    found = cmp.conn.execute(
        """select d.classid::regclass::text, d.objid, c.relkind::text,
                  coalesce(c.relname::text, replace(d.objid::regprocedure::text, 'omnicdc.', ''))
             from pg_depend d left join pg_class c on d.classid = 'pg_class'::regclass and c.oid = d.objid
            where d.refclassid = 'pg_namespace'::regclass and d.refobjid = 'omnicdc'::regnamespace
              -- the row type of a table
              and not exists (select from pg_type t where d.classid = 'pg_type'::regclass and t.oid = d.objid
                                 and (t.typrelid <> 0 or t.typelem <> 0))"""
    ).fetchall()
    kinds = {"pg_class": "", "pg_proc": "function"}
    return [
        "schema omnicdc",
        *(f"{kinds.get(catalog, catalog) or KINDS[kind]} {name}" for catalog, _, kind, name in found),
    ]


def has(cmp: Cmp, thing: str, role: str) -> set[str]:
    """What PostgreSQL says; a right on a single column counts as one on the table."""
    kind, name = thing.split(maxsplit=1)
    full = name if kind == "schema" else f"omnicdc.{name}"
    found = cmp.conn.execute(
        pgsql.SQL(
            "select power from unnest(%(powers)s::text[]) power where has_{kind}_privilege(%(role)s, "
            "%(name)s, power)"
        ).format(kind=pgsql.SQL(kind)),
        {"powers": POWERS[kind].split(), "role": role, "name": full},
    ).fetchall()
    powers = {str(power) for (power,) in found}
    if kind == "table":
        for power in ("select", "insert", "update", "references"):
            if cmp.value("select has_any_column_privilege(%s, %s, %s)", role, full, power):
                powers.add(power)
    return powers


def attempts(thing: str, power: str) -> LiteralString:
    """How to use a power, harmlessly; empty where there is no way to try that does not need another one."""
    kind, name = thing.split(maxsplit=1)
    tries: dict[str, LiteralString] = {
        "schema create": "create table omnicdc.mine ()",
        "table select": "select from {} limit 0",
        "table insert": "insert into {} default values",
        "table update": "update {} set {column} = default where false",
        "table delete": "delete from {} where false",
        "table truncate": "truncate {}",
        "table trigger": "create trigger mine after insert on {} for each row execute function "
        "pg_temp.mine()",
        "sequence usage": "select nextval({text})",
        "sequence select": "select last_value from {}",
        "sequence update": "select setval({text}, 1)",
        "function execute": "select {}",
    }
    del name
    return tries.get(f"{kind} {power}", "")


def able(cmp: Cmp, conn: Connection, thing: str) -> set[str]:
    """Which powers somebody turns out to have."""
    kind, name = thing.split(maxsplit=1)
    full: pgsql.Composable = pgsql.Identifier("omnicdc", name)
    column = "at"
    if kind == "function":
        function, types = re.fullmatch(r"(\w+)\((.*)\)", name).groups()  # type: ignore[union-attr]
        nulls = [pgsql.SQL("null::" + it) for it in types.split(",") if it]
        full = pgsql.SQL("{}({})").format(pgsql.Identifier("omnicdc", function), pgsql.SQL(", ").join(nulls))
    if kind == "table":
        column = cmp.value(
            "select attname from pg_attribute where attrelid = %s::regclass order by attnum desc limit 1",
            f"omnicdc.{name}",
        )
    powers = POWERS[kind].split()
    return {
        power
        for power in powers
        if (deed := attempts(thing, power))
        and allowed(
            conn, pgsql.SQL(deed).format(full, column=pgsql.Identifier(column), text=f"omnicdc.{name}")
        )
    }


def allowed(conn: Connection, deed: LiteralString | pgsql.Composed) -> bool:
    """Whether it is; it is undone in any case. What fails for another reason was allowed."""
    with conn.transaction(force_rollback=True):
        try:
            conn.execute(deed)
        except pg.InsufficientPrivilege:
            return False
        except psycopg.Error:
            return True
    return True


def readable(cmp: Cmp, role: str) -> set[str]:
    """Which columns of CMP's table somebody may read."""
    found = cmp.conn.execute(
        """select a.attname::text from pg_attribute a
            where a.attrelid = 'projects'::regclass and a.attnum > 0
              and has_column_privilege(%s, a.attrelid, a.attnum, 'select')""",
        [role],
    ).fetchall()
    return {column for (column,) in found}


# No path to anybody else's rights
# -----------------------------------------------------------------------------------

TYPES = (
    "bool", "int2", "int4", "int8", "float8", "numeric", "text", "name", "oid", "regclass", "xid8", "uuid",
    "timestamptz", "interval", "jsonb", "pg_snapshot", "text[]", '"char"', "json", "regrole", "varchar",
    "int2vector",
)  # fmt: skip
FEW = 14
"""Of these types in a short run, in every pair."""

OPERATORS = {
    "bool": ("=", "<>", "<", ">", "<=", ">=", "~~", "*<>"),
    "float8": ("-", "*", "+", "&", "/"),
    "text": ("->>", "->", "||"),
}
"""By what a namesake gives: something that the statement could go on with."""

CALLED = sorted(
    {
        *re.findall(r"(?<![.\w])(\w+)\(", "".join(sql.query(name) for name in sql._queries())),
        "format", "lower", "set_config",
    }
    - {
        "any", "exists", "in", "coalesce", "values", "and", "or", "not", "select", "case", "when", "array",
        "from", "where", "as", "consumer",
    }
)  # fmt: skip
"""What omnicdc's statements call without saying in which schema, and some more."""

SNARE = "SPRUNG"


class Snares:
    """Functions of somebody else's, which tell the server's log as whom they are run.

    The log outlives a rollback.
    """

    def __init__(self, cmp: Cmp) -> None:
        directory = Path(str(conninfo_to_dict(cmp.dsn)["host"]))
        self._log = directory / "log"
        if not self._log.is_file():
            pytest.skip("needs the log of the embedded server: OMNICDC_TEST_DSN names another")
        self._read = self._log.stat().st_size

    @staticmethod
    def body(what: str, value: str = "null") -> str:
        """The body of such a function in plpgsql."""
        tell = f"raise log '{SNARE} {what} as %', current_user;"
        return f"$snare$ begin {tell} return {value}; end $snare$"

    def sprung(self) -> list[str]:
        """What was run since the last call, and as whom: `WHAT as WHOM`."""
        with self._log.open(errors="replace") as log:
            log.seek(self._read)
            found = re.findall(rf"LOG:  {SNARE} (.*)$", log.read(), re.MULTILINE)
            self._read = log.tell()
        return found


@pytest.fixture
def snares(cmp: Cmp) -> Snares:
    return Snares(cmp)


@pytest.fixture
def mallory(cmp: Cmp, people: People) -> str:
    """Who writes CMP's table, and may create things in `public`, as everybody may before PostgreSQL 15."""
    name = people.writer()
    cmp.conn.execute(f"grant create, usage on schema public to {name}".encode())
    return name


def lay(conn: Connection, types: tuple[str, ...]) -> int:
    """Lay a namesake of every operator for every pair of types.

    Lay one of every function that is called by its bare name, too.
    """
    laid = 0
    for gives, operators in OPERATORS.items():
        for left, right in itertools.product(types, types):
            function = f"snare_{laid}"
            body = Snares.body(f"{gives}({left},{right})".replace("'", ""), f"null::{gives}")
            conn.execute(
                f"create function public.{function}({left}, {right}) returns {gives} language plpgsql as "
                f"{body};"
                + "".join(
                    f"create operator public.{operator} (leftarg = {left}, rightarg = {right}, function = "
                    f"public.{function});"
                    for operator in operators
                )
                .encode()
                .decode()  # one statement after the other, in one round trip
            )
            laid += 1 + len(operators)
    for function, kind in itertools.product(CALLED, ("", *types)):
        conn.execute(
            f"create function public.{function}({kind}) returns text language plpgsql as "
            f"{Snares.body(function)}".encode()
        )
        laid += 1
    return laid


@pytest.mark.timeout(300)
@pytest.mark.parametrize("path", ["public", pytest.param("public, pg_catalog", marks=pytest.mark.campaign)])
def test_namesakes_of_a_writer_are_run_by_nobody(
    cmp: Cmp,
    host: Host,
    people: People,
    mallory: str,
    snares: Snares,
    path: str,
    scale: Scale,
    evidence: Evidence,
) -> None:
    """P4 for the database.

    Who may create in `public` gets no code run by installer, trigger, daemon or client.

    PostgreSQL looks in `pg_catalog` first, but an operator for exactly these two types wins over one that
    needs a cast.
    """
    types = TYPES[: scale(FEW, len(TYPES))]
    daemon, client = people.add("omnicdc_daemon"), people.add("omnicdc_client")
    for who in (daemon, client, "postgres"):
        cmp.conn.execute(
            f"alter role {who} in database {cmp.conn.info.dbname} set search_path = {path}".encode()
        )
    with people.connect(mallory) as conn, conn.transaction():
        laid = lay(conn, types)
    project = cmp.upsert("apollo", github_url="https://github.com/acme/apollo")
    running = host.daemon(OMNICDC_DSN=people.dsn(daemon))
    as_client = {"OMNICDC_DSN": people.dsn(client)}

    with people.connect(mallory) as conn:
        for own in ("public", "public, pg_catalog", ""):
            conn.execute("select pg_catalog.set_config('search_path', %s, false)", [own])
            conn.execute("insert into public.projects (name) values ('mercury')")
            conn.execute(
                "update public.projects set status = 'x', metadata_ = '{\"domain\": \"moon\"}' where name "
                "operator(pg_catalog.~) 'y$'"
            )
            conn.execute("delete from public.projects where name operator(pg_catalog.~) 'y$'")
    commands = [
        (("wait", "--timeout", "60", "--project", "apollo"), as_client),
        (("status",), as_client),
        (("verify", project), {}),
        (("verify", "--all"), as_client),
        (("rebuild",), as_client),
        (("rebuild", "--dry-run"), {}),
        (("accept",), {}),
        (("status",), {}),
        (("wait", "--timeout", "60"), {}),
    ]  # fmt: skip
    done = {"install": host.run("install")}
    with ThreadPoolExecutor(3) as pool:
        for (arguments, _), result in zip(
            commands,
            pool.map(lambda it: host.run(*it[0], **it[1]), commands[: scale(3, len(commands))]),
            strict=False,
        ):
            done[" ".join(arguments)] = result
    stopped = running.stop()
    if scale(0, 1):
        done["uninstall"] = host.run("uninstall", "--yes")
        done["by psql"] = by_psql(cmp, host.run("install", "--print").stdout)
        done["install again"] = host.run("install")

    assert sorted({*snares.sprung()}) == []
    assert {command: result.stderr for command, result in done.items() if result.returncode} == {}
    assert stopped == 0
    with cmp.connect() as careless:
        careless.execute("select 1::oid = 1::regclass")
    assert snares.sprung() == ["bool(oid,regclass) as postgres"]
    evidence(
        "P4",
        f"namesakes of operators and functions in a schema open to all, first in everybody's search_path "
        f"({path})",
        times=laid,
        found=f"none was run by {len(done)} commands, the daemon or the triggers",
    )


def by_psql(cmp: Cmp, script: str) -> subprocess.CompletedProcess[str]:
    """Run a script as its header says."""
    return subprocess.run(
        [
            bundled() / "psql", "--no-psqlrc", "--quiet", "--single-transaction", "-v", "ON_ERROR_STOP=1",
            "-f", "-", cmp.dsn,
        ],
        input=script, capture_output=True, text=True, check=False,
    )  # fmt: skip


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
"""What the table's owner may do to it."""

IN_SHORT = "columns of a type with a cast to text"

ARSENAL = f"""
create type public.shape as (what text);
create type public.state as enum ('active');
-- Where a function in SQL is put in the place of its call, the planner already runs what seems a constant.
create function public.boom() returns text immutable language plpgsql as {Snares.body("boom", "'x'")};
create function public.check(text) returns boolean immutable language plpgsql as
  {Snares.body("check", "true")};
create function public.bang() returns trigger language plpgsql as {Snares.body("bang", "coalesce(new, old)")};
create function public.as_text(public.shape) returns text immutable language sql as 'select public.boom()';
create function public.as_text(public.state) returns text immutable language sql as 'select public.boom()';
create function public.as_json(public.shape) returns jsonb immutable language sql as
  'select to_jsonb(public.boom())';
create function public.as_uuid(public.state) returns uuid immutable language sql as
  'select (public.boom() || repeat(\'\'0\'\', 32))::uuid';
"""


@pytest.fixture
def owner(cmp: Cmp, people: People) -> str:
    """Who owns CMP's table, and may create types and functions."""
    name = people.add()
    cmp.conn.execute(
        f"alter table projects owner to {name}; grant create, usage on schema public to {name}".encode()
    )
    return name


@pytest.mark.parametrize(
    "attack", [it if it == IN_SHORT else pytest.param(it, marks=pytest.mark.campaign) for it in ATTACKS]
)
def test_the_owner_of_the_table_gets_no_code_run_as_omnicdc_owner_or_as_who_installs(
    cmp: Cmp,
    host: Host,
    people: People,
    owner: str,
    snares: Snares,
    attack: str,
    scale: Scale,
    evidence: Evidence,
) -> None:
    """P4 for the database: the triggers run by the rights of omnicdc_owner, and a superuser installs.

    Whoever reads a table runs code of its owner's, whatever reads it: PostgreSQL evaluates what stands in an
    index.
    """
    daemon = people.add("omnicdc_daemon")
    cmp.upsert("apollo", github_url="https://github.com/acme/apollo")
    running = host.daemon(OMNICDC_DSN=people.dsn(daemon))
    with people.connect(owner) as conn:
        conn.execute(ARSENAL.encode())
        conn.execute(ATTACKS[attack].encode())
    snares.sprung()

    with people.connect(owner) as conn:  # this session has not compiled the triggers before
        if "view" not in attack:
            conn.execute("update projects set updated_at = clock_timestamp()")
            conn.execute("create temp table kept as table projects; delete from projects")
            values = "select id, name, key, type, status, metadata_ from kept"
            conn.execute(f"insert into projects (id, name, key, type, status, metadata_) {values}".encode())
            with contextlib.suppress(psycopg.Error):  # where a text is not what it takes
                conn.execute("insert into projects (name) values ('mercury')")
    asked = [["install"], ["status"], ["rebuild", "--timeout", "1"]]
    with ThreadPoolExecutor(3) as pool:
        answers = list(pool.map(lambda arguments: host.run(*arguments), asked))
    sprung = snares.sprung()

    assert [it for it in sprung if it.rpartition(" ")[2] not in (owner, daemon)] == []
    assert sprung or any(it in attack for it in ("policy", "uuid", "view"))
    assert running.process.poll() is None
    assert "Traceback" not in "".join(answer.stderr for answer in answers)
    if attack == IN_SHORT:  # as above
        evidence(
            "P4", "the owner of CMP's table sets a trap: casts, a domain, a policy, a view, indexes, rules, "
                  "triggers",
            times=scale(1, len(ATTACKS)), found="run as the owner, and by the daemon, which only reads; "
                                                "never as omnicdc_owner or who installs",
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
"""What code of the owner's may try while the daemon reads, and how PostgreSQL refuses it."""


def test_what_the_owner_s_code_can_do_while_the_daemon_reads_is_nothing_but_read(
    cmp: Cmp, host: Host, people: People, owner: str, snares: Snares, evidence: Evidence
) -> None:
    """P6 for the database.

    The reading is one read-only transaction under a time limit, by a role with few rights.
    """
    daemon = people.add("omnicdc_daemon")
    tries = "".join(
        f"begin {deed}; raise log '{SNARE} {number} allowed'; exception when others then raise log '{SNARE} "
        f"{number} %', sqlstate; end;"
        for number, deed in enumerate(deed.replace("''", "'") for deed in ESCAPES)
    )
    settings = "'statement_timeout', 'transaction_read_only', 'search_path', 'row_security'"
    with people.connect(owner) as conn:
        conn.execute(
            f"""create type public.shape as (what text); create sequence public.numbers;
                grant usage on public.numbers to public;
                create function public.escape(public.shape) returns text language plpgsql as $escape$ begin
                  if session_user = '{daemon}' then
                    raise log '{SNARE} settings %',
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
    sprung = {*snares.sprung()}

    assert "settings 45s; on; pg_catalog, pg_temp; off" in sprung
    assert {it for it in sprung if "settings" not in it} == {
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


def test_a_scan_that_takes_too_long_is_held_and_the_others_go_on(
    cmp: Cmp, host: Host, people: People, owner: str, evidence: Evidence
) -> None:
    """P6: a SELECT that would run for an hour is cut off, says so, and heals.

    The git registry does not read that column.
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
    until(lambda: host.projects()[project]["github_url"] == "https://github.com/acme/artemis", "healed")

    assert "in time" in held["reason"]
    assert "statement_timeout" in held["hint"]
    assert not [event for event in running.events if event["event"] == "session_lost"]
    evidence(
        "P6",
        "a scan that sleeps for an hour",
        times=1,
        found="cut off and held; the others went on; healed by itself",
    )


def test_a_lock_on_the_table_is_waited_for_and_no_fault(cmp: Cmp, host: Host, evidence: Evidence) -> None:
    """P1, P6: CMP's migration, which locks and rewrites the table, holds the registries up and nothing else.

    A snapshot from before the rewriting sees an empty table: it was published as that, and `wait` said so.
    """
    project = cmp.upsert("apollo")
    running = host.daemon()
    stayed = watched_ids(host, project)
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
    assert stayed()
    assert not [event for event in running.events if event["event"] == "held"]
    evidence(
        "P1 P6",
        "CMP's table locked and rewritten while the daemon is about to read it",
        times=1,
        found="waited for, then published; no fault",
    )


def watched_ids(host: Host, project: str) -> Callable[[], bool]:
    """Look at the canonical registry until called; returns whether the project was in it all the time."""
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


TABLES = [
    "projects; drop table projects",
    'projects" s; drop table projects; --',
    "(select 1)",
    "projects, pg_authid",
    "pg_catalog.pg_authid",
    "projects where false union select rolpassword from pg_authid",
    "projects tablesample system (0)",
    "only projects",
    "public.projects.name",
    "other.public.projects",
    "$1",
    "%s",
    "{table}",
    "''",
    " ",
]
"""What a configuration might give for CMP's table."""


def test_a_table_s_name_from_the_configuration_is_a_name_and_nothing_else(
    cmp: Cmp, host: Host, scale: Scale, evidence: Evidence
) -> None:
    """P4 for the database: refused with one line, whatever it is; nothing of it reaches the server as SQL."""
    project = cmp.upsert("apollo")
    commands = [
        ["run", "--once"],
        ["install"],
        ["verify", project],
        ["wait", "--project", "apollo"],
        ["install", "--print"],
    ]
    tables = [*enumerate(TABLES)][:: scale(8, 1)]
    tries = [(table, commands[(at + more) % len(commands)]) for at, table in tables for more in (0, 2)]
    with ThreadPoolExecutor(3) as pool:
        ended = list(pool.map(lambda it: host.run(*it[1], "--table", it[0]), tries))

    accepted = [
        (table, command) for (table, command), done in zip(tries, ended, strict=True) if done.returncode == 0
    ]
    # To print the SQL for some other table is no harm.
    assert [it for it in accepted if it[1] != ["install", "--print"]] == []
    assert all(len(done.stderr.splitlines()) == 1 for done in ended if done.returncode == 2)
    assert cmp.value("select count(*) from projects") == 1
    evidence(
        "P4",
        "SQL in the place of the table's name",
        times=len(tries),
        found="refused in one line; nothing was run",
    )


# No secret told
# -----------------------------------------------------------------------------------------------------

CANARY = "Kanari"
PASSWORD = f"{CANARY}1/{CANARY}2@{CANARY}3:{CANARY}4 '{CANARY}5\\\"{CANARY}6%41é&{CANARY}7#?"
"""Every piece of it can be told from anything else."""


def quoted(text: str) -> str:
    """As libpq reads it in `key=value`."""
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


@pytest.fixture
def secretive(cmp: Cmp, people: People, snares: Snares) -> Iterator[dict[str, str]]:
    """A member of omnicdc_daemon who needs a password; gives where the server is."""
    del snares  # it knows whether this is the embedded server
    name = people.add("omnicdc_daemon")
    cmp.conn.execute(pgsql.SQL("alter role {} password {}").format(pgsql.Identifier(name), PASSWORD))
    at = {key: str(value) for key, value in conninfo_to_dict(cmp.dsn).items()}
    rules = Path(at["host"]) / "data/pg_hba.conf"
    before = rules.read_text()
    rules.write_text(f"local all {name} scram-sha-256\n{before}")
    cmp.conn.execute("select pg_reload_conf()")
    until(lambda: refuses(make_conninfo(cmp.dsn, user=name)), "the rule is in force")
    yield at | {"user": name}
    rules.write_text(before)
    cmp.conn.execute("select pg_reload_conf()")


def refuses(dsn: str) -> bool:
    try:
        psycopg.connect(dsn).close()
    except psycopg.OperationalError:
        return True
    return False


def ways(at: dict[str, str], host: Host, secret: str) -> dict[str, dict[str, str]]:
    """The environments that hand over a password, in every way there is but the command line."""
    plain = {key: at[key] for key in ("host", "port", "dbname", "user")}
    uri = (
        f"postgresql://{at['user']}:{quote(secret, safe='')}@/{at['dbname']}"
        f"?host={quote(at['host'], safe='')}&port={at['port']}"
    )
    parameter = f"{uri.replace(':' + quote(secret, safe=''), '')}&password={quote(secret, safe='')}"
    file, yaml_file, passfile = (host.root.parent / name for name in ("password", "omnicdc.yaml", "pgpass"))
    file.write_text(secret + "\n")
    yaml_file.write_text("dsn: " + json.dumps(make_conninfo("", **plain, password=secret)) + "\n")
    escaped = secret.replace("\\", "\\\\").replace(":", "\\:")
    passfile.write_text(f"*:*:*:*:{escaped}\n")
    passfile.chmod(0o600)
    return {
        "a URI": {"OMNICDC_DSN": uri},
        "a parameter of a URI": {"OMNICDC_DSN": parameter},
        "key=value": {"OMNICDC_DSN": f"host={at['host']} port={at['port']} dbname={at['dbname']} "
                                     f"user={at['user']} password={quoted(secret)}"},
        "CMP_DB_PASSWORD": {
            "OMNICDC_DSN": "", "CMP_DB_HOST": plain["host"], "CMP_DB_PORT": plain["port"],
            "CMP_DB_NAME": plain["dbname"], "CMP_DB_USER": plain["user"], "CMP_DB_PASSWORD": secret,
        },
        "PGPASSWORD": {"OMNICDC_DSN": make_conninfo("", **plain), "PGPASSWORD": secret},
        "a password file": {"OMNICDC_DSN": make_conninfo("", **plain), "OMNICDC_PASSWORD_FILE": str(file)},
        "the configuration": {"OMNICDC_DSN": "", "OMNICDC_CONFIG": str(yaml_file)},
        ".pgpass": {"OMNICDC_DSN": make_conninfo("", **plain), "PGPASSFILE": str(passfile)},
    }  # fmt: skip


def broken(at: dict[str, str], host: Host) -> dict[str, dict[str, str]]:
    """Environments in which the password, or what is beside it, is wrong.

    They have every mistake that people make.
    """
    kv = f"host={at['host']} port={at['port']} dbname={at['dbname']} user={at['user']}"
    files = {
        "a tab in YAML": f"dsn: {kv} password={PASSWORD}\n\t x",
        "a colon in YAML": f"dsn: host=h password: {PASSWORD}\n",
        "YAML that is a secret": PASSWORD,
        "an unknown setting": f"pasword: {json.dumps(PASSWORD)}\nroot: /",
        "a list": f"dsn: [{json.dumps(PASSWORD)}]",
        "a map": f"dsn: {{password: {json.dumps(PASSWORD)}}}",
    }
    written = {}
    for number, (what, text) in enumerate(files.items()):
        file = host.root.parent / f"broken{number}.yaml"
        file.write_text(text)
        written[what] = {"OMNICDC_DSN": "", "OMNICDC_CONFIG": str(file)}
    return written | {
        "the wrong password": {"OMNICDC_DSN": f"{kv} password={quoted(PASSWORD + 'x')}"},
        "no server": {"OMNICDC_DSN": f"host={host.root} user=x password={quoted(PASSWORD)}"},
        "no database": {"OMNICDC_DSN": f"{kv} password={quoted(PASSWORD)} dbname=nowhere"},
        "no role": {"OMNICDC_DSN": f"{kv} password={quoted(PASSWORD)} user=nobody_here"},
        "a URI that is not escaped": {"OMNICDC_DSN": f"postgresql://{at['user']}:{PASSWORD}@localhost/x"},
        "a URI with a bad port": {"OMNICDC_DSN": f"postgresql://u:{quote(PASSWORD, safe='')}@h:{CANARY}/x"},
        "an unfinished quote": {"OMNICDC_DSN": f"{kv} password='{CANARY} unfinished"},
        "a password for an option": {"OMNICDC_DSN": f"{kv} {CANARY}=x"},
        "a blank": {"OMNICDC_DSN": f"{kv} password = {CANARY} {CANARY}"},
        "a bad escape": {"OMNICDC_DSN": f"postgresql://u:{CANARY}%zz@h/x"},
        "no text": {"OMNICDC_DSN": f"{kv} password={quoted(CANARY)}\udcff"},
        "a passphrase": {"OMNICDC_DSN": f"{kv} password=x sslmode=require sslcert=/nowhere "
                                        f"sslpassword={CANARY}"},
    }  # fmt: skip


COMMANDS = [
    ["status"],
    ["run", "--once", "--log-level", "debug"],
    ["verify", "--all"],
    ["wait", "--timeout", "1"],
    ["install"],
    ["rebuild", "--dry-run"],
    ["accept", "--timeout", "1"],
    ["uninstall", "--yes"],
]


@pytest.mark.timeout(300)
def test_a_password_is_never_told_however_it_is_given_and_whatever_is_wrong(
    host: Host, secretive: dict[str, str], scale: Scale, evidence: Evidence
) -> None:
    """Not in an answer, not in the log at level debug, not in a traceback, not in a fault's own line."""
    good, bad = ways(secretive, host, PASSWORD), broken(secretive, host)
    # Each command in its turn, in a campaign with several of them, and with the stacks of what is killed.
    turns, stacks = itertools.cycle(COMMANDS), {"PYTHONFAULTHANDLER": "1"} if scale(0, 1) else {}
    tries = [
        (how, env, next(turns))
        for how, env in [*[*good.items()][:: scale(3, 1)], *[*bad.items()][:: scale(6, 1)]]
        for _ in range(scale(1, 4))
    ]
    with ThreadPoolExecutor(3) as pool:
        ended = list(
            pool.map(lambda it: host.run(*it[2], **it[1], OMNICDC_LOG_LEVEL="debug", **stacks), tries)
        )
    leaks = {
        (how, *command): done.stdout + done.stderr
        for (how, _, command), done in zip(tries, ended, strict=True)
        if CANARY in done.stdout + done.stderr or "Traceback" in done.stderr
    }
    refused = [
        (how, *command)
        for (how, _, command), done in zip(tries, ended, strict=True)
        if how in good and "authentication failed" in done.stderr
    ]

    assert leaks == {}
    assert refused == []
    evidence(
        "", f"a password with every special character, given in {len(good)} ways, and {len(bad)} mistakes "
            f"beside it, at level debug",
        times=len(tries), found="in no answer, log line, error or traceback",
    )  # fmt: skip


def test_a_running_daemon_shows_its_password_nowhere(
    cmp: Cmp, host: Host, secretive: dict[str, str], tmp_path: Path, evidence: Evidence
) -> None:
    """Not to `ps`, not to the programs it starts, not in the database, not in a file.

    It is not in what the daemon says when it dies, either.
    """
    seen = tmp_path / "seen"
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "gh").write_text(f"#!/bin/sh\n(env; tr '\\0' ' ' </proc/$$/cmdline) >>{seen}\necho '[]'\n")
    (programs / "gh").chmod(0o755)
    faults = tmp_path / "faults"
    host.program = PROGRAM
    env = {
        **ways(secretive, host, PASSWORD)["a URI"], "PGPASSWORD": PASSWORD, "CMP_DB_PASSWORD": PASSWORD,
        "OMNICDC_GH": "yes", "OMNICDC_REFRESH_S": "200ms", "PATH": f"{programs}:{os.environ['PATH']}",
        "PYTHONFAULTHANDLER": "1", FAULTS: str(faults), "OMNICDC_LOG_LEVEL": "debug",
    }  # fmt: skip
    cmp.upsert("apollo", github_url="https://github.com/acme/apollo")
    daemon = host.daemon(**env)
    until(seen.exists, "gh was asked")
    process = Path(f"/proc/{daemon.process.pid}")
    shown = {
        "its command line": (process / "cmdline").read_text(),
        "the environment of gh": seen.read_text(),
        "its sessions": str(cmp.conn.execute("select * from pg_stat_activity").fetchall()),
        "omnicdc's tables": str([
            cmp.conn.execute(f"select * from omnicdc.{table}".encode()).fetchall()
            for table in ("consumer", "history", "source")
        ]),
        "status": host.run("status", **env).stdout,
    }  # fmt: skip
    readers = stat.S_IMODE((process / "environ").stat().st_mode)
    faults.write_text("scanned: EBADF\n")
    cmp.upsert("artemis")
    trouble = daemon.wait_for("session_lost")
    faults.unlink()
    daemon.wait_for("recovered")
    status = daemon.stop(signal.SIGABRT)
    until(lambda: any("Fatal Python error" in line for line in daemon.noise), "the stacks are told")
    files = {str(file.relative_to(host.root.parent)): file.read_text(errors="replace")
             for place in (host.root, host.state) for file in place.rglob("*") if file.is_file()}  # fmt: skip
    said = {"its log": str(daemon.events), "its last words": "".join(daemon.noise), **shown, **files}

    assert [place for place, text in said.items() if CANARY in text] == []
    assert "OMNICDC" not in shown["the environment of gh"]
    assert trouble["exception"]
    assert (status, readers) == (-signal.SIGABRT, 0o400)
    evidence(
        "", "a daemon with a password: looked at through ps, its children, its sessions, tables and files; "
            "failed, and aborted",
        times=len(said), found="shown nowhere; its environment is for its own user only",
    )  # fmt: skip


def test_a_password_on_the_command_line_is_refused(host: Host, evidence: Evidence) -> None:
    """While a command runs, everybody can read its arguments."""
    given = [
        f"postgresql://u:{CANARY}@localhost/x", f"postgresql://u@localhost/x?password={CANARY}",
        f"host=x password={CANARY}", f"host=x sslpassword={CANARY}",
    ]  # fmt: skip
    ended = [host.run("status", "--dsn", dsn, OMNICDC_DSN="") for dsn in given]

    assert [done.returncode for done in ended] == [2] * len(given)
    assert all("command line" in done.stderr and "OMNICDC_PASSWORD_FILE" in done.stderr for done in ended)
    assert CANARY not in "".join(done.stdout + done.stderr for done in ended)
    evidence(
        "",
        "a password in --dsn",
        times=len(given),
        found="refused, with the ways that no other user can read",
    )


def test_what_somebody_wrote_cannot_steer_the_terminal_of_who_asks(
    host: Host, people: People, owner: str, evidence: Evidence
) -> None:
    """A reason quotes the server, and the server quotes whoever owns the table."""
    escape = "\x1b]0;mine\x07\x1b[2J"
    with people.connect(owner) as conn:
        conn.execute(
            f"""create type public.shape as (what text);
                create function public.rail(public.shape) returns text language plpgsql as
                  $rail$ begin raise exception '%{escape}' using errcode = '22000'; end $rail$;
                create cast (public.shape as text) with function public.rail(public.shape);
                alter table projects alter type type public.shape using row(type)::public.shape;
                insert into projects (name) values ('apollo')""".replace("%", "").encode()
        )
    host.run("run", "--once")
    shown = on_a_terminal([COMMAND, "status"], host.env).raw

    assert "mine" in shown
    assert "\x1b]" not in shown
    assert "\x1b[2J" not in shown
    evidence(
        "",
        "control characters in an error of the server's, shown by `status`",
        times=1,
        found="shown as text",
    )


# Files
# ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("umask", [0o077, 0o000])
def test_a_rewritten_file_keeps_its_mode_and_owner_whatever_the_umask(
    cmp: Cmp, host: Host, umask: int, evidence: Evidence
) -> None:
    """P2: nobody may read or write more of a registry than before.

    A new one is readable, and writable by its owner alone.
    """
    before = os.umask(umask)
    try:
        daemon = host.daemon()
    finally:
        os.umask(before)
    fresh = {stat.S_IMODE((host.root / name).stat().st_mode) for name in REGISTRIES}
    modes = dict(zip(REGISTRIES, (0o600, 0o640, 0o664), strict=True))
    foreign = (65534, 60) if os.geteuid() == 0 else (os.geteuid(), os.getegid())
    for name, mode in modes.items():
        os.chown(host.root / name, *foreign)
        (host.root / name).chmod(mode)
    seen = watched_modes(host, modes)
    cmp.upsert("apollo", github_url="https://github.com/acme/apollo")
    cmp.arrived()
    too_open = seen()
    found = {name: (host.root / name).stat() for name in REGISTRIES}
    daemon.stop()

    assert fresh == {0o644 & ~umask}
    assert {name: stat.S_IMODE(it.st_mode) for name, it in found.items()} == modes
    assert {(it.st_uid, it.st_gid) for it in found.values()} == {foreign}
    assert too_open == set()
    if umask:  # as above
        evidence(
            "P2", "registries of another user's with modes of their own, rewritten under umask 077 and 000",
            times=2 * len(REGISTRIES), found="owner, group and mode kept; never more open, not even half "
                                             "written",
        )  # fmt: skip


def watched_modes(host: Host, modes: dict[str, int]) -> Callable[[], set[str]]:
    """Look at the files, the unfinished ones as well, until called.

    Returns those that were more open than they may be.
    """
    too_open: set[str] = set()
    done = threading.Event()

    def look() -> None:
        while not done.is_set():
            for name, mode in modes.items():
                for file in (
                    host.root / name,
                    (host.root / name).with_name(f".{Path(name).name}.omnicdc-tmp"),
                ):
                    with contextlib.suppress(FileNotFoundError):
                        if stat.S_IMODE(file.stat().st_mode) & ~mode:
                            too_open.add(file.name)

    thread = threading.Thread(target=look)
    thread.start()

    def end() -> set[str]:
        done.set()
        thread.join()
        return too_open

    return end


PLACES = [
    *REGISTRIES,
    str(MANIFEST),
    "governance/registry/.omnicdc.lock",
    *(str(Path(name).with_name(f".{Path(name).name}.omnicdc-tmp")) for name in (*REGISTRIES, MANIFEST)),
]
DIRECTORIES = ["governance", "governance/registry", *(name.rpartition("/")[0] for name in REGISTRIES)]


def test_no_symbolic_link_leads_a_write_out_of_the_root(
    cmp: Cmp, tmp_path: Path, scale: Scale, evidence: Evidence
) -> None:
    """P2: who may write below the root cannot have the daemon write elsewhere.

    Not by a file's place, not by a directory's.
    """
    cmp.upsert("apollo", github_url="https://github.com/acme/apollo")
    places = [*PLACES, *DIRECTORIES][:: scale(4, 1)]
    with ThreadPoolExecutor(3) as pool:
        outcomes = dict(pool.map(lambda place: linked(cmp, tmp_path, place), places))
    lasting = {*DIRECTORIES, "governance/registry/.omnicdc.lock"} & {*places}

    assert [place for place, (touched, _, _) in outcomes.items() if touched] == []
    assert [place for place, (_, status, _) in outcomes.items() if status] == sorted(
        lasting, key=places.index
    )
    assert all("Traceback" not in said for _, _, said in outcomes.values())
    evidence(
        "P2", "a symbolic link out of the root in the place of each file and directory that the daemon "
              "writes",
        times=len(outcomes), found=f"nothing outside was touched; {len(lasting)} refused with the reason, "
                                   f"the other links replaced",
    )  # fmt: skip


def linked(cmp: Cmp, where: Path, place: str) -> tuple[str, tuple[bool, int, str]]:
    """Publish with a link in a place.

    Gives whether anything behind it was touched, the exit status, and what was said.
    """
    name = place.replace("/", "_")
    host, outside = Host(where / name, cmp.dsn), where / f"outside_{name}"
    for registry in REGISTRIES:
        (outside / Path(registry).parent).mkdir(parents=True, exist_ok=True)
    (outside / "file").write_text("mine")
    link = host.root / place
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(outside / "file" if place in PLACES else outside)
    before = tree(outside)
    done = host.run("run", "--once")
    return place, (tree(outside) != before, done.returncode, done.stderr)


def tree(directory: Path) -> list[tuple[str, int, bytes]]:
    """Everything below a directory, with what changes when it is touched."""
    return sorted(
        (str(it), it.stat().st_mtime_ns, it.read_bytes() if it.is_file() else b"")
        for it in directory.rglob("*")
    )


@pytest.mark.campaign
def test_an_input_that_is_a_link_to_a_secret_tells_nothing_of_it(
    cmp: Cmp, host: Host, tmp_path: Path, evidence: Evidence
) -> None:
    """Who may write the overrides could have the daemon read its own password as YAML.

    What the daemon complains of is not quoted.
    """
    cmp.upsert("apollo")
    secret = tmp_path / "secret"
    links = [
        "projects/LOCAL_OVERRIDES_V1.yaml",
        "projects/EXCLUSION_LIST_V1.yaml",
        "git_repos/repo_inventory.json",
    ]
    texts = [
        PASSWORD, f"{CANARY}\n", f"*{CANARY}", f"{CANARY}: {CANARY}", f"!{CANARY} x", f"- {CANARY}",
        f"overrides: [{CANARY}]", f"%{CANARY}",
    ]  # fmt: skip
    said = {}
    for link, text in itertools.product(links, texts):
        place = host.root / "governance/registry" / link
        place.parent.mkdir(parents=True, exist_ok=True)
        place.unlink(missing_ok=True)
        shutil.rmtree(host.state, ignore_errors=True)
        secret.write_text(text)
        place.symlink_to(secret)
        done = host.run("run", "--once")
        published = "".join(str(content) for content in host.content().values())
        said[link, text] = done.stdout + done.stderr + published
        place.unlink(missing_ok=True)

    assert {key: text for key, text in said.items() if CANARY in text.replace(CANARY + ".", "")} == {}
    evidence(
        "",
        "overrides, exclusions and inventory that are links to a secret",
        times=len(said),
        found="complained of by line, never quoted",
    )
