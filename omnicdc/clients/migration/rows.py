"""Reads and updates the rows of CMP's projects, in the caller's transaction.

Values travel as JSON, and PostgreSQL converts them to the types of the columns.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from psycopg import sql as pgsql
from psycopg.rows import tuple_row

from omnicdc import db
from omnicdc.clients.migration.facts import Facts
from omnicdc.db import sql
from omnicdc.errors import ConfigError
from omnicdc.registries.tables import qualified

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from omnicdc.clients.migration.changes import Change

Values = dict[str, Any]
"""Field to its value as JSON has it. A key that a json column does not have is not in it."""


@dataclass(frozen=True, slots=True)
class ProjectTable:
    """CMP's table of projects: its full name, and for each column whether it is of type json or jsonb."""

    name: str
    json_columns: Mapping[str, bool]

    @property
    def identifier(self) -> pgsql.Identifier:
        """The table's full name in SQL."""
        return qualified(self.name)

    def check(self, changes: Iterable[Change]) -> None:
        """Raise ConfigError for a field that the table does not have."""
        for field in sorted({field for change in changes for field in change.fields}):
            column, dot, _ = field.partition(".")
            is_json = self.json_columns.get(column)
            if is_json is None:
                known = ", ".join(sorted(self.json_columns.keys() - {"id"}))
                raise ConfigError(f"{self.name} has no column {column!r}", hint=f"it has {known}")
            if dot and not is_json:
                others = ", ".join(sorted(name for name, it in self.json_columns.items() if it))
                raise ConfigError(
                    f"{field}: column {column} of {self.name} is not of type json or jsonb",
                    hint=f"set {column} itself" + (f", or a key of {others}" if others else ""),
                )


def read_table(conn: db.Connection, name: str) -> ProjectTable:
    """Return the table with its columns, as far as its name is visible to the role."""
    found = db.fetch_all(conn, "json_columns", {"table": qualified(name).as_string(conn)})
    return ProjectTable(name, {row["name"]: row["json"] for row in found})


def read_facts(conn: db.Connection, table: ProjectTable) -> dict[str, Facts]:
    """Return the facts of all projects, by id."""
    query = pgsql.SQL(sql.query("project_facts")).format(table=table.identifier)
    with conn.cursor(row_factory=tuple_row) as cursor:
        return {row[0]: Facts(*row) for row in cursor.execute(query)}


def read_values(
    conn: db.Connection, table: ProjectTable, changes: Sequence[Change], *, lock: bool = False
) -> dict[str, Values]:
    """Return the present values of the fields that each change names, by id. A missing project is left out.

    With `lock`, the rows are locked until the end of the transaction, in the order of their ids.
    """
    found: dict[str, Values] = {}
    for fields, group in _by_fields(changes).items():
        columns = [
            pgsql.SQL(sql.query("key_value" if dot else "column_value")).format(
                column=pgsql.Identifier(column), key=pgsql.Literal(key)
            )
            for column, dot, key in (field.partition(".") for field in fields)
        ]
        query = pgsql.SQL(sql.query("project_values")).format(
            columns=pgsql.SQL(", ").join(columns),
            table=table.identifier,
            lock=pgsql.SQL("for no key update of p" if lock else ""),
        )
        with conn.cursor(row_factory=tuple_row) as cursor:
            for uuid, *texts in cursor.execute(query, {"ids": [one.uuid for one in group]}):
                found[uuid] = _values(fields, texts)
    return found


def update(conn: db.Connection, table: ProjectTable, changes: Sequence[Change]) -> int:
    """Write the changes, and return the number of rows. Raises psycopg.Error for a value that CMP refuses."""
    written = 0
    for fields, group in _by_fields(changes).items():
        names = sorted({field.partition(".")[0] for field in fields})
        keyed = sorted({field.partition(".")[0] for field in fields if "." in field})
        merged = [
            pgsql.SQL(sql.query("merged_keys")).format(
                name=pgsql.Literal(name), column=pgsql.Identifier(name)
            )
            for name in keyed
        ]
        joined = pgsql.SQL(" operator(pg_catalog.||) ").join([pgsql.SQL("v.columns"), *merged])
        query = pgsql.SQL(sql.query("update_projects")).format(
            table=table.identifier,
            names=pgsql.SQL(", ").join(map(pgsql.Identifier, names)),
            results=pgsql.SQL(", ").join(pgsql.Identifier("r", name) for name in names),
            values=joined,
        )
        given = {
            "ids": [one.uuid for one in group],
            "columns": [json.dumps(_columns(one)) for one in group],
            "keys": [json.dumps(_keys(one, keyed)) for one in group],
        }
        written += conn.execute(query, given).rowcount
    return written


def _by_fields(changes: Iterable[Change]) -> dict[tuple[str, ...], list[Change]]:
    groups: dict[tuple[str, ...], list[Change]] = {}
    for change in changes:
        groups.setdefault(change.fields, []).append(change)
    return groups


def _values(fields: Sequence[str], texts: Sequence[str | None]) -> Values:
    pairs = zip(fields, texts, strict=True)
    return {
        field: None if text is None else json.loads(text)
        for field, text in pairs
        if text is not None or "." not in field
    }


def _columns(change: Change) -> Values:
    return {name: value for name, value in change.set.items() if "." not in name}


def _keys(change: Change, columns: Iterable[str]) -> dict[str, dict[str, Any]]:
    def of(column: str, fields: Iterable[str]) -> list[tuple[str, str]]:
        return [(field, field.partition(".")[2]) for field in fields if field.startswith(f"{column}.")]

    return {
        column: {
            "set": {key: change.set[field] for field, key in of(column, change.set)},
            "unset": [key for _, key in of(column, change.unset)],
        }
        for column in columns
    }
