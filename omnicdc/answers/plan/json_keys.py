"""Which keys of a json column an UPDATE sets, where its text says so. No I/O."""

from __future__ import annotations

import json

from pglast import ast


def keys_set(target: ast.ResTarget) -> tuple[str, ...] | None:
    """Return the keys of the first level that `SET column = …` can change; None if it may be any.

    Known are `column['key'] = …`, `column || '{"key": …}'`, `column || jsonb_build_object('key', …)`,
    `column - 'key'` and `jsonb_set(column, '{key,…}', …)`, also nested and with casts.
    """
    if target.indirection:
        first = target.indirection[0]
        key = _text(first.uidx) if isinstance(first, ast.A_Indices) and not first.is_slice else None
        return None if key is None else (key,)
    return _changed(target.val, target.name)


def _changed(value: ast.Node, column: str) -> tuple[str, ...] | None:
    """Return the keys in which an expression differs from the column."""
    match value:
        case ast.ColumnRef():
            last = value.fields[-1]
            return () if isinstance(last, ast.String) and last.sval == column else None
        case ast.TypeCast():
            return _changed(value.arg, column)
        case ast.CoalesceExpr(args=(first, default)):
            return _changed(first, column) if _keys(default) == () else None
        case ast.A_Expr() if value.lexpr and len(value.name) == 1:
            operator = value.name[0].sval
            more = {"||": _keys, "-": _removed}.get(operator, lambda _node: None)(value.rexpr)
        case ast.FuncCall() if value.args and value.funcname[-1].sval in ("jsonb_set", "jsonb_set_lax"):
            return _united(_changed(value.args[0], column), _path(value.args[1]))
        case _:
            return None
    return None if more is None else _united(_changed(value.lexpr, column), more)


def _united(some: tuple[str, ...] | None, more: tuple[str, ...] | None) -> tuple[str, ...] | None:
    return None if some is None or more is None else tuple(dict.fromkeys((*some, *more)))


def _keys(node: ast.Node) -> tuple[str, ...] | None:
    """Return the keys of a json object that stands in the text."""
    if isinstance(node, ast.FuncCall):
        if node.funcname[-1].sval not in ("jsonb_build_object", "json_build_object") or node.func_variadic:
            return None
        names = [_text(one) for one in (node.args or ())[::2]]
        return None if None in names else tuple(name for name in names if name is not None)
    text = _text(node)
    try:
        found = json.loads(text) if text is not None else None
    except ValueError:
        return None
    return tuple(found) if isinstance(found, dict) else None


def _removed(node: ast.Node) -> tuple[str, ...] | None:
    # An array of keys, '{a,b}', is written like a text; a key in braces is unlikely, but possible.
    text = _text(node)
    return None if text is None or text.startswith("{") else (text,)


def _path(node: ast.Node) -> tuple[str, ...] | None:
    """Return the first key of a path, '{key,…}' or array['key', …]."""
    if isinstance(node, ast.A_ArrayExpr):
        first = _text(node.elements[0]) if node.elements else None
        return None if first is None else (first,)
    text = _text(node)
    if text is None or not (text.startswith("{") and text.endswith("}")):
        return None
    first = text[1:-1].split(",")[0].strip()
    return None if not first or '"' in first or "\\" in first else (first,)


def _text(node: object) -> str | None:
    """Return a constant text."""
    while isinstance(node, ast.TypeCast):
        node = node.arg
    if isinstance(node, ast.A_Const) and isinstance(node.val, ast.String):
        return str(node.val.sval)
    return None
