"""Finds the projects that a condition in SQL selects. The condition is parsed first, and can only read."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import psycopg
from psycopg import errors as pg
from psycopg import sql as pgsql
from psycopg.rows import tuple_row

from omnicdc import db
from omnicdc.clients.migration.rows import read_table
from omnicdc.db.errors import with_detail
from omnicdc.errors import ConfigError
from omnicdc.registries.functions import function_fault
from omnicdc.registries.query import QueryFault
from omnicdc.registries.reads import analyse
from omnicdc.registries.tables import resolve

if TYPE_CHECKING:
    from collections.abc import Iterator

    from omnicdc.clients.migration.rows import ProjectTable
    from omnicdc.config.settings import Config

_BEFORE, _AFTER = "select id from projects where (", "\n)"


def matching(config: Config, where: str) -> list[str]:
    """Return the ids of the projects that match, in their order.

    Raises ConfigError, with the place, for text that is not one condition on the columns of the table, and
    for a function that is not harmless. Raises DatabaseUnavailable.
    """
    try:
        reads = analyse(f"{_BEFORE}{where}{_AFTER}", "where")
    except QueryFault as exc:
        at = None if exc.character is None else exc.character - len(_BEFORE)
        what = exc.what.removeprefix("the query ")
        if at is not None and at >= len(where):
            what, at = "does not parse: it ends too early", None
        raise ConfigError(f"--where: the condition {what}{_place(where, at)}") from exc
    if others := sorted(reads.fields.keys() - {"projects"}):
        raise ConfigError(
            f"--where: the condition reads {', '.join(others)}", hint="it can read the table projects only"
        )
    with db.connect(config.target) as conn:
        name = config.table_of("projects")
        table = read_table(conn, resolve(conn, name) or name)
        condition = pgsql.SQL(reads.template).format(projects=table.identifier)
        query = pgsql.SQL("select s.id::pg_catalog.text from ({}) s order by s.id").format(condition)
        # If the condition names the table once more, PostgreSQL's positions are not those of its own text.
        alone = reads.template.count("{projects}") == 1
        begins = query.as_string(conn).index("where (") + len("where (") if alone else None
        with db.translated("selecting the projects"), db.one_snapshot(conn):
            if fault := function_fault(conn, reads.functions):
                reason, hint = (it.replace("the query", "the condition") for it in (fault.reason, fault.hint))
                raise ConfigError(f"--where: {reason}", hint=hint)
            with _refusals(table, where, begins), conn.cursor(row_factory=tuple_row) as cursor:
                return [uuid for (uuid,) in cursor.execute(query)]


@contextmanager
def _refusals(table: ProjectTable, where: str, begins: int | None) -> Iterator[None]:
    """Turn PostgreSQL's errors about the condition into ConfigError.

    `begins` is where the condition begins in the query; None if positions are not known.
    """
    try:
        yield
    except (pg.InsufficientPrivilege, pg.UndefinedTable):
        raise
    except (psycopg.DataError, psycopg.ProgrammingError) as exc:
        position = exc.diag.statement_position
        at = int(position) - 1 - begins if position and begins is not None else None
        hint = exc.diag.message_hint or "change the condition"
        if isinstance(exc, pg.UndefinedColumn):
            hint = exc.diag.message_hint or f"{table.name} has {', '.join(sorted(table.json_columns))}"
        raise ConfigError(f"--where: {with_detail(exc)}{_place(where, at)}", hint=hint) from exc


def _place(where: str, at: int | None) -> str:
    """Return a place in the condition in words. It is counted from 1, as PostgreSQL does."""
    return f", at character {at + 1}" if at is not None and 0 <= at < len(where) else ""
