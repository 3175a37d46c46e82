"""Whether the rows of some keys can be read alone: then a change of a few rows needs no full scan. No I/O."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pglast import ast
from pglast.enums import JoinType, SetOperation

from omnicdc.registries.syntax import children

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

AGGREGATES = frozenset({
    "any_value", "array_agg", "avg", "bit_and", "bit_or", "bit_xor", "bool_and", "bool_or", "corr", "count",
    "covar_pop", "covar_samp", "every", "json_agg", "json_object_agg", "jsonb_agg", "jsonb_object_agg", "max",
    "min", "mode", "percentile_cont", "percentile_disc", "range_agg", "range_intersect_agg", "regr_count",
    "regr_slope", "stddev", "stddev_pop", "stddev_samp", "string_agg", "sum", "var_pop", "var_samp",
    "variance", "xmlagg",
})  # fmt: skip
"""Functions that make one row of several."""


def is_targeted(select: ast.SelectStmt, alias: str, *, windows: bool) -> bool:
    """Whether each row of the result follows from one row of the table `alias`, and from no other row of it.

    The table stands in the FROM of this SELECT, and is read nowhere else. `windows` says that a window
    function is called.
    """
    if windows or any(_nullable(item, alias) for item in select.fromClause):
        return False
    if (
        select.distinctClause
        or select.limitCount
        or select.limitOffset
        or select.op != SetOperation.SETOP_NONE
    ):
        return False
    if not select.groupClause:
        return not any(map(_is_aggregate, _calls((select.targetList, select.havingClause))))
    return bool(select.targetList) and _same(select.targetList[0].val, select.groupClause)


def _calls(part: object) -> Iterator[ast.FuncCall | ast.JsonAggConstructor]:
    """Yield the function calls of an expression, but for those in subqueries."""
    if isinstance(part, tuple | list):
        for one in part:
            yield from _calls(one)
    elif isinstance(part, ast.FuncCall):
        yield part
        yield from _calls(part.args)
    elif isinstance(part, ast.JsonAggConstructor):
        yield part
    elif isinstance(part, ast.Node) and not isinstance(part, ast.SelectStmt):
        yield from _calls(tuple(children(part)))


def _is_aggregate(call: ast.FuncCall | ast.JsonAggConstructor) -> bool:
    if isinstance(call, ast.JsonAggConstructor):
        return True
    return call.over is None and (
        call.agg_star or call.agg_within_group or call.funcname[-1].sval in AGGREGATES
    )


def _same(column: object, group: Sequence[ast.Node]) -> bool:
    """Whether the rows are grouped by this column, so that each group has one key."""
    names = _names(column)
    return names is not None and any(names == _names(one) for one in group)


def _names(node: object) -> list[str] | None:
    if not isinstance(node, ast.ColumnRef):
        return None
    return [part.sval for part in node.fields if isinstance(part, ast.String)]


def _nullable(item: ast.Node, alias: str) -> bool:
    """Whether a join may give a row in which this table has no row."""
    if not isinstance(item, ast.JoinExpr):
        return False
    left, right = _holds(item.larg, alias), _holds(item.rarg, alias)
    outer = {
        JoinType.JOIN_LEFT: right,
        JoinType.JOIN_RIGHT: left,
        JoinType.JOIN_FULL: left or right,
    }.get(item.jointype, False)
    return outer or _nullable(item.larg, alias) or _nullable(item.rarg, alias)


def _holds(item: ast.Node, alias: str) -> bool:
    if isinstance(item, ast.JoinExpr):
        return _holds(item.larg, alias) or _holds(item.rarg, alias)
    name = item.alias.aliasname if item.alias else getattr(item, "relname", "")
    return bool(name == alias)
