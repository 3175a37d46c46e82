"""Which rights omnicdc's roles need: read from the GRANT statements that an installation runs."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from pglast import ast, parse_sql
from pglast.enums import ObjectType

from omnicdc.db import sql

if TYPE_CHECKING:
    from collections.abc import Iterator

DAEMON, CLIENT = "omnicdc_daemon", "omnicdc_client"

KINDS = {
    ObjectType.OBJECT_SCHEMA: "schema",
    ObjectType.OBJECT_TABLE: "table",
    ObjectType.OBJECT_FUNCTION: "function",
}


@dataclass(frozen=True, slots=True)
class Right:
    """One right that a role of omnicdc has."""

    role: str
    kind: str
    """schema, table or function."""
    name: str
    """The schema's name, else the name of the table or function in schema omnicdc."""
    privilege: str

    def __str__(self) -> str:
        """Return it as a message names it."""
        thing = "schema omnicdc" if self.kind == "schema" else f"omnicdc.{self.name}"
        return f"{self.privilege.upper()} on {thing}{'()' if self.kind == 'function' else ''}"


@cache
def needed(role: str) -> tuple[Right, ...]:
    """Return the rights that the installation grants to a role."""
    texts = [sql.grants().text, *(script.text for script in sql.functions())]
    return tuple(right for text in texts for right in _granted(text) if right.role == role)


def _granted(text: str) -> Iterator[Right]:
    for raw in parse_sql(text):
        statement = raw.stmt
        if not isinstance(statement, ast.GrantStmt) or not statement.is_grant:
            continue
        for role in statement.grantees:
            for thing in statement.objects:
                for privilege in statement.privileges:
                    yield Right(role.rolename, KINDS[statement.objtype], _name(thing), privilege.priv_name)


def _name(thing: ast.Node) -> str:
    """Return the name of a granted object, without its schema."""
    if isinstance(thing, ast.RangeVar):
        return str(thing.relname)
    if isinstance(thing, ast.ObjectWithArgs):
        return str(thing.objname[-1].sval)
    return str(getattr(thing, "sval", thing))
