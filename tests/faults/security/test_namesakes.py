"""omnicdc runs no function or operator that another user created under a name that omnicdc calls."""

from __future__ import annotations

import itertools
import re
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest
from faults.security.traps import Traps
from support.sessions import People, psql

from omnicdc.db import sql

if TYPE_CHECKING:
    import psycopg
    from support.cmp import Cmp
    from support.evidence import Evidence, Scale
    from support.host import Host

    Connection = psycopg.Connection[tuple[Any, ...]]


TYPES = (
    "bool", "int2", "int4", "int8", "float8", "numeric", "text", "name", "oid", "regclass", "xid8", "uuid",
    "timestamptz", "interval", "json", "jsonb", "pg_snapshot", "text[]", '"char"', "regrole", "varchar",
    "int2vector",
)  # fmt: skip
FEW = 15
"""How many of these types a short run takes; it tries every pair of them."""

OPERATORS = {
    "bool": ("=", "<>", "<", ">", "<=", ">=", "~~", "*<>"),
    "float8": ("-", "*", "+", "&", "/"),
    "text": ("->>", "->", "||"),
}
"""By the type of the result, so that a statement of omnicdc could go on with it."""

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
"""The functions that omnicdc's statements call without naming the schema, and some more."""


@pytest.fixture
def untrusted_writer(cmp: Cmp, people: People) -> str:
    """The name of a role that writes CMP's table, and may create objects in `public`.

    Before PostgreSQL 15, every role may do so.
    """
    name = people.writer()
    cmp.conn.execute(f"grant create, usage on schema public to {name}".encode())
    return name


def create_namesakes(conn: Connection, types: tuple[str, ...]) -> int:
    """Create namesakes: of every operator for every pair of types, and of every function that omnicdc calls.

    Returns their number.
    """
    created = 0
    for gives, operators in OPERATORS.items():
        for left, right in itertools.product(types, types):
            function = f"trap_{created}"
            body = Traps.body(f"{gives}({left},{right})".replace("'", ""), f"null::{gives}")
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
            created += 1 + len(operators)
    for function, kind in itertools.product(CALLED, ("", *types)):
        conn.execute(
            f"create function public.{function}({kind}) returns text language plpgsql as "
            f"{Traps.body(function)}".encode()
        )
        created += 1
    return created


@pytest.mark.timeout(300)
@pytest.mark.parametrize("path", ["public", pytest.param("public, pg_catalog", marks=pytest.mark.campaign)])
def test_no_namesake_of_a_writer_is_run(
    cmp: Cmp,
    host: Host,
    people: People,
    untrusted_writer: str,
    traps: Traps,
    path: str,
    scale: Scale,
    evidence: Evidence,
) -> None:
    """P4 for the database: a role that may create objects in `public` cannot have its code run by others.

    The others are the installer, the triggers, the daemon and the clients. PostgreSQL looks in `pg_catalog`
    first, but it prefers an operator for exactly these two types to one that needs a cast.
    """
    types = TYPES[: scale(FEW, len(TYPES))]
    daemon, client = people.add("omnicdc_daemon"), people.add("omnicdc_client")
    for role in (daemon, client, "postgres"):
        cmp.conn.execute(
            f"alter role {role} in database {cmp.conn.info.dbname} set search_path = {path}".encode()
        )
    with people.connect(untrusted_writer) as conn, conn.transaction():
        created = create_namesakes(conn, types)
    project = cmp.upsert("apollo", github_url="https://github.com/acme/apollo")
    running = host.daemon(OMNICDC_DSN=people.dsn(daemon))
    as_client = {"OMNICDC_DSN": people.dsn(client)}

    with people.connect(untrusted_writer) as conn:
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
        (("rebuild",), as_client),
        (("verify", project), {}),
        (("verify", "--all"), as_client),
        (("rebuild", "--dry-run"), {}),
        (("registries",), as_client),
        (("check-config",), {}),
        (("source", "list"), as_client),
        (("consumer", "list"), as_client),
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
        done["by psql"] = psql(cmp.dsn, host.run("install", "--print").stdout)
        done["install again"] = host.run("install")

    assert sorted({*traps.executed()}) == []
    assert {command: result.stderr for command, result in done.items() if result.returncode} == {}
    assert stopped == 0
    # The traps do work: a statement without a schema runs one.
    with cmp.connect() as unprotected:
        unprotected.execute("select 1::oid = 1::regclass")
    assert traps.executed() == ["bool(oid,regclass) as postgres"]
    evidence(
        "P4",
        f"namesakes of operators and functions in a schema open to all, first in every user's search_path "
        f"({path})",
        times=created,
        found=f"none was run by {len(done)} commands, the daemon or the triggers",
    )
