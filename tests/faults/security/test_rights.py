"""Each role may do what docs/security.md says, and nothing else.

Each right is read from PostgreSQL's catalogs, and it is tried on a connection of that role.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from faults.security.rights import ACTIONS, KINDS, MATRIX, OTHERS, POWERS, ROLES, WATCHED
from psycopg import errors as pg
from psycopg import sql as pgsql

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import LiteralString

    from support.cmp import Cmp
    from support.evidence import Evidence
    from support.sessions import People

    Connection = psycopg.Connection[tuple[Any, ...]]


PAGE = Path(__file__).parents[3] / "docs/security.md"


@pytest.mark.parametrize("role", ROLES)
def test_each_role_has_the_documented_rights_and_no_others(
    cmp: Cmp, roles: dict[str, Connection], role: str, evidence: Evidence
) -> None:
    """The catalogs and real attempts agree with the matrix.

    The catalogs list every object, so that no object is forgotten.
    """
    expected = {thing: powers_of(thing, role) for thing in MATRIX}
    granted = {thing: granted_powers(cmp, thing, role_name(roles[role])) for thing in things(cmp)}
    triable = {thing: {power for power in granted[thing] if attempt(thing, power)} for thing in granted}
    tried = {thing: tried_powers(cmp, roles[role], thing) for thing in granted}
    done = {action for action in ACTIONS if allowed(roles[role], action)}
    columns = readable(cmp, role_name(roles[role]))

    assert granted == expected
    assert tried == triable
    assert done == {action for action, able in ACTIONS.items() if role in able.split()}
    assert columns == {"public": set(), "omnicdc_owner": set()}.get(
        role, WATCHED if role in ("omnicdc_client", "omnicdc_daemon") else WATCHED | OTHERS
    )
    if role == ROLES[0]:  # one line of evidence for all roles; a role that fails gets a line of its own
        tries = [
            attempt(thing, power) for thing in granted for power in POWERS[thing.split(maxsplit=1)[0]].split()
        ]
        rights = sum(map(bool, tries)) + len(ACTIONS)
        evidence(
            "", f"each right on each of {len(granted)} objects, and {len(ACTIONS)} other actions, tried as "
                f"{len(ROLES)} roles",
            times=rights * len(ROLES), found="allowed is what docs/security.md says, and nothing else",
        )  # fmt: skip


def test_the_page_shows_the_matrix() -> None:
    """docs/security.md has a line for each object, with the same rights as the matrix."""
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
            ", ".join(words[power] for power in rights.get(role, "").split()) or "-" for role in ROLES[3:5]
        )
        + " |"
        for thing, rights in MATRIX.items()
    ]

    assert [line for line in lines if line not in PAGE.read_text("utf-8")] == []


@pytest.fixture
def roles(cmp: Cmp, people: People) -> Iterator[dict[str, Connection]]:
    """A connection of each role. `omnicdc_owner` cannot log in, so a superuser becomes it."""
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
    """Return the rights of a role by the matrix."""
    kind = thing.split(maxsplit=1)[0]
    return set((POWERS[kind] if role == "omnicdc_owner" else MATRIX[thing].get(role, "")).split())


def things(cmp: Cmp) -> list[str]:
    """Return every object in the schema, of every kind, so that a new object is not forgotten."""
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


def granted_powers(cmp: Cmp, thing: str, role: str) -> set[str]:
    """Return the rights by PostgreSQL's catalogs. A right on one column counts as a right on the table."""
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


def attempt(thing: str, power: str) -> LiteralString:
    """Return a harmless statement that uses a right.

    It is empty where every such statement needs another right as well.
    """
    kind = thing.split(maxsplit=1)[0]
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
    return tries.get(f"{kind} {power}", "")


def tried_powers(cmp: Cmp, conn: Connection, thing: str) -> set[str]:
    """Return the rights that the user of a connection has when they are tried."""
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
        if (statement := attempt(thing, power))
        and allowed(
            conn, pgsql.SQL(statement).format(full, column=pgsql.Identifier(column), text=f"omnicdc.{name}")
        )
    }


def allowed(conn: Connection, action: LiteralString | pgsql.Composed) -> bool:
    """Whether a role may do an action, which is rolled back. An error of another kind means that it may."""
    with conn.transaction(force_rollback=True):
        try:
            conn.execute(action)
        except pg.InsufficientPrivilege:
            return False
        except psycopg.Error:
            return True
    return True


def readable(cmp: Cmp, role: str) -> set[str]:
    """Return the columns of CMP's table that a role may read."""
    found = cmp.conn.execute(
        """select a.attname::text from pg_attribute a
            where a.attrelid = 'projects'::regclass and a.attnum > 0
              and has_column_privilege(%s, a.attrelid, a.attnum, 'select')""",
        [role],
    ).fetchall()
    return {column for (column,) in found}
