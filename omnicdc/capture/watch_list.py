"""The columns that the triggers compare, and which scanner reads which: derived by PostgreSQL's own parser.

Only this module imports pglast. Code of the clients must not import it, because of its licence (GPL).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pglast import ast, parse_sql
from pglast.parser import ParseError
from pglast.visitors import Visitor

from omnicdc.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from omnicdc.registries.scanners import Scanner

_ARROWS = {"->>", "->"}


@dataclass(frozen=True, slots=True)
class Watch:
    """Columns, or `column.key` for a key of a json column, that each scanner reads."""

    by_scanner: Mapping[str, frozenset[str]]

    @property
    def fields(self) -> tuple[str, ...]:
        """Return the union: what the trigger compares."""
        return tuple(sorted(frozenset().union(*self.by_scanner.values())))

    def scanners_of(self, fields: Iterable[str]) -> frozenset[str]:
        """Return the scanners that read any of these fields."""
        wanted = set(fields)
        return frozenset(name for name, reads in self.by_scanner.items() if reads & wanted)


def derive(scanners: Iterable[Scanner]) -> Watch:
    """Derive the watch list from the scanners' queries.

    Raises ConfigError, with the position, for a bad one.
    """
    return Watch(
        {
            scanner.name: fields_read(scanner.query.replace("{table}", "projects"), scanner.name)
            for scanner in scanners
        }
    )


def fields_read(query: str, name: str) -> frozenset[str]:
    """Return what one read-only SELECT over one table reads, `id` aside.

    Raises ConfigError if it does not parse, is not one SELECT, writes or locks, reads another table,
    calls a function, or reads all columns.
    """
    try:
        statements = parse_sql(query)
    except ParseError as exc:
        raise ConfigError(
            f"scanner {name}: its query does not parse: {exc.args[0]} at character {exc.args[1]}"
        ) from exc
    if len(statements) != 1 or not isinstance(statements[0].stmt, ast.SelectStmt):
        raise ConfigError(f"scanner {name}: its query must be one SELECT")
    reader = _Reader(name)
    reader(statements)
    if reader.tables != 1:
        raise ConfigError(f"scanner {name}: its query must read exactly one table, not {reader.tables}")
    return frozenset(reader.fields - {"id"})


class _Reader(Visitor):
    """Collects what is read; refuses what a scanner must not do."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name
        self.fields: set[str] = set()
        self.tables = 0
        self._keyed: set[int] = set()

    def _refuse(self, what: str, node: ast.Node) -> None:
        at = getattr(node, "location", None)
        raise ConfigError(
            f"scanner {self.name}: its query must not {what}"
            + (f", at character {at}" if at is not None else "")
        )

    def visit_RangeVar(self, _ancestors: object, _node: ast.RangeVar) -> None:  # noqa: N802 - pglast's names
        self.tables += 1

    def visit_LockingClause(self, _ancestors: object, node: ast.LockingClause) -> None:  # noqa: N802
        self._refuse("lock rows", node)

    def visit_IntoClause(self, _ancestors: object, node: ast.IntoClause) -> None:  # noqa: N802
        self._refuse("create a table", node)

    def visit_FuncCall(self, _ancestors: object, node: ast.FuncCall) -> None:  # noqa: N802
        self._refuse("call functions", node)

    def visit_A_Star(self, _ancestors: object, node: ast.A_Star) -> None:  # noqa: N802
        self._refuse("read all columns (*)", node)

    def visit_A_Expr(self, _ancestors: object, node: ast.A_Expr) -> None:  # noqa: N802
        arrow, column, key = _last(node.name), node.lexpr, node.rexpr
        if arrow not in _ARROWS or not isinstance(column, ast.ColumnRef) or not isinstance(key, ast.A_Const):
            return
        if isinstance(key.val, ast.String):
            self.fields.add(f"{_last(column.fields)}.{key.val.sval}")
            self._keyed.add(id(column))

    def visit_ColumnRef(self, _ancestors: object, node: ast.ColumnRef) -> None:  # noqa: N802
        name = _last(node.fields)
        if id(node) not in self._keyed and name is not None:
            self.fields.add(name)


def _last(names: Sequence[ast.Node] | None) -> str | None:
    """Return the last part of a qualified name; None for a star."""
    last = names[-1] if names else None
    return last.sval if isinstance(last, ast.String) else None
