"""What SQL statements would write: tables, columns and keys of json columns. PostgreSQL's own parser. No I/O.

`static` judges what that means for the registries, `trial` runs the statements.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from pglast import ast, parse_sql
from pglast.enums import CmdType, OnConflictAction
from pglast.parser import ParseError

from omnicdc.answers.plan.json_keys import keys_set
from omnicdc.errors import ConfigError
from omnicdc.registries.syntax import children

if TYPE_CHECKING:
    from collections.abc import Iterator

Operation = Literal["insert", "update", "delete", "truncate"]

TAKEN = "INSERT, UPDATE, DELETE, MERGE and TRUNCATE, also within WITH"

_OPERATIONS: dict[int, Operation] = {
    CmdType.CMD_INSERT: "insert",
    CmdType.CMD_UPDATE: "update",
    CmdType.CMD_DELETE: "delete",
}


@dataclass(frozen=True, slots=True)
class Place:
    """A place in the SQL that was given, for messages. Both numbers are counted from 1."""

    line: int
    """0 if there is only one line."""
    character: int

    def after(self, text: str) -> Place:
        """Return the place behind a text that begins here."""
        lines = text.count("\n")
        return Place(self.line + lines, len(text) - text.rfind("\n") if lines else self.character + len(text))

    def __str__(self) -> str:
        """Return it as words."""
        return f"line {self.line}, character {self.character}" if self.line else f"character {self.character}"


@dataclass(frozen=True, slots=True)
class Write:
    """One table that a statement writes."""

    operation: Operation
    table: tuple[str, ...]
    """The table's name, with its schema if the statement names it."""
    fields: tuple[str, ...] | None = None
    """The columns that an UPDATE sets, or `column.key`; None for all columns."""
    only: bool = False
    """Whether the statement leaves out the tables that inherit from this one."""


@dataclass(frozen=True, slots=True)
class Statement:
    """One statement that writes rows."""

    text: str
    place: Place
    command: str
    """The first word: UPDATE, WITH, …"""
    writes: tuple[Write, ...]
    functions: tuple[tuple[str, ...], ...] = ()
    """The names of the functions that it calls, with their schemas if it names them."""


def statements_of(sql: str) -> tuple[Statement, ...]:
    """Return the statements of a text.

    Raises ConfigError, with the place, for a text that does not parse, and for a statement that does anything
    else than writing rows: a plan runs it, and must be able to undo it.
    """
    if "\0" in sql:
        raise ConfigError("the SQL holds a NUL character", hint="is it a text file in UTF-8?")
    try:
        found = tuple(_statement(sql, one) for one in parse_sql(sql))
    except ParseError as exc:
        raise ConfigError(f"the SQL does not parse: {exc.args[0]}, {_place(sql, exc.args[1])}") from exc
    except RecursionError as exc:
        raise ConfigError("the SQL is nested too deeply", hint="divide it into several statements") from exc
    if not found:
        raise ConfigError("there is no statement", hint='omnicdc plan "UPDATE projects SET …"')
    return found


def _statement(sql: str, parsed: ast.RawStmt) -> Statement:
    at = parsed.stmt_location
    text = sql[at : at + parsed.stmt_len] if parsed.stmt_len else sql[at:]
    text, node = text.strip(), parsed.stmt
    command, place = text.split(maxsplit=1)[0].upper(), _place(sql, at)
    if not isinstance(node, _WRITING | ast.SelectStmt):
        raise ConfigError(f"{place}: {command} cannot be planned", hint=f"a plan takes {TAKEN}")
    nodes = [*_nodes(node)]
    if any(isinstance(one, ast.SelectStmt) and one.intoClause for one in nodes):
        raise ConfigError(
            f"{place}: SELECT INTO creates a table, which cannot be planned", hint=f"a plan takes {TAKEN}"
        )
    writes = tuple(write for one in nodes for write in _writes(one))
    if not writes:
        raise ConfigError(
            f"{place}: this {command} writes no table",
            hint=f"a plan takes {TAKEN}; what a function writes is shown only where a statement calls it",
        )
    functions = {_names(one.funcname): None for one in nodes if isinstance(one, ast.FuncCall)}
    return Statement(text, place, command, writes, tuple(functions))


_WRITING = ast.InsertStmt | ast.UpdateStmt | ast.DeleteStmt | ast.MergeStmt | ast.TruncateStmt


def _nodes(node: ast.Node) -> Iterator[ast.Node]:
    """Yield a node and all that is in it, in their order. An expression may be nested very deeply."""
    left: list[object] = [node]
    while left:
        part = left.pop()
        if isinstance(part, ast.Node):
            yield part
            left += reversed([*children(part)])
        elif isinstance(part, tuple | list):
            left += reversed(part)


def _writes(node: ast.Node) -> Iterator[Write]:
    match node:
        case ast.InsertStmt():
            yield Write("insert", _table(node.relation))
            conflict = node.onConflictClause
            if conflict and conflict.action == OnConflictAction.ONCONFLICT_UPDATE:
                yield Write("update", _table(node.relation), _fields(conflict.targetList))
        case ast.UpdateStmt():
            yield Write("update", _table(node.relation), _fields(node.targetList))
        case ast.DeleteStmt():
            yield Write("delete", _table(node.relation))
        case ast.TruncateStmt():
            for relation in node.relations:
                yield Write("truncate", _table(relation), only=not relation.inh)
        case ast.MergeStmt():
            for clause in node.mergeWhenClauses:
                if (operation := _OPERATIONS.get(clause.commandType)) is not None:
                    fields = _fields(clause.targetList) if operation == "update" else None
                    yield Write(operation, _table(node.relation), fields)


def _fields(targets: tuple[ast.ResTarget, ...] | None) -> tuple[str, ...]:
    """Return what an UPDATE sets: a column, or, where only some keys of a json column are set, these keys."""
    found: dict[str, None] = {}
    for target in targets or ():
        keys = keys_set(target)
        found |= dict.fromkeys([target.name] if keys is None else [f"{target.name}.{key}" for key in keys])
    return tuple(found)


def _table(relation: ast.RangeVar) -> tuple[str, ...]:
    return tuple(name for name in (relation.schemaname, relation.relname) if name)


def _names(strings: tuple[ast.String, ...]) -> tuple[str, ...]:
    return tuple(part.sval for part in strings)


def _place(sql: str, at: int) -> Place:
    return Place(1 if "\n" in sql.strip() else 0, 1).after(
        sql[:at] if "\n" in sql.strip() else sql[:at].lstrip()
    )
