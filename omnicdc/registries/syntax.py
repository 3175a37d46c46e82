"""Answers small questions about the nodes of a parsed query. `reads` and `targeting` ask them. No I/O."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pglast import ast
from pglast.enums import SetOperation

from omnicdc.registries.query import NAMELESS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_TEXT_OF = "->>"
"""`->` gives json: the text of two keys may be equal while their json differs, so it counts as the column."""


def children(node: ast.Node) -> Iterator[object]:
    """Yield what a node of the parsed query consists of."""
    for name in node.__slots__:
        child = getattr(node, name)
        if isinstance(child, ast.Node | tuple | list):
            yield child


def place_of(node: object) -> int | None:
    """Return the position of a node in the query, else of the first part of it that has one."""
    if isinstance(node, tuple | list):
        return next((at for at in map(place_of, node) if at is not None), None)
    at = getattr(node, "location", None)
    if at is None and isinstance(node, ast.Node):
        return place_of(tuple(children(node)))
    return at


def columns_of(select: ast.SelectStmt) -> tuple[str, ...]:
    """Return the names of the columns of the result. A set operation has those of its first part."""
    while select.larg:
        select = select.larg
    return tuple(target.name or _name_of(target.val) for target in select.targetList or ())


def _name_of(node: object) -> str:
    """Return the name that PostgreSQL gives a column without AS: NAMELESS for most expressions."""
    match node:
        case ast.TypeCast():
            return _name_of(node.arg)
        case ast.ColumnRef() if isinstance(node.fields[-1], ast.String):
            return str(node.fields[-1].sval)
        case ast.FuncCall():
            return str(node.funcname[-1].sval)
    return NAMELESS


def first_table(select: ast.SelectStmt, ctes: Mapping[str, ast.SelectStmt]) -> str | None:
    """Return the first table of a SELECT's FROM, also inside of a subquery or of a CTE; None without any."""
    if select.withClause:
        ctes = {**ctes, **{cte.ctename: cte.ctequery for cte in select.withClause.ctes}}
    if select.op != SetOperation.SETOP_NONE:
        return first_table(select.larg, ctes) or first_table(select.rarg, ctes)
    found = (_first_of(item, ctes) for item in select.fromClause or ())
    return next((table for table in found if table), None)


def _first_of(item: ast.Node, ctes: Mapping[str, ast.SelectStmt]) -> str | None:
    match item:
        case ast.JoinExpr():
            return _first_of(item.larg, ctes) or _first_of(item.rarg, ctes)
        case ast.RangeSubselect():
            return first_table(item.subquery, ctes)
        case ast.RangeVar():
            query = ctes.get(item.relname)
            return first_table(query, {}) if query else str(item.relname)
    return None


def json_key(node: ast.A_Expr) -> str | None:
    """Return the key that `column ->> 'key'` reads; None for any other expression."""
    operator, key = node.name[-1].sval, node.rexpr
    if operator != _TEXT_OF or not isinstance(node.lexpr, ast.ColumnRef) or not isinstance(key, ast.A_Const):
        return None
    return key.val.sval if isinstance(key.val, ast.String) else None
