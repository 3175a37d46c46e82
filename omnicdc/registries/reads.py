"""What the SELECT of a registry reads: tables, columns, keys of json columns, by PostgreSQL's own parser.

No server is asked. `capture.watch_list` unites what all registries read. This module, `syntax` and
`targeting` import pglast. Only what captures tables or has declared registries imports these three.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pglast import ast, parse_sql
from pglast.enums import SetOperation
from pglast.parser import ParseError

from omnicdc.registries.query import QueryFault, Reads, template
from omnicdc.registries.syntax import children, columns_of, first_table, json_key, place_of
from omnicdc.registries.targeting import is_targeted

if TYPE_CHECKING:
    from typing import NoReturn

_SOURCE = re.compile(r"[a-z_][a-z0-9_]{0,62}")

CLOCK = re.compile(r"[\w\s:.,+/-]*\b(now|today|tomorrow|yesterday)\b[\w\s:.,+/-]*", re.IGNORECASE)
"""Texts that PostgreSQL may read as another time at each query."""

_NAMES: dict[type[ast.Node], tuple[str, str]] = {
    ast.FuncCall: ("functions", "funcname"),
    ast.TypeName: ("types", "names"),
    ast.CollateClause: ("collations", "collname"),
    ast.A_Expr: ("operators", "name"),
    ast.SubLink: ("operators", "operName"),
    ast.SortBy: ("operators", "useOp"),
}
"""Nodes that name an object which must be PostgreSQL's own, each with the attribute that names it."""

TEXTS = {"text", "varchar", "bpchar", "name"}
"""Types as which such a text is only a text."""


def analyse(query: str, name: str) -> Reads:
    """Return what one read-only SELECT reads.

    Tables are named by their sources. Raises QueryFault, with the position in characters, if the query does
    not parse, is not one SELECT, writes or locks, is ordered, reads all columns or a whole row, depends on
    the clock or the session, or names a column without its table where there are several.
    """
    try:
        statements = parse_sql(query)
    except ParseError as exc:
        raise QueryFault(name, f"does not parse: {exc.args[0]}", exc.args[1]) from exc
    if len(statements) != 1 or not isinstance(select := statements[0].stmt, ast.SelectStmt):
        raise QueryFault(name, "must be one SELECT", None)
    statement = statements[0]
    end = statement.stmt_location + statement.stmt_len if statement.stmt_len else len(query)
    return _Analysis(name, query[:end]).result(select)


@dataclass(frozen=True, slots=True)
class _Scope:
    """The names that a part of the query can use: of its own FROM, then of the queries around it."""

    tables: dict[str, str | None] = field(default_factory=dict)
    """Alias to the source; None for a subquery, a function or a CTE, whose columns are counted elsewhere."""
    around: _Scope | None = None
    ctes: frozenset[str] = frozenset()

    def find(self, alias: str) -> tuple[bool, str | None]:
        """Return whether the alias is known, and its source."""
        if alias in self.tables:
            return True, self.tables[alias]
        return self.around.find(alias) if self.around else (False, None)

    def all_tables(self) -> list[str | None]:
        """Return the tables of this query and of those around it."""
        return [*self.tables.values(), *(self.around.all_tables() if self.around else ())]


class _Analysis:
    def __init__(self, name: str, query: str) -> None:
        self._name, self._query = name, query
        self._places: dict[int, tuple[str, bool]] = {}
        """Place of each table in the query, to its source and whether it has an alias."""
        self._fields: dict[str, set[str]] = {}
        self._reads: Counter[str] = Counter()
        """Source to the number of places at which it is read."""
        self._functions: set[str] = set()
        self._windows = False

    def result(self, select: ast.SelectStmt) -> Reads:
        if select.sortClause:
            self._refuse("be ordered: `sort` of the registry orders it", select.sortClause[0])
        scope = self._select(select, None, frozenset())
        main = first_table(select, {})
        if main is None:
            raise QueryFault(self._name, "must read a table", None)
        alias = next((alias for alias, source in scope.tables.items() if source == main), None)
        key_column = self._key_column(select, scope, main)
        alone = key_column is not None and alias is not None and self._reads[main] == 1
        targeted = alone and is_targeted(select, str(alias), windows=self._windows)
        fields = {source: frozenset(found) for source, found in self._fields.items()}
        return Reads(
            main, key_column, fields, targeted, columns_of(select), template(self._query, self._places),
            frozenset(self._functions), second_part=place_of(select.rarg) if select.rarg else None,
        )  # fmt: skip

    def _refuse(self, what: str, node: ast.Node) -> NoReturn:
        raise QueryFault(self._name, f"must not {what}", place_of(node))

    def _key_column(self, select: ast.SelectStmt, scope: _Scope, main: str) -> str | None:
        """Return the column of `main` that is returned first."""
        first = select.targetList[0].val if select.targetList else None
        if not isinstance(first, ast.ColumnRef):
            return None
        *alias, name = (part.sval for part in first.fields)
        source = scope.find(alias[0])[1] if alias else self._of_the_only_table(name, first, scope)
        return str(name) if source == main else None

    def _select(self, select: ast.SelectStmt, around: _Scope | None, ctes: frozenset[str]) -> _Scope:
        """Read one SELECT, with all that is in it; returns its names."""
        if select.lockingClause:
            self._refuse("lock rows", select.lockingClause[0])
        if select.intoClause:
            self._refuse("create a table", select.intoClause)
        for cte in select.withClause.ctes if select.withClause else ():
            if select.withClause.recursive:
                self._refuse("be recursive", cte)
            if not isinstance(cte.ctequery, ast.SelectStmt):
                self._refuse("write", cte)
            self._select(cte.ctequery, around, ctes)
            ctes |= {cte.ctename}
        if select.op != SetOperation.SETOP_NONE:
            self._select(select.larg, around, ctes)
            self._select(select.rarg, around, ctes)
            return _Scope({}, around, ctes)
        scope = _Scope({}, around, ctes)
        for item in select.fromClause or ():
            self._from(item, scope)
        for part in (
            select.targetList, select.whereClause, select.groupClause, select.havingClause,
            select.windowClause, select.distinctClause, select.sortClause, select.limitCount,
            select.limitOffset, select.valuesLists,
        ):  # fmt: skip
            self._expression(part, scope)
        return scope

    def _from(self, item: ast.Node, scope: _Scope) -> None:
        match item:
            case ast.JoinExpr():
                if item.isNatural or item.usingClause:
                    self._refuse("join by the names of columns (NATURAL, USING): write ON", item)
                if item.alias:
                    self._refuse("give a join a name: name its tables", item)
                self._from(item.larg, scope)
                self._from(item.rarg, scope)
                self._expression(item.quals, scope)
            case ast.RangeVar():
                self._table(item, scope)
            case ast.RangeSubselect():
                self._select(item.subquery, scope, scope.ctes)
                scope.tables[item.alias.aliasname if item.alias else ""] = None
            case ast.RangeFunction():
                self._expression((item.functions, item.coldeflist), scope)
                scope.tables[item.alias.aliasname if item.alias else ""] = None
            case _:
                self._refuse(f"read from {type(item).__name__}", item)

    def _table(self, table: ast.RangeVar, scope: _Scope) -> None:
        alias = table.alias.aliasname if table.alias else table.relname
        if table.schemaname or table.catalogname:
            self._refuse("name a schema: the configuration says which table a source is", table)
        if table.alias and table.alias.colnames:
            self._refuse("give the columns of a table other names: write AS in the result", table)
        if not table.inh:
            self._refuse("read ONLY a table: its partitions are part of it", table)
        if table.relname in scope.ctes:
            scope.tables[alias] = None
            return
        if not _SOURCE.fullmatch(table.relname):
            self._refuse("name a table but by the name of its source", table)
        self._reads[table.relname] += 1
        self._places[table.location] = (table.relname, table.alias is not None)
        self._fields.setdefault(table.relname, set())
        scope.tables[alias] = table.relname

    def _expression(self, part: object, scope: _Scope) -> None:
        """Read whatever stands in an expression."""
        match part:
            case None:
                return
            case tuple() | list():
                for one in part:
                    self._expression(one, scope)
            case ast.SelectStmt():
                self._select(part, scope, scope.ctes)
            case ast.ColumnRef():
                self._column(part, scope)
            case ast.A_Expr() if (found := json_key(part)) is not None:
                self._column(part.lexpr, scope, found)
            case ast.TypeCast() if _is_text(part):
                self._check(part.typeName)
            case ast.Node():
                self._check(part)
                for child in children(part):
                    self._expression(child, scope)

    def _check(self, node: ast.Node) -> None:
        """Refuse what a query of a registry must not contain."""
        if (named := _NAMES.get(type(node))) is not None:
            kind, attribute = named
            *schema, _ = (part.sval for part in getattr(node, attribute) or (ast.String(""),))
            if schema not in ([], ["pg_catalog"]):
                self._refuse(f"use {kind} but those of pg_catalog", node)
        match node:
            case ast.SQLValueFunction():
                self._refuse("depend on the clock or the session", node)
            case ast.A_Const() if isinstance(node.val, ast.String) and CLOCK.fullmatch(str(node.val.sval)):
                self._refuse("depend on the clock: if it is only a text, write 'now'::text", node)
            case ast.ParamRef():
                self._refuse("have parameters", node)
            case ast.FuncCall():
                self._functions.add(node.funcname[-1].sval)
                self._windows |= node.over is not None
            case ast.JsonAggConstructor():
                self._windows |= node.over is not None
            case ast.TypeName() if node.names[-1].sval.startswith("reg"):
                self._refuse("look up objects by their names (regclass and the like)", node)

    def _column(self, column: ast.ColumnRef, scope: _Scope, json_key: str | None = None) -> None:
        names = [part.sval if isinstance(part, ast.String) else None for part in column.fields]
        if None in names:
            self._refuse("read all columns (*)", column)
        if len(names) == 1:
            source = self._of_the_only_table(str(names[0]), column, scope)
        elif len(names) == 2:  # noqa: PLR2004 - alias and column
            known, source = scope.find(str(names[0]))
            if not known:
                self._refuse(f"read {names[0]}.{names[1]}: no table is named {names[0]} there", column)
        else:
            self._refuse("name a schema: the configuration says which table a source is", column)
        if source is None:
            return
        name = str(names[-1])
        if "." in name:
            self._refuse("read a column with a dot in its name", column)
        self._fields[source].add(name if json_key is None else f"{name}.{json_key}")

    def _of_the_only_table(self, name: str, column: ast.ColumnRef, scope: _Scope) -> str | None:
        """Return the source of an unqualified column."""
        if scope.find(name)[0]:
            self._refuse(f"read a whole row ({name}): any change of it would count", column)
        tables = scope.all_tables()
        if len(tables) != 1:
            self._refuse(f"name a column without its table ({name}) where there are several", column)
        return tables[0]


def _is_text(cast: ast.TypeCast) -> bool:
    """Return True for a constant that is cast to a type of text."""
    return isinstance(cast.arg, ast.A_Const) and cast.typeName.names[-1].sval in TEXTS
