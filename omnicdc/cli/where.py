"""Finds the projects that a condition in SQL selects. The condition is parsed first, and can only read."""

from __future__ import annotations

from typing import TYPE_CHECKING

from psycopg import sql as pgsql
from psycopg.rows import tuple_row

from omnicdc import db
from omnicdc.errors import ConfigError
from omnicdc.registries.functions import function_fault
from omnicdc.registries.query import QueryFault
from omnicdc.registries.reads import analyse
from omnicdc.registries.tables import qualified, resolve

if TYPE_CHECKING:
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
            what = "does not parse: it ends too early"
        place = f", at character {at}" if at is not None and 0 <= at < len(where) else ""
        raise ConfigError(f"--where: the condition {what}{place}") from exc
    with db.connect(config.target) as conn:
        name = config.table_of("projects")
        table = qualified(resolve(conn, name) or name)
        with db.translated("selecting the projects"), db.one_snapshot(conn):
            if fault := function_fault(conn, reads.functions):
                raise ConfigError(f"--where: {fault.reason}", hint=fault.hint)
            query = pgsql.SQL("select s.id::pg_catalog.text from ({}) s order by s.id").format(
                pgsql.SQL(reads.template).format(projects=table)
            )
            with conn.cursor(row_factory=tuple_row) as cursor:
                return [uuid for (uuid,) in cursor.execute(query)]
